package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// hostDevice is the Plugin that moves a NIC of the host into the pod: any PCI function. It
// is made, checked and released as an sriov network without settings, so the NIC comes back
// as new. Its record says so: the plugin is sriov, or vfio. A device that is no PCI
// function is moved by the program.
type hostDevice struct{ sriov }

// Prepare judges the device as it does for the program, and reads its state.
func (p hostDevice) Prepare(ctx context.Context, c Call, conf Conf) (ledger.Member, error) {
	m, err := program(p.sriov).Prepare(ctx, c, conf)
	if err != nil {
		return m, err
	}
	at, err := p.set.enterHost(c)
	if err != nil {
		return m, err
	}
	defer at.close()
	parsed, err := parseHostDevice(conf)
	if err != nil {
		return m, err
	}
	addr := parsed.function(at)
	if addr.IsZero() {
		p.set.Log.Info("the network needs the plugin's program, because its device is no PCI function", "network", c.Network, "plugin", conf.Type)
		return m, nil
	}
	nic, err := p.set.Sysfs.VF(addr) // any function can be read as one
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m, fmt.Errorf("device %s is not there; delete the pod so that it gets another, or correct the network: %w", addr, err)
	case err != nil:
		return m, err
	case nic.Driver == "":
		return m, fmt.Errorf("device %s has no driver bound, so there is no interface to give to the pod; bind one", addr)
	}
	return (&vfPreparation{at: at, conf: vfConf{Device: addr, IPAM: parsed.IPAM.Type}}).read(nic)
}

// hostDeviceConf is the conf of a network of type host-device: the stock plugin's fields.
type hostDeviceConf struct {
	Device     string      `json:"device"`
	HWAddr     string      `json:"hwaddr"`
	KernelPath string      `json:"kernelpath"`
	PCIBusID   string      `json:"pciBusID"`
	DeviceID   string      `json:"deviceID"` // as the other plugins of a chain get it
	Runtime    runtimeConf `json:"runtimeConfig"`
	IPAM       ipamConf    `json:"ipam"`
}

// parseHostDevice reads the conf.
func parseHostDevice(conf Conf) (hostDeviceConf, error) {
	var c hostDeviceConf
	if err := decode(conf.Raw, &c); err != nil {
		return c, err
	}
	if c == (hostDeviceConf{IPAM: c.IPAM, Runtime: runtimeConf{MAC: c.Runtime.MAC}}) {
		return c, errors.New(`the network names no device; set "device", "hwaddr", "kernelpath" or "pciBusID", or request a resource that the network names`)
	}
	return c, nil
}

// function returns the device in the stock plugin's order of precedence. It is zero
// for a device that is no PCI function, or that is named in a way that is not built in.
func (c hostDeviceConf) function(at site) pci.Address {
	if c.Device != "" {
		if functions := at.functionOf(c.Device); len(functions) == 1 {
			return functions[0]
		}
		return pci.Address{}
	}
	if c.HWAddr != "" || c.KernelPath != "" {
		return pci.Address{}
	}
	addr, err := pci.ParseAddress(firstSet(c.Runtime.DeviceID, c.PCIBusID, c.DeviceID))
	if err != nil {
		return pci.Address{} // of another bus: a subfunction
	}
	return addr
}
