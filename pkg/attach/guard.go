package attach

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
		return fmt.Errorf("the device cannot be attached: %w", err)
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
	if err == nil {
		return []pci.Address{addr}
	}
	if addr, ok := at.set.Sysfs.FunctionOf(l.Name); ok { // the parent of a virtio netdev is on another bus
		return []pci.Address{addr}
	}
	return nil
}

// The floors hold without any policy: who writes a net-attach-def is a tenant.

// mayBeUplink refuses a host netdev that no network may have a link on, whatever its
// mode. A veth, or a netkit, leads to another pod, which would see and get the traffic of both. A port
// belongs to its bridge or bond.
func (at site) mayBeUplink(l link.Link) error {
	if err := notForPods(l); err != nil {
		return fmt.Errorf("no link can be made on %s: %w", l.Name, err)
	}
	return at.mayCarry(l.Name)
}

func notForPods(l link.Link) error {
	switch {
	case l.Type == "loopback":
		return errors.New("it is the host's loopback interface; name a NIC")
	case l.Kind == "veth", l.Kind == "netkit":
		return errors.New("it is a veth, which leads to another namespace; name a NIC, bond or bridge")
	case l.Master != 0:
		return errors.New("it is a port of a bridge or bond; name the bridge or bond")
	}
	return nil
}

// mayUseUnnamed asks the policy of the network about a netdev that the network's config
// does not name. One that it names has been compared before.
func (at site) mayUseUnnamed(l link.Link) error {
	if at.set.MayUseUplink == nil {
		return nil
	}
	return at.set.MayUseUplink(at.call.Network, append([]string{l.Name}, l.AltNames...))
}

// mayHaveVF asks the VF's group about a program that gets a VF. Programs have the fields
// of the built-in plugin, as far as they set anything of a VF at its PF.
func (at site) mayHaveVF(addr pci.Address, conf Conf) error {
	if at.set.MayHaveVF == nil {
		return nil
	}
	asked, err := parseVFConf(conf.Raw, at.call.CNIArgs)
	if err != nil && conf.Type == PluginSRIOV {
		return err
	}
	return at.set.MayHaveVF(at.call, addr, asked.Asked)
}

// mayMove refuses a host netdev that a program is to move into the pod.
func (at site) mayMove(field string, l link.Link) error {
	err := notForPods(l)
	if err == nil {
		var use string
		if use, err = at.hostUse(l); err == nil && use != "" {
			err = fmt.Errorf("the host itself uses it %s; end that, or name another interface", use)
		}
	}
	if err != nil {
		return fmt.Errorf("field %q: the interface that it names cannot be moved into a pod: %w", field, err)
	}
	return nil
}

// mayMoveFunction refuses a PF that has VFs: who has the PF sets MAC, VLAN and trust of
// every VF, whoever has that.
func (at site) mayMoveFunction(addr pci.Address) error {
	pf, err := at.set.Sysfs.PF(addr)
	if err != nil || pf.NumVFs == 0 {
		return nil // it is no PF, or has no VFs
	}
	return fmt.Errorf("device %s is a PF with %d VFs, whose settings the pod would control; remove the VFs, or name one of them", addr, pf.NumVFs)
}

// checkMaster judges the netdev on which a program makes a link. If the config names
// none, programs of these types take that of the default route.
func (at site) checkMaster(uses hostUses) error {
	var (
		l   link.Link
		err error
	)
	switch {
	case uses.master != "":
		l, err = at.host.ByName(uses.master)
	case uses.mastersDefault:
		l, err = at.host.DefaultLink()
	default:
		return nil
	}
	if errors.Is(err, link.ErrNotFound) {
		return nil // the program says so better
	}
	if err != nil {
		return err
	}
	if uses.master == "" {
		if err := at.mayUseUnnamed(l); err != nil {
			return err
		}
	}
	if err := at.mayBeUplink(l); err != nil {
		return err
	}
	if uses.passthru {
		return at.mayPassThrough(l, uses.master != "")
	}
	return nil
}

// checkMoved judges the netdevs that a host-device moves into the pod: by name, by MAC
// and by the directory of the device in sysfs.
func (at site) checkMoved(uses hostUses) error {
	var all []movedLink
	if uses.moves != "" {
		l, err := at.host.ByName(uses.moves)
		if err == nil {
			all = append(all, movedLink{"device", l})
		} else if !errors.Is(err, link.ErrNotFound) {
			return err
		}
	}
	if uses.movesMAC != "" {
		links, err := at.host.List()
		if err != nil {
			return err
		}
		for _, l := range links {
			if strings.EqualFold(l.MAC, uses.movesMAC) {
				all = append(all, movedLink{"hwaddr", l})
			}
		}
	}
	more, err := at.linksBelow(uses.movesPath)
	if err != nil {
		return err
	}
	for _, m := range append(all, more...) {
		if err := at.mayMove(m.field, m.link); err != nil {
			return err
		}
	}
	return nil
}

// movedLink is a netdev that a program moves, and the field that names it.
type movedLink struct {
	field string
	link  link.Link
}

// linksBelow returns the netdevs of a device's directory in sysfs, as host-device looks
// for them.
func (at site) linksBelow(dir string) ([]movedLink, error) {
	if dir == "" {
		return nil, nil
	}
	if filepath.Clean(dir) != dir || !strings.HasPrefix(dir, "/sys/devices/") {
		return nil, fmt.Errorf("field \"kernelpath\": %q is not a directory below /sys/devices in its shortest form", dir)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "net"))
	if err != nil {
		return nil, nil // the program says so better
	}
	var all []movedLink
	for _, e := range entries {
		l, err := at.host.ByName(e.Name())
		if errors.Is(err, link.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, movedLink{"kernelpath", l})
	}
	return all, nil
}
