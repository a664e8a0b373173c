// Package lock keeps programs of one machine apart by flock: the kernel drops the
// lock when its holder ends, however it ends. The file names the holder.
package lock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// HeldError says who has the lock.
type HeldError struct{ Path, Holder string }

func (e *HeldError) Error() string { return fmt.Sprintf("held by %s (lock %s)", e.Holder, e.Path) }

// Try takes the lock until this process ends. The error is a *HeldError if somebody has it.
func Try(path, holder string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// A bare descriptor: the garbage collector would close an os.File that
	// nobody refers to, and the lock would go with it.
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	if err := take(fd, path, holder); err != nil {
		_ = syscall.Close(fd)
		return err
	}
	return nil
}

func take(fd int, path, holder string) error {
	err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return &HeldError{Path: path, Holder: holderOf(path)}
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	if err := syscall.Ftruncate(fd, 0); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if _, err := syscall.Write(fd, fmt.Appendf(nil, "%s, pid %d", holder, os.Getpid())); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func holderOf(path string) string {
	text, err := os.ReadFile(path)
	if name := strings.TrimSpace(string(text)); err == nil && name != "" {
		return name
	}
	return "another program"
}

const pause = 500 * time.Millisecond

// Wait takes the lock as Try does, once its holder has ended. If it has to wait, it calls
// waiting once with the holder.
func Wait(ctx context.Context, path, holder string, waiting func(who string)) error {
	for first := true; ; first = false {
		err := Try(path, holder)
		var held *HeldError
		if !errors.As(err, &held) {
			return err
		}
		if first {
			waiting(held.Holder)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(pause):
		}
	}
}
