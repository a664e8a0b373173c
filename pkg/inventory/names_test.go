package inventory

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

const pciIDs = `8086  Intel Corporation
	10c9  82576 Gigabit Network Connection
	10ca  82576 Virtual Function
C 02  Network controller
	00  Ethernet controller
`

func TestPCINames(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "usr/share/misc")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pci.ids"), []byte(pciIDs), 0o644); err != nil {
		t.Fatal(err)
	}
	names := NewPCINames(slog.New(slog.DiscardHandler), t.TempDir(), root)
	for _, tt := range []struct{ vendor, device, wantVendor, wantProduct string }{
		{"8086", "10c9", "Intel Corporation", "82576 Gigabit Network Connection"},
		{"8086", "ffff", "Intel Corporation", ""},
		{"ffff", "10c9", "", ""},
	} {
		for range 2 { // the second time from memory
			vendor, product := names.Lookup(tt.vendor, tt.device)
			if vendor != tt.wantVendor || product != tt.wantProduct {
				t.Errorf("Lookup(%s, %s) = %q, %q; want %q, %q", tt.vendor, tt.device, vendor, product, tt.wantVendor, tt.wantProduct)
			}
		}
	}
}

func TestNoPCIDatabase(t *testing.T) {
	t.Setenv("PCIDB_ENABLE_NETWORK_FETCH", "1") // the network is not used even then
	names := NewPCINames(slog.New(slog.DiscardHandler), t.TempDir())
	if vendor, product := names.Lookup("8086", "10c9"); vendor != "" || product != "" {
		t.Errorf("Lookup = %q, %q; want nothing", vendor, product)
	}
}
