package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
)

// lab F: the device-info files of a lost ledger's attachments name their VFs.
func TestDeviceInfoFilesNameVFs(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "cni"), 0o755); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(network.PCIDeviceInfo("0000:3b:10.1", "0000:3b:00.0"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"a": raw, "b": []byte(`{"type":"vdpa"}`), "c": []byte("{")} {
		if err := os.WriteFile(filepath.Join(dir, "cni", name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := map[pci.Address]bool{pci.MustParseAddress("0000:3b:10.1"): true}
	if diff := cmp.Diff(want, namedByFiles(dir)); diff != "" {
		t.Error(diff)
	}
}
