package deviceplugin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"

	"fairlead.dev/fairlead/pkg/host/file"
)

// writeInfo writes the device-info file of a VF for the meta-CNI, at each allocation. The
// file is never removed: the agent may restart between Allocate and ADD, and the content
// stays true without a pod.
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
	path := infoFile(a.opts.DeviceInfoDir, a.resource, vf.Address.String())
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return file.Replace(path, text, 0o644)
}

// infoFile returns the path at which the meta-CNI looks.
func infoFile(dir, resource, id string) string {
	return filepath.Join(dir, "dp", strings.ReplaceAll(resource, "/", "-")+"-"+id+"-device.json")
}

// representor returns the VF's netdev on the side of the eswitch. Only switchdev mode has
// representors.
func (a allocator) representor(d Device) string {
	if d.PF.EswitchMode != "switchdev" || d.PF.Netdev == "" || d.VF.Whole {
		return ""
	}
	name, err := a.opts.Representor(d.PF.Netdev, d.VF.Index)
	if err != nil {
		a.opts.Log.Warn("the device information lacks the representor", "vf", d.VF.Address, "pf", d.PF.Netdev, "error", err)
	}
	return name
}
