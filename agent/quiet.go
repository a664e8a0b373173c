package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// quietLink returns a function that keeps the host out of the networks of a NIC. Routers
// there must not give the host addresses or a default route (security S18), and spoofed
// packets must not pass through it. If the host uses the NIC, it is left alone. root is
// /proc/sys/net.
func quietLink(root string, hostUse func(netdev string) (string, error)) func(netdev string) error {
	return func(netdev string) error {
		use, err := hostUse(netdev)
		if err != nil || use != "" {
			return err
		}
		return errors.Join(
			writeSysctl(filepath.Join(root, "ipv6/conf", netdev, "accept_ra"), "0"),
			writeSysctl(filepath.Join(root, "ipv4/conf", netdev, "rp_filter"), "1"),
		)
	}
}

// writeSysctl writes to an existing file. A kernel without IPv6 lacks the files of IPv6.
func writeSysctl(path, value string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = file.WriteString(value)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return fmt.Errorf("set sysctl %s to %s: %w", path, value, err)
	}
	return nil
}
