package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// quietLink returns a function that keeps the host out of the networks of a NIC that is
// brought up for its VFs: their routers must not give the host addresses or a default route
// (security S18), and packets from there must not pass through the host. A NIC that the host
// uses is left alone. root is /proc/sys/net.
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

// writeSysctl writes to an existing file: a kernel without IPv6 has none of it.
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
