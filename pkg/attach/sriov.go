package attach

import (
	"errors"
	"fmt"
	"io/fs"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

// vf prepares a VF, for the kernel or for a userspace driver as it is bound now,
// or the fallback where the pod holds none.
func (p preparation) vf() (ledger.Attachment, error) {
	c, err := parseVFConf(p.Config, p.CNIArgs)
	if err != nil {
		return ledger.Attachment{}, err
	}
	addr, err := p.chooseDevice(c)
	if err != nil {
		return ledger.Attachment{}, err
	}
	if addr.IsZero() {
		return p.fallback(c)
	}
	vf, err := p.usableVF(addr)
	if err != nil {
		return ledger.Attachment{}, err
	}
	if c.Trunk {
		return ledger.Attachment{}, fmt.Errorf("field \"vlanTrunk\": driver %s of VF %s has no VLAN trunks; use vlan, or tag inside the pod", vf.Driver, addr)
	}
	if vf.PF.IsZero() {
		c.Asked = withoutDefaults(c.Asked)
	}
	kind := KindSRIOV
	if vf.Userspace() {
		kind = KindVFIO
	}
	att := p.attachment(kind, c.IPAM)
	att.Device = addr
	if att.VF, err = p.originalState(vf, c.Asked); err != nil {
		return ledger.Attachment{}, err
	}
	att.Applied, err = askedState(c.Asked, *att.VF, kind)
	return att, err
}

// chooseDevice takes the device that the kubelet gave the pod; the conf's where
// there is none. Two that differ are a mix-up, not a choice (m#499).
func (p preparation) chooseDevice(c vfConf) (pci.Address, error) {
	if p.Device.IsZero() || c.Device.IsZero() || p.Device == c.Device {
		if p.Device.IsZero() {
			return c.Device, nil
		}
		return p.Device, nil
	}
	return pci.Address{}, fmt.Errorf("field \"deviceID\": the conf names %s, but the pod's device of %s is %s; remove deviceID from the network", c.Device, p.Resource, p.Device)
}

// usableVF reads the VF and refuses what cannot be given to a pod.
func (p preparation) usableVF(addr pci.Address) (device.VF, error) {
	vf, err := p.Sysfs.VF(addr)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return vf, fmt.Errorf("VF %s is not there any more (VFs were removed, or their number changed, after the kubelet gave it to the pod); delete the pod so that it gets another: %w", addr, err)
	case err != nil:
		return vf, err
	case vf.Driver == "":
		return vf, fmt.Errorf("VF %s has no driver bound, so there is no interface to give to the pod; bind its kernel driver, or vfio-pci for userspace (NICProfile: driver)", addr)
	}
	if _, err := p.Sysfs.PF(addr); vf.PF.IsZero() && err == nil {
		return vf, fmt.Errorf("%s is a PF; a pod gets one of its VFs", addr)
	}
	return vf, nil
}

// originalState reads everything that Bind, or the pod, may change.
func (p preparation) originalState(vf device.VF, asked ledger.VFState) (*ledger.VFState, error) {
	state := ledger.VFState{PF: vf.PF, Index: vf.Index, Netdev: vf.Netdev, Settings: device.Settings{Driver: vf.Driver}}
	if !vf.Userspace() {
		if err := p.netdevState(vf, &state); err != nil {
			return nil, err
		}
	}
	return &state, p.pfState(vf, asked, &state)
}

func (p preparation) netdevState(vf device.VF, state *ledger.VFState) error {
	if vf.Netdev == "" {
		return fmt.Errorf("VF %s is bound to driver %s but shows no interface on the host: it lies in another network namespace, or %s makes none", vf.Address, vf.Driver, vf.Driver)
	}
	l, err := p.host.ByName(vf.Netdev)
	if err != nil {
		return err
	}
	state.MAC, state.MTU, state.Up, state.Promisc, state.AllMulti = l.MAC, &l.MTU, &l.Up, &l.Promisc, &l.AllMulti
	state.AltNames = append([]string{}, l.AltNames...)
	return p.notTheHosts(l)
}

// notTheHosts refuses a VF, or another function that the network names, by which
// the node itself is reached: it would lose its network to the pod.
func (p preparation) notTheHosts(l link.Link) error {
	if l.Master != 0 {
		return fmt.Errorf("interface %s of %s is a port of a bridge or bond of the host; take it out of that, or give the pod another device", l.Name, p.describeDevice())
	}
	addrs, err := p.host.Addresses(l.Index)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if a.InUse() {
			return fmt.Errorf("the host itself uses interface %s of %s: it has the address %s; remove that, or give the pod another device", l.Name, p.describeDevice(), a.IPNet.String())
		}
	}
	return nil
}

func (p preparation) describeDevice() string {
	if p.Device.IsZero() {
		return "the device that the network names"
	}
	return "device " + p.Device.String()
}

// pfState reads the VF's knobs at its PF. Without them, nothing may be asked of
// the PF: what cannot be read cannot be restored.
func (p preparation) pfState(vf device.VF, asked ledger.VFState, state *ledger.VFState) error {
	if vf.PF.IsZero() {
		return refuseKnobs(asked, fmt.Sprintf("no PF of %s is visible here, as inside a virtual machine; set them where the PF is", vf.Address))
	}
	pf, err := p.Sysfs.PF(vf.PF)
	if err != nil {
		return err
	}
	if pf.Netdev == "" {
		return refuseKnobs(asked, fmt.Sprintf("PF %s has no interface on the host (driver %q)", pf.Address, pf.Driver))
	}
	uplink, err := p.host.ByName(pf.Netdev)
	if err != nil {
		return err
	}
	state.PFName = uplink.Name
	if asked.MTU != nil && *asked.MTU > uplink.MTU {
		return fmt.Errorf("field \"mtu\": %d is above the MTU of PF %s, %d; raise the PF's (NICProfile: pf.mtu) or ask for less", *asked.MTU, uplink.Name, uplink.MTU)
	}
	info, err := p.host.VF(uplink.Index, vf.Index)
	if errors.Is(err, link.ErrUnsupported) {
		return refuseKnobs(asked, fmt.Sprintf("driver %s of PF %s does not tell the state of its VFs", pf.Driver, uplink.Name))
	}
	if err != nil {
		return err
	}
	setKnobs(state, info)
	return nil
}

// withoutDefaults forgets what a VF has anyway where no PF is in reach: generated
// networks spell "vlan": 0 and rates of 0 out.
func withoutDefaults(asked ledger.VFState) ledger.VFState {
	if zero(asked.VLAN) && zero(asked.QoS) {
		asked.VLAN, asked.QoS, asked.VLANProto = nil, nil, nil
	}
	if zero(asked.MinTxRate) && zero(asked.MaxTxRate) {
		asked.MinTxRate, asked.MaxTxRate = nil, nil
	}
	return asked
}

func zero(n *int) bool { return n == nil || *n == 0 }

// refuseKnobs fails if anything is asked for that only a PF can do.
func refuseKnobs(asked ledger.VFState, why string) error {
	var p problems
	for _, k := range knobs {
		if k.asked(asked) {
			p.add(k.field, "%s", why)
		}
	}
	return p.err()
}

// askedState completes what the conf asks for by what has to go with it.
func askedState(asked, was ledger.VFState, kind string) (*ledger.VFState, error) {
	if asked.MAC != "" && was.AdminMAC != nil {
		asked.AdminMAC = &asked.MAC
	}
	if kind == KindVFIO {
		asked.MTU = nil // whoever drives the device sets it
		if asked.MAC != "" && was.AdminMAC == nil {
			return nil, fmt.Errorf("field \"mac\": driver %s leaves the MAC to the PF, and no PF is in reach", was.Driver)
		}
	}
	if asked.MinTxRate != nil || asked.MaxTxRate != nil { // the kernel sets the two as one
		if asked.MinTxRate == nil {
			asked.MinTxRate = was.MinTxRate
		}
		if asked.MaxTxRate == nil {
			asked.MaxTxRate = was.MaxTxRate
		}
		if *asked.MaxTxRate != 0 && *asked.MinTxRate > *asked.MaxTxRate {
			return nil, fmt.Errorf("field \"min_tx_rate\": %d Mbit/s is above the VF's max_tx_rate, %d", *asked.MinTxRate, *asked.MaxTxRate)
		}
	}
	return &asked, nil
}
