package main

import (
	"encoding/base64"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"fairlead.dev/fairlead/test/lab/internal/agentapi"
)

// execute runs one command. Its process group dies when the host hangs up;
// its background processes live on when it ends by itself.
func execute(w http.ResponseWriter, r *http.Request) {
	command, err := base64.StdEncoding.DecodeString(r.Header.Get(agentapi.HeaderCommand))
	if err != nil {
		http.Error(w, "command: "+err.Error(), http.StatusBadRequest)
		return
	}
	rc := http.NewResponseController(w)
	if err := rc.EnableFullDuplex(); err != nil { // output may precede the end of stdin
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	out := &framer{w: w, flush: rc.Flush}
	cmd := exec.CommandContext(r.Context(), "/bin/bash", "-c", string(command))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // background children may hold the pipes
	cmd.Dir = "/root"
	cmd.Stdin = r.Body
	cmd.Stdout = out.stream(agentapi.Stdout)
	cmd.Stderr = out.stream(agentapi.Stderr)
	err = cmd.Run()
	if cmd.ProcessState == nil {
		out.stream(agentapi.Stderr).Write([]byte(err.Error() + "\n"))
		out.exit(127)
		return
	}
	out.exit(exitCode(cmd.ProcessState.Sys().(syscall.WaitStatus)))
}

// exitCode follows the shell: 128 plus the signal's number.
func exitCode(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// framer sends both streams over one reply.
type framer struct {
	mu    sync.Mutex // guards w: the streams are copied by a goroutine each
	w     http.ResponseWriter
	flush func() error
}

func (f *framer) stream(s agentapi.Stream) writerFunc {
	return func(p []byte) (int, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if err := agentapi.WriteFrame(f.w, s, p); err != nil {
			return 0, err
		}
		return len(p), f.flush()
	}
}

func (f *framer) exit(code int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if agentapi.WriteExit(f.w, code) == nil {
		f.flush()
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
