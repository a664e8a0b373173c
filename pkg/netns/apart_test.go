package netns

import (
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Threads that are thrown away drive the goroutines over all the others, the first
// one too.
func TestApartIsNeverTheFirstThread(t *testing.T) {
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 500 {
				Apart(func() bool {
					if unix.Gettid() == os.Getpid() {
						t.Error("it ran on the process's first thread")
					}
					return i%2 == 0
				})
			}
		})
	}
	group.Wait()
}
