package deviceplugin

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
)

// writeInfo leaves the device-info file of a VF for the meta-CNI. It is written
// anew at each allocation and never removed: a pod may come between Allocate and
// ADD while the agent restarts, and it says nothing that is wrong without one.
func (a allocator) writeInfo(g grant) error {
	vf := g.device.VF
	info := nadv1.DeviceInfo{
		Type: nadv1.DeviceInfoTypePCI, Version: nadv1.DeviceInfoVersion,
		Pci: &nadv1.PciDevice{
			PciAddress:        vf.Address.String(),
			Vhostnet:          g.info.Vhost["net-mount"],
			RdmaDevice:        strings.Join(vf.RDMADevices, ","),
			RepresentorDevice: a.representor(g.device),
		},
	}
	if !vf.PF.IsZero() {
		info.Pci.PfPciAddress = vf.PF.String()
	}
	text, err := json.Marshal(info)
	if err != nil {
		return err
	}
	file := infoFile(a.opts.DeviceInfoDir, a.resource, vf.Address.String())
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return replaceFile(file, text)
}

// infoFile is the path that the meta-CNI looks under.
func infoFile(dir, resource, id string) string {
	return filepath.Join(dir, "dp", strings.ReplaceAll(resource, "/", "-")+"-"+id+"-device.json")
}

// representor is the VF's netdev on the eswitch's side, which only switchdev mode has.
func (a allocator) representor(d Device) string {
	if d.PF.EswitchMode != "switchdev" || d.PF.Netdev == "" {
		return ""
	}
	name, err := a.opts.Representor(d.PF.Netdev, d.VF.Index)
	if err != nil {
		a.opts.Log.Warn("no representor in the device information", "vf", d.VF.Address, "pf", d.PF.Netdev, "error", err)
	}
	return name
}

// replaceFile never leaves half a file for a reader.
func replaceFile(name string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".device-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
