package netns

import (
	"os"

	"golang.org/x/sys/unix"
)

// hostRoot is the root directory of PID 1.
const hostRoot = "/proc/1/root"

// openBelow opens the namespace at a path below another root directory. The kernel follows
// symbolic links as a process with that root would: /var/run is often a link to /run, and
// without that it would lead back to the agent's own /run.
func openBelow(root, path string) (*os.File, bool) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return nil, false
	}
	file := os.NewFile(uintptr(fd), path)
	if !isNamespace(file) {
		file.Close()
		return nil, false
	}
	return file, true
}
