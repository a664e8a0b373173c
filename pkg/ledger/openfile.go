package ledger

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	bolterrors "go.etcd.io/bbolt/errors"
)

// lockPause is the pause before the next try to lock the file.
const lockPause = 50 * time.Millisecond

// checkedFile returns bbolt's function that opens the file. It locks the file, as bbolt
// does again, and checks its pages: no other process writes meanwhile.
func checkedFile(wait time.Duration) func(string, int, os.FileMode) (*os.File, error) {
	return func(path string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(path, flag, mode)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(lock(f, wait), checkContent(f)); err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
}

func lock(f *os.File, wait time.Duration) error {
	for end := time.Now().Add(wait); ; time.Sleep(lockPause) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if time.Now().After(end) {
			return bolterrors.ErrTimeout
		}
	}
}

// checkContent reads the whole file, which has some KiB for each sandbox.
func checkContent(f *os.File) error {
	content, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	return checkPages(content)
}
