package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"

	"fairlead.dev/fairlead/pkg/host/file"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
)

// deviceInfo is the directory of device-info files: dp/ is the device plugin's,
// cni/ has one file for each attachment with a device.
type deviceInfo struct{ dir string }

func (d deviceInfo) path(fileName string) string { return filepath.Join(d.dir, "cni", fileName) }

// write copies the device plugin's file for the attachment. Without such a
// file, it writes one from the PCI address.
func (d deviceInfo) write(a ledger.Attachment, deviceID string) error {
	raw, err := os.ReadFile(filepath.Join(d.dir, "dp", network.DeviceFileName(a.Resource, deviceID)))
	if errors.Is(err, fs.ErrNotExist) {
		raw, err = pciInfo(a, deviceID)
	}
	if err != nil {
		return fmt.Errorf("write device-info of %s: %w", deviceID, err)
	}
	if raw == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(a.DeviceInfo), 0o755); err != nil {
		return fmt.Errorf("write device-info of %s: %w", deviceID, err)
	}
	return file.Replace(a.DeviceInfo, raw, 0o444)
}

func pciInfo(a ledger.Attachment, deviceID string) ([]byte, error) {
	address, err := pci.ParseAddress(deviceID)
	if err != nil {
		return nil, nil // another kind of device, of which nothing is known
	}
	pf := ""
	for _, m := range a.Members {
		if m.Device == address && m.VF != nil && !m.VF.Original.PF.IsZero() {
			pf = m.VF.Original.PF.String()
		}
	}
	return json.Marshal(network.PCIDeviceInfo(address.String(), pf))
}

// read reads an attachment's file, which the plugin may have written again. It is nil
// if there is no such file.
func (d deviceInfo) read(a ledger.Attachment) (*nadv1.DeviceInfo, error) {
	if a.DeviceInfo == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(a.DeviceInfo)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var info nadv1.DeviceInfo
	if err := json.Unmarshal(raw, &info); err != nil {
		return nil, fmt.Errorf("read device-info file %s: %w", a.DeviceInfo, err)
	}
	return &info, nil
}

func (d deviceInfo) remove(a ledger.Attachment) error {
	if a.DeviceInfo == "" {
		return nil
	}
	if err := os.Remove(a.DeviceInfo); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
