package netns

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Apart runs fn on a thread of its own, so that fn can change state that the kernel
// keeps by thread, and waits for it. fn reports whether the thread is as it was; one that is
// not is thrown away.
//
// It is never the process's first thread. That one cannot be thrown away, and its
// namespaces are the process's in the eyes of others: kubectl exec and
// probes enter a container by /proc/PID/ns, and would end up wherever the thread has
// gone.
func Apart(fn func() (asItWas bool)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			Apart(fn) // gets another thread, while this goroutine keeps the first
			runtime.UnlockOSThread()
			return
		}
		if fn() {
			runtime.UnlockOSThread()
		}
	}()
	<-done
}
