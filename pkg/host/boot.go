// Package host asks the machine and its kernel for facts that belong to no device, and makes
// the sockets that only root can use.
package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// BootID returns the kernel's id of this boot; it changes with each reboot. root is the
// prefix of /proc, "/" for the machine's own.
func BootID(root string) (string, error) {
	path := filepath.Join(root, "proc/sys/kernel/random/boot_id")
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	id := strings.TrimSpace(string(data))
	if id == "" {
		return "", fmt.Errorf("read the boot id: %s is empty", path)
	}
	return id, nil
}

// BootTime returns the time of this boot, as the kernel gives it in seconds. root is the
// prefix of /proc.
func BootTime(root string) (time.Time, error) {
	data, err := os.ReadFile(filepath.Join(root, "proc/stat"))
	if err != nil {
		return time.Time{}, fmt.Errorf("read the boot time: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), "btime ")
		if !ok {
			continue
		}
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("read the boot time: %w", err)
		}
		return time.Unix(seconds, 0), nil
	}
	return time.Time{}, errors.New("read the boot time: /proc/stat has no line btime")
}
