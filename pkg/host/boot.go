// Package host asks the machine and its kernel for facts that belong to no device, and makes
// the sockets that only root can use.
package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
