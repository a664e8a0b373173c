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

// vfPreparation is one Prepare of an sriov network.
type vfPreparation struct {
	at      site
	conf    vfConf
	assumed []string // knobs whose original setting is not known
}

// member prepares a VF, for the kernel or for a userspace driver as it is bound now.
// If the pod has no VF, it prepares the fallback.
func (p *vfPreparation) member() (ledger.Member, error) {
	addr, err := p.chooseDevice()
	if err != nil {
		return ledger.Member{}, err
	}
	if addr.IsZero() {
		return fallback{p.at, p.conf}.member()
	}
	vf, err := p.usableVF(addr)
	if err != nil {
		return ledger.Member{}, err
	}
	if may := p.at.set.MayHaveVF; may != nil {
		if err := may(p.at.call, addr, p.conf.Asked); err != nil {
			return ledger.Member{}, err
		}
	}
	if p.conf.Trunk {
		return ledger.Member{}, fmt.Errorf("field \"vlanTrunk\": driver %s of VF %s has no VLAN trunks; use vlan, or tag inside the pod", vf.Driver, addr)
	}
	return p.read(vf)
}

// read records the original state of a VF, and the settings asked for.
func (p *vfPreparation) read(vf device.VF) (ledger.Member, error) {
	addr := vf.Address
	m := ledger.Member{Plugin: PluginSRIOV, IPAM: p.conf.IPAM, Device: addr}
	if vf.Userspace() {
		m.Plugin = PluginVFIO
	}
	state := ledger.VFState{PF: vf.PF, Index: vf.Index, Settings: device.Settings{Driver: vf.Driver}}
	if !vf.Userspace() {
		if err := p.readNetdev(vf, &state); err != nil {
			return m, err
		}
	}
	asked, err := p.readPF(vf, &state)
	if err != nil {
		return m, err
	}
	if m.Plugin == PluginVFIO && asked.MTU != nil {
		p.at.call.ignore("mtu", "the VF is bound to %s: the program that drives it sets the MTU", vf.Driver)
	}
	if asked, err = complete(asked, state, m.Plugin); err != nil {
		return m, err
	}
	m.VF = &ledger.VFMember{Original: state, Asked: asked, Assumed: p.assumed}
	return m, nil
}

// chooseDevice takes the device that the kubelet gave the pod, or if it gave none,
// the conf's. Two that differ are a mix-up, not a choice (m#499).
func (p *vfPreparation) chooseDevice() (pci.Address, error) {
	given := p.at.call.Device
	switch {
	case given.IsZero():
		return p.conf.Device, nil
	case p.conf.Device.IsZero() || given == p.conf.Device:
		return given, nil
	}
	return pci.Address{}, fmt.Errorf("field \"deviceID\": the conf names %s, but the pod's device of %s is %s; remove deviceID from the network", p.conf.Device, p.at.call.Resource, given)
}

// usableVF reads the VF and refuses one that cannot be given to the pod.
func (p *vfPreparation) usableVF(addr pci.Address) (device.VF, error) {
	vf, err := p.at.set.Sysfs.VF(addr)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return vf, fmt.Errorf("VF %s is not there any more (VFs were removed, or their number changed, after the kubelet gave it to the pod); delete the pod so that it gets another: %w", addr, err)
	case err != nil:
		return vf, err
	case vf.Driver == "":
		return vf, fmt.Errorf("VF %s has no driver bound, so there is no interface to give to the pod; bind its kernel driver, or vfio-pci for userspace (NICProfile: driver)", addr)
	}
	if vf.PF.IsZero() {
		if err := p.usablePF(addr); err != nil {
			return vf, err
		}
	}
	return vf, p.at.askCustody(addr)
}

// usablePF refuses a PF that the kubelet has not given to the pod, or that has VFs: these
// would lose their uplink. Of a NIC without SR-IOV, or a VF in a virtual machine, it
// knows nothing.
func (p *vfPreparation) usablePF(addr pci.Address) error {
	switch pf, err := p.at.set.Sysfs.PF(addr); {
	case err != nil:
		return nil
	case !p.at.call.gave(addr):
		return fmt.Errorf("%s is a PF; a pod gets one of its VFs, or the whole PF if the pod requests the resource of a pool that has it", addr)
	case pf.NumVFs > 0:
		return fmt.Errorf("PF %s has %d VFs by now, and a pod gets a PF only while it has none; remove the VFs, or delete the pod so that it gets another device", addr, pf.NumVFs)
	}
	return nil
}

// readNetdev reads the VF's netdev, and refuses one that the host uses.
func (p *vfPreparation) readNetdev(vf device.VF, state *ledger.VFState) error {
	if vf.Netdev == "" {
		return fmt.Errorf("VF %s is bound to driver %s but shows no interface on the host: it lies in another network namespace, or %s makes none", vf.Address, vf.Driver, vf.Driver)
	}
	l, err := p.at.host.ByName(vf.Netdev)
	if err != nil {
		return err
	}
	features, err := p.at.host.Features(l.Name)
	if err != nil {
		p.at.set.Log.Warn("reading the VF's ethtool features failed; they will not be restored", "vf", vf.Address, "error", err)
		features = nil
	}
	state.MAC, state.MTU = l.MAC, &l.MTU
	state.Netdev = netdevState(l, features)
	return p.at.notTheHosts(l, vf.Address)
}

// readPF reads the VF's settings at its PF, and returns those asked for. If they
// cannot be read, nothing may be asked of the PF: it could not be restored.
func (p *vfPreparation) readPF(vf device.VF, state *ledger.VFState) (device.Settings, error) {
	if vf.PF.IsZero() {
		return p.refuse("no PF of " + vf.Address.String() + " is visible here, as of a whole NIC, or inside a virtual machine; set it where the PF is, or tag inside the pod")
	}
	pf, err := p.at.set.Sysfs.PF(vf.PF)
	if err != nil {
		return p.conf.Asked, err
	}
	if pf.Netdev == "" {
		return p.refuse(fmt.Sprintf("PF %s has no interface on the host (driver %q)", pf.Address, pf.Driver))
	}
	uplink, err := p.at.host.ByName(pf.Netdev)
	if err != nil {
		return p.conf.Asked, err
	}
	state.PFName = uplink.Name
	if asked := p.conf.Asked.MTU; asked != nil && *asked > uplink.MTU {
		return p.conf.Asked, fmt.Errorf("field \"mtu\": %d is above the MTU of PF %s, %d; raise the PF's (NICProfile: pf.mtu) or ask for less", *asked, uplink.Name, uplink.MTU)
	}
	all, err := p.at.host.VFs(uplink.Index)
	now, found := all[vf.Index]
	switch {
	case errors.Is(err, link.ErrUnsupported):
		return p.refuse(fmt.Sprintf("driver %s of PF %s does not tell the state of its VFs", pf.Driver, uplink.Name))
	case err != nil:
		return p.conf.Asked, err
	case !found:
		return p.conf.Asked, fmt.Errorf("PF %s does not have VF %d now; it has %d VFs", uplink.Name, vf.Index, len(all))
	}
	for _, k := range device.KnobsAt(device.AtPF) {
		k.Copy(&state.Settings, now)
	}
	return p.conf.Asked, p.assumeDefaults(pf.Driver, uplink, state)
}

// assumeDefaults completes the original settings by the defaults of those that are
// asked for and that the driver does not report. Without one, such a knob is refused:
// the next pod would have it.
func (p *vfPreparation) assumeDefaults(driver string, uplink link.Link, state *ledger.VFState) error {
	var wrong problems
	for _, k := range device.KnobsAt(device.AtPF) {
		switch {
		case !k.Has(p.conf.Asked) || k.Has(state.Settings):
		case k.Default == nil:
			wrong.add(k.Field, "driver %s of PF %s does not report it, so that it could not be restored; leave it out of the network", driver, uplink.Name)
		default:
			k.Default(&state.Settings)
			p.assumed = append(p.assumed, k.Name)
			p.at.set.Log.Info("the driver does not report a setting; DEL will set the kernel's default",
				"pf", uplink.Name, "vf", state.Index, "setting", k.Name, "default", k.Text(state.Settings))
		}
	}
	return wrong.err()
}

// refuse fails if anything is asked for that only a PF can do. Generated networks
// spell out defaults ("vlan": 0, "link_state": "auto"): those of the kernel count as not
// asked for (reports 43). Not so trust off and spoof check on: a pod that is to be kept
// from something must not run if nobody knows whether it is.
func (p *vfPreparation) refuse(why string) (device.Settings, error) {
	asked := p.conf.Asked
	var wrong problems
	for _, k := range device.KnobsAt(device.AtPF) {
		if !k.Has(asked) {
			continue
		}
		if !k.Guards && hasDefault(k, asked) {
			k.Copy(&asked, device.Settings{})
			continue
		}
		wrong.add(k.Field, "%s", why)
	}
	return asked, wrong.err()
}

func hasDefault(k device.Knob, s device.Settings) bool {
	if k.Default == nil {
		return false
	}
	var normal device.Settings
	k.Default(&normal)
	return k.Equal(s, normal)
}

// complete adds to the settings asked for those that have to go with them.
func complete(asked device.Settings, was ledger.VFState, plugin string) (device.Settings, error) {
	if asked.MAC != "" && was.AdminMAC != nil {
		asked.AdminMAC = &asked.MAC
	}
	if plugin == PluginVFIO {
		asked.MTU = nil // the program that drives the device sets it
		if asked.MAC != "" && was.AdminMAC == nil {
			return asked, fmt.Errorf("field \"mac\": driver %s leaves the MAC to the PF, and no PF is in reach", was.Driver)
		}
	}
	if asked.MinTxRate == nil && asked.MaxTxRate == nil {
		return asked, nil
	}
	// The kernel sets the two rates as one.
	if asked.MinTxRate == nil {
		asked.MinTxRate = was.MinTxRate
	}
	if asked.MaxTxRate == nil {
		asked.MaxTxRate = was.MaxTxRate
	}
	if lowest, highest := orZero(asked.MinTxRate), orZero(asked.MaxTxRate); highest != 0 && lowest > highest {
		return asked, fmt.Errorf("field \"min_tx_rate\": %d Mbit/s is above the VF's max_tx_rate, %d", lowest, highest)
	}
	return asked, nil
}

func orZero(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}
