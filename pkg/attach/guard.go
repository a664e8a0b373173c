package attach

import (
	"errors"
	"fmt"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

// mayAttach refuses a function that another holder or the host itself has.
func (at site) mayAttach(addr pci.Address) error {
	if err := at.askCustody(addr); err != nil {
		return err
	}
	names, err := at.set.Sysfs.Netdevs(addr)
	if err != nil {
		return nil // no function of that address: the plugin says so better
	}
	for _, name := range names {
		l, err := at.host.ByName(name)
		if errors.Is(err, link.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := at.notTheHosts(l, addr); err != nil {
			return err
		}
	}
	return nil
}

// askCustody asks whether the sandbox may have a function.
func (at site) askCustody(addr pci.Address) error {
	c := at.call
	if at.set.Custody == nil {
		return nil
	}
	if err := at.set.Custody.ToAttach(addr, c.SandboxID, c.Pod, c.gave(addr)); err != nil {
		return fmt.Errorf("device %s cannot be attached: %w", addr, err)
	}
	return nil
}

// gave reports whether the kubelet gave the pod a function.
func (c Call) gave(addr pci.Address) bool { return addr == c.Device && !c.Named }

// mayCarry asks whether a host netdev may have a link of the sandbox on it.
func (at site) mayCarry(netdev string) error {
	if at.set.Custody == nil {
		return nil
	}
	if err := at.set.Custody.ToCarry(netdev, at.call.SandboxID); err != nil {
		return fmt.Errorf("no link can be made on %s: %w", netdev, err)
	}
	return nil
}

// notTheHosts refuses a function by which the node itself is reached: it would lose
// its network to the pod.
func (at site) notTheHosts(l link.Link, addr pci.Address) error {
	use, err := at.hostUse(l)
	if err != nil || use == "" {
		return err
	}
	which := "the device that the network names, " + addr.String()
	if addr == at.call.Device {
		which = "device " + addr.String()
	}
	return fmt.Errorf("the host itself uses interface %s of %s %s; end that, or give the pod another device", l.Name, which, use)
}

// hostUse says how the host uses one of its netdevs: "with the address 10.0.0.1/24".
func (at site) hostUse(l link.Link) (string, error) {
	if at.set.HostUse != nil {
		return at.set.HostUse(l.Name)
	}
	use, err := at.host.Use(l.Index)
	return use.String(), err
}

// functionOf returns the PCI function of a host netdev, if it has one.
func (at site) functionOf(netdev string) []pci.Address {
	l, err := at.host.ByName(netdev)
	if err != nil {
		return nil // the plugin says so better
	}
	addr, err := pci.ParseAddress(l.ParentDev)
	if err != nil {
		return nil
	}
	return []pci.Address{addr}
}
