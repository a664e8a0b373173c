package netns

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ID identifies a network namespace among all that the node has or had. Inode
// numbers are reused, after a namespace has ended and after a reboot.
type ID struct {
	Device, Inode uint64 // of the nsfs file
	Boot          string // the kernel's boot id
}

// Identify returns the identity of the namespace at path.
func Identify(path string) (ID, error) {
	ns, err := Open(path)
	if err != nil {
		return ID{}, err
	}
	defer ns.Close()
	return ns.ID()
}

// ID returns the namespace's identity.
func (n *NS) ID() (ID, error) {
	id, err := fileID(int(n.file.Fd()))
	if err != nil {
		return ID{}, fmt.Errorf("identify network namespace %s: %w", n.file.Name(), err)
	}
	return id, nil
}

// IdentifyFD returns the identity of an open namespace.
func IdentifyFD(fd int) (ID, error) {
	id, err := fileID(fd)
	if err != nil {
		return ID{}, fmt.Errorf("identify network namespace: %w", err)
	}
	return id, nil
}

func fileID(fd int) (ID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return ID{}, err
	}
	boot, err := bootID()
	return ID{Device: st.Dev, Inode: st.Ino, Boot: boot}, err
}

// Same reports whether id is the namespace that was recorded. Parts that the record
// does not have, zero and empty, are not compared.
func (id ID) Same(recorded ID) bool {
	return (recorded.Device == 0 || recorded.Device == id.Device) &&
		(recorded.Inode == 0 || recorded.Inode == id.Inode) &&
		(recorded.Boot == "" || recorded.Boot == id.Boot)
}

// Host reports whether id is the namespace that the calling process lives in.
func (id ID) Host() (bool, error) {
	own, err := Identify("/proc/self/ns/net")
	return err == nil && own == id, err
}

// Replaced returns the error that the namespace once at path is gone, and another one
// is there. IsGone and IsReplaced report it.
func Replaced(path string) error { return &goneError{path: path, err: errReplaced} }

// IsReplaced reports whether err says that another namespace is at the path.
func IsReplaced(err error) bool { return errors.Is(err, errReplaced) }

func bootID() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw)), err
}
