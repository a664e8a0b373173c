package agent

import (
	"os"
	"path/filepath"
	"testing"
)

// S18: a PF that is brought up for its VFs takes no router advertisements, and one by which
// the host is reached keeps its settings.
func TestQuietLink(t *testing.T) {
	for netdev, want := range map[string]string{"ens1f0": "ra 0 rp 1", "eth0": "ra 1 rp 2", "without-ipv6": "ra none rp 1"} {
		root := t.TempDir()
		write(t, filepath.Join(root, "ipv4/conf", netdev, "rp_filter"), "2")
		if netdev != "without-ipv6" {
			write(t, filepath.Join(root, "ipv6/conf", netdev, "accept_ra"), "1")
		}
		use := func(name string) (string, error) {
			return map[string]string{"eth0": "with the address 10.0.0.1/24"}[name], nil
		}
		if err := quietLink(root, use)(netdev); err != nil {
			t.Error(err)
		}
		got := "ra " + readSetting(filepath.Join(root, "ipv6/conf", netdev, "accept_ra")) + " rp " + readSetting(filepath.Join(root, "ipv4/conf", netdev, "rp_filter"))
		if got != want {
			t.Errorf("%s: %s, want %s", netdev, got, want)
		}
	}
}

func readSetting(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "none"
	}
	return string(raw)
}
