// Package run runs one CNI plugin's binary: found in the directories of a
// CNI_PATH, in a process group of its own, with a deadline and bounded output.
// The shim uses it on the host; the agent uses it if there is no shim.
//
// It knows nothing of CNI but the path, and which plugins are never run: the caller
// interprets the output. It imports the standard library and cni/wire only, because the
// shim links it.
package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"fairlead.dev/fairlead/cni/wire"
)

// Command is one run of a plugin.
type Command struct {
	File   string
	Args   []string // empty for CNI plugins
	Env    []string // complete, except wire.CallMarker, which Start adds
	Stdin  []byte
	Cgroup int // descriptor of a cgroup directory to start it in; 0: the caller's cgroup
	// DieWithParent kills the plugin when the thread that starts it ends. The
	// caller keeps that thread (runtime.LockOSThread) until Start's wait returns.
	DieWithParent bool
}

// Output is the output of a plugin, and its exit code.
type Output struct {
	Stdout, Stderr []byte
	ExitCode       int
}

const (
	maxStdout = 4 << 20 // fits a frame after base64
	maxStderr = 64 << 10
	// pipeWait bounds waiting for output after the plugin has ended: a daemon that
	// it left behind may hold the pipes open.
	pipeWait = 2 * time.Second
	// A binary that is being replaced in place cannot be run for a moment.
	busyRetries = 10
	busyWait    = 100 * time.Millisecond
)

// ErrNotFound: no directory of the path has the plugin. It is an fs.ErrNotExist, for
// those who know nothing of this package.
var ErrNotFound error = notFound{}

type notFound struct{}

func (notFound) Error() string        { return "plugin not found" }
func (notFound) Is(target error) bool { return target == fs.ErrNotExist }

// Find looks for a plugin in the directories of a CNI_PATH. It never finds a
// meta-plugin, whatever config asks for it (security S1): every config has been checked
// before, and this is the last line. Names that begin with a dot are not plugins either:
// the agent's temporary files and the shim's settings have such names.
func Find(plugin, path string) (string, error) {
	if plugin == "" || strings.ContainsAny(plugin, "/\x00") || plugin[0] == '.' {
		return "", fmt.Errorf("%w: %q is not the name of a plugin", ErrNotFound, plugin)
	}
	if wire.IsMeta(plugin) {
		return "", fmt.Errorf("%w: %q would attach networks from within an attachment; name the plugin that makes the interface", ErrNotFound, plugin)
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, plugin)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return file, nil
		}
	}
	return "", fmt.Errorf("%w: no file %q in %q; install it there, or correct the network's type", ErrNotFound, plugin, path)
}

// Start starts the plugin and returns the function that waits for its end. When
// ctx ends, the whole process group is killed. An exit code other than 0 is no error;
// not having been able to start is, and so is having been killed.
func Start(ctx context.Context, c Command) (wait func() (Output, error), err error) {
	for try := 0; ; try++ {
		wait, err := start(ctx, c)
		// m#1221: text file busy.
		if !errors.Is(err, syscall.ETXTBSY) || try >= busyRetries {
			return wait, err
		}
		select {
		case <-time.After(busyWait):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func start(ctx context.Context, c Command) (func() (Output, error), error) {
	cmd := exec.CommandContext(ctx, c.File, c.Args...)
	cmd.Env = append(slices.Clone(c.Env), wire.CallMarker+"=1")
	cmd.Dir = "/"
	cmd.Stdin = bytes.NewReader(c.Stdin)
	stdout, stderr := &bounded{limit: maxStdout}, &bounded{limit: maxStderr}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = pipeWait
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.DieWithParent {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if c.Cgroup > 0 {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, c.Cgroup
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.File, err)
	}
	return func() (Output, error) {
		err := cmd.Wait()
		out := Output{Stdout: stdout.kept.Bytes(), Stderr: stderr.kept.Bytes(), ExitCode: cmd.ProcessState.ExitCode()}
		return out, outcome(ctx, c.File, cmd.ProcessState, err, stdout.over)
	}, nil
}

func outcome(ctx context.Context, file string, state *os.ProcessState, err error, tooMuch bool) error {
	switch {
	case ctx.Err() != nil && !state.Exited():
		return fmt.Errorf("%s was killed: %w", file, context.Cause(ctx))
	case !state.Exited():
		return fmt.Errorf("%s ended by %v", file, state)
	case tooMuch:
		return fmt.Errorf("%s wrote more than %d bytes", file, maxStdout)
	case err == nil, errors.Is(err, exec.ErrWaitDelay), errors.As(err, new(*exec.ExitError)), state.ExitCode() != 0:
		return nil
	case ctx.Err() != nil: // it ended by itself just as the context did
		return nil
	}
	return fmt.Errorf("running %s: %w", file, err)
}

// bounded keeps the first limit bytes and swallows the rest, so that the plugin
// does not die of a closed pipe. (It does not embed the buffer, whose ReadFrom
// io.Copy would prefer to Write.)
type bounded struct {
	kept  bytes.Buffer
	limit int
	over  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.limit - b.kept.Len()
	if len(p) > room {
		b.over = true
		b.kept.Write(p[:room])
		return len(p), nil
	}
	return b.kept.Write(p)
}
