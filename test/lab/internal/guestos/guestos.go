// Package guestos makes the files that a node boots from: Debian's kernel, an initramfs,
// and a disk with the node's system and the Kubernetes programs. Everything
// comes from the machine's Debian sources and is kept in the cache.
package guestos

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"fairlead.dev/fairlead/test/lab/internal/apt"
)

// Suite is the Debian release of the nodes, the same on every host.
const Suite = "trixie"

// Maker makes the pieces below a cache folder.
type Maker struct {
	Dir    string // of the cache
	APT    *apt.APT
	Log    io.Writer
	Update func(context.Context) error // fetches APT's lists, at most once
	Status func(format string, args ...any)
}

// run executes a program of the host with its output in the log. The error has the last
// lines.
func run(ctx context.Context, log io.Writer, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, "nice", append([]string{"-n", "10", program}, args...)...)
	cmd.Dir = dir
	var tail bytes.Buffer
	cmd.Stdout = io.MultiWriter(&tail, log)
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(tail.String()), "\n")
		return fmt.Errorf("%s: %w\n%s", program, err, strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
	return nil
}

// findOne returns the only match of a pattern.
func findOne(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%d files match %s, want one", len(found), pattern)
	}
	return found[0], nil
}

func copyFile(from, to string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
