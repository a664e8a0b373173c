package cni

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"fairlead.dev/fairlead/cni/run"
)

// Modprobe loads a kernel module with the host's own modprobe: the host has the
// modules and their dependencies, the agent's image has neither.
func (e *HostExec) Modprobe(ctx context.Context, module string) error {
	var wait func() (run.Output, error)
	err := e.onHost(func() (err error) {
		for _, file := range []string{"/sbin/modprobe", "/usr/sbin/modprobe", "/usr/bin/modprobe"} {
			wait, err = e.start(ctx, run.Command{File: file, Args: []string{"--", module}, Env: []string{"PATH=/sbin:/usr/sbin:/bin:/usr/bin"}})
			if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("load kernel module %s: run the host's modprobe: %w", module, err)
	}
	out, err := wait()
	if err == nil && out.ExitCode != 0 {
		err = fmt.Errorf("modprobe exits with %d: %s", out.ExitCode, bytes.TrimSpace(out.Stderr))
	}
	if err != nil {
		return fmt.Errorf("load kernel module %s: %w; install the module for the running kernel, or name another driver", module, err)
	}
	return nil
}
