package sysfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// dir is an open directory. The kernel then looks up one name per attribute, not a path with
// symbolic links, and all attributes are of the same device. With a thousand VFs this halves
// the time; os.ReadFile would add a stat and an attempt at the poller to each.
type dir struct{ fd int }

// anywhere takes whole paths as names.
var anywhere = dir{unix.AT_FDCWD}

func openDir(name string) (dir, error) { return anywhere.sub(name) }

func (d dir) sub(name string) (dir, error) {
	fd, err := d.open(name, unix.O_PATH|unix.O_DIRECTORY)
	return dir{fd}, err
}

func (d dir) close() { unix.Close(d.fd) }

func (d dir) open(name string, flags int) (int, error) {
	fd, err := retryEINTR(func() (int, error) { return unix.Openat(d.fd, name, flags|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

// attr reads an attribute without its trailing newline.
func (d dir) attr(name string) (string, error) {
	fd, err := d.open(name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var buf [256]byte // every attribute read here is one short line
	n, err := retryEINTR(func() (int, error) { return unix.Read(fd, buf[:]) })
	if err != nil {
		return "", &os.PathError{Op: "read", Path: name, Err: err}
	}
	for n > 0 && (buf[n-1] == '\n' || buf[n-1] == ' ') {
		n--
	}
	return string(buf[:n]), nil
}

func (d dir) int(name string) (int, error) {
	text, err := d.attr(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("read %s: %q is not a number", name, text)
	}
	return n, nil
}

// link reads a symbolic link's target.
func (d dir) link(name string) (string, error) {
	var buf [unix.PathMax]byte
	n, err := retryEINTR(func() (int, error) { return unix.Readlinkat(d.fd, name, buf[:]) })
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(buf[:n]), nil
}

// linkBase returns the last element of a symbolic link's target, "" if there is no link.
func (d dir) linkBase(name string) string {
	target, err := d.link(name)
	if err != nil {
		return ""
	}
	return path.Base(target)
}

// list returns the sorted names in a directory. A missing directory is empty.
func (d dir) list(name string) ([]string, error) {
	fd, err := d.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var names []string
	buf := make([]byte, 4<<10)
	for {
		n, err := retryEINTR(func() (int, error) { return unix.ReadDirent(fd, buf) })
		if err != nil {
			return nil, &os.PathError{Op: "list", Path: name, Err: err}
		}
		if n == 0 {
			slices.Sort(names)
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

func retryEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
