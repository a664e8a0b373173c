package host

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// ListenUnix makes a unix socket that only root can connect to. It is made in a directory
// that only root can enter, gets its mode there, and is renamed to its path. So it
// replaces that of a predecessor in one step, nobody can connect before it has its mode,
// and the process's umask does not matter. The caller removes it: closing the listener
// leaves the path alone, which may be a successor's by then.
func ListenUnix(path string) (*net.UnixListener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".") // short: a socket's path has at most 107 bytes
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	building := filepath.Join(dir, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: building, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	listener.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(building, 0o600), os.Rename(building, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), listener.Close())
	}
	return listener, nil
}
