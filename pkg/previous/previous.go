package previous

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// Files locates the files of the previous stack.
type Files struct {
	// MultusDir has a file for each sandbox, its list of networks, and in results/ a file
	// for each interface, as libcni caches it. It is Multus' cniDir.
	MultusDir string
	// SRIOVDir has a file for each VF that sriov-cni has given to a pod, with the VF's
	// state before, and in pci/ a mark for each VF.
	SRIOVDir string
	// VF reads a VF. If it does not exist, the error wraps fs.ErrNotExist.
	VF func(pci.Address) (device.VF, error)
	// DeviceInfoPath returns the path of an attachment's device-info file by the file's
	// name.
	DeviceInfoPath func(name string) string
	// Booted is the time of the node's boot; zero: not known.
	Booted time.Time
}

// Found is the content of a sandbox's files.
type Found struct {
	Attachments []ledger.Attachment // in attach order, the primary first; empty: there are no files
	EarlierBoot bool                // the files are older than the node's boot: every VF is new since
	Skipped     []error             // networks that cannot be read; they are not released
}

// maxFile bounds the size of a file that is read.
const maxFile = 4 << 20

// read returns the content of a file, nil if it does not exist.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFile {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("the file has more than 4 MiB")}
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return raw, err
}

// plainName reports whether a name may be a part of a file name here.
func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && name == filepath.Base(name)
}

// Left reports whether there are files of any sandbox.
func (f Files) Left() (bool, error) {
	if f.MultusDir == "" {
		return false, nil
	}
	entries, err := os.ReadDir(f.MultusDir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Type().IsRegular() }), err
}

// Forget removes the files of a sandbox that is released. Files that do not exist are no
// error.
func (f Files) Forget(s ledger.Sandbox) error {
	if !plainName(s.ID) {
		return nil
	}
	var errs []error
	for _, a := range s.Attachments {
		if !plainName(a.IfName) {
			continue
		}
		errs = append(errs, f.forgetVF(s.ID, a.IfName), remove(f.resultPath(f.cniName(a), s.ID, a.IfName)))
	}
	return errors.Join(append(errs, remove(f.scratchPath(s.ID)))...) // the list of networks last: it leads to the others
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
