package attach

import (
	"context"
	"errors"
	"fmt"
	"net"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// Check compares an attachment with the node, and reports every difference. A list
// may decline it (disableCheck). Programs have CHECK since CNI version 0.4.0.
func (s *Set) Check(ctx context.Context, c Call, att ledger.Attachment) error {
	if att.DisableCheck {
		return nil
	}
	programs, err := version.GreaterThanOrEqualTo(att.CNIVersion, "0.4.0")
	if err != nil {
		return err
	}
	c, done := s.begin(c, att)
	defer done()
	if c.Prev == nil {
		if c.Prev, err = recordedResult(att); err != nil {
			return err
		}
	}
	var errs []error
	for i, m := range att.Members {
		if m.Plugin == PluginBinary && !programs {
			continue
		}
		plugin, err := s.pluginOf(m)
		if err == nil {
			err = plugin.Check(ctx, c.forMember(att, i), m)
		}
		if err != nil {
			errs = append(errs, memberError(i, len(att.Members), m.Type, err))
		}
	}
	return errors.Join(errs...)
}

// Check compares the VF's settings at the PF, and its interface in the pod.
func (p sriov) Check(ctx context.Context, c Call, m ledger.Member) error {
	at, err := p.set.enter(c)
	if err != nil {
		return err
	}
	defer at.close()
	w, err := newVFWork(at, &m)
	if err != nil {
		return err
	}
	errs := []error{w.ip.check(ctx), w.check()}
	if m.Plugin != PluginVFIO {
		errs = append(errs, inspection{at: at, m: m}.run())
	}
	return errors.Join(errs...)
}

// Check compares the interface in the pod.
func (p child) Check(ctx context.Context, c Call, m ledger.Member) error {
	at, err := p.set.enter(c)
	if err != nil {
		return err
	}
	defer at.close()
	ip := addressing{at: at, m: &m}
	return errors.Join(ip.check(ctx), inspection{at: at, m: m}.run())
}

func (w *vfWork) check() error {
	if was := w.m.VF.Original.Driver; w.net.driver != was {
		return fmt.Errorf("VF %s is bound to driver %q, and was to %q", w.m.Device, w.net.driver, was)
	}
	asked := w.m.VF.Asked
	if w.m.VF.Original.PF.IsZero() || len(device.Differ(device.AtPF, asked, device.Settings{})) == 0 {
		return nil
	}
	now, err := w.pf.read()
	if errors.Is(err, link.ErrUnsupported) {
		return nil // nothing could be asked of this PF
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, k := range device.Differ(device.AtPF, asked, now) {
		if k.Has(now) { // not every driver reports all
			errs = append(errs, fmt.Errorf("%s of VF %d at PF %s is %s, and was set to %s", k.Name, w.pf.index, w.pf.uplink.Name, k.Text(now), k.Text(asked)))
		}
	}
	return errors.Join(errs...)
}

// inspection compares an interface in the pod with the chain's result.
type inspection struct {
	at        site
	m         ledger.Member
	staysDown bool // the interface is not brought up
}

func (i inspection) run() error {
	name := i.at.call.IfName
	l, err := i.at.pod.ByName(name)
	if errors.Is(err, link.ErrNotFound) {
		return fmt.Errorf("interface %s is missing", name)
	}
	if err != nil {
		return err
	}
	errs := []error{i.isOurs(l)}
	if !l.Up && !i.staysDown {
		errs = append(errs, fmt.Errorf("interface %s is down", l.Name))
	}
	if prev := i.at.call.Prev; prev != nil {
		errs = append(errs, i.link(l, prev), i.addresses(l, prev), i.routes(l, prev))
	}
	return errors.Join(errs...)
}

// isOurs returns an error if somebody has put another interface in the place of the
// one that was made.
func (i inspection) isOurs(l link.Link) error {
	switch device := i.m.Device; {
	case i.m.Veth != nil:
		if l.Kind != "veth" {
			return fmt.Errorf("interface %s is of kind %q, not veth", l.Name, l.Kind)
		}
	case i.m.Child == nil && l.ParentDev != "" && l.ParentDev != i.at.set.Sysfs.NetdevParent(device):
		return fmt.Errorf("interface %s belongs to device %s, not to VF %s", l.Name, l.ParentDev, device)
	case i.m.Child == nil && l.ParentDev == "" && !isNIC(l):
		return fmt.Errorf("interface %s is of kind %q, not VF %s", l.Name, l.Kind, device)
	case i.m.Child != nil && l.Kind != i.m.Plugin:
		return fmt.Errorf("interface %s is of kind %q, not %s", l.Name, l.Kind, i.m.Plugin)
	case i.m.Plugin == PluginVLAN && l.VLAN != i.m.Child.VLAN:
		return fmt.Errorf("interface %s has VLAN %d, not %d", l.Name, l.VLAN, i.m.Child.VLAN)
	}
	return nil
}

// link compares with the chain's result, not with the interface as it was made: a
// later member (tuning, bond) may have changed it. If such a member is a program, the
// MTU is not compared: most results have no MTU.
func (i inspection) link(l link.Link, result *types100.Result) error {
	var errs []error
	for _, iface := range result.Interfaces {
		if iface.Name != l.Name || iface.Sandbox == "" {
			continue
		}
		if iface.Mac != "" && iface.Mac != l.MAC {
			errs = append(errs, fmt.Errorf("interface %s has MAC %s, and had %s", l.Name, l.MAC, iface.Mac))
		}
		if iface.Mtu != 0 && iface.Mtu != l.MTU && !i.at.call.program {
			errs = append(errs, fmt.Errorf("interface %s has MTU %d, and had %d", l.Name, l.MTU, iface.Mtu))
		}
	}
	return errors.Join(errs...)
}

func (i inspection) addresses(l link.Link, result *types100.Result) error {
	have, err := i.at.pod.Addresses(l.Index)
	if err != nil {
		return err
	}
	var errs []error
	for _, ip := range result.IPs {
		if isOn(result, ip, l.Name) {
			errs = append(errs, checkAddress(have, ip.Address, l.Name))
		}
	}
	return errors.Join(errs...)
}

// isOn reports whether an address is one of the interface: later members may have
// added interfaces.
func isOn(r *types100.Result, ip *types100.IPConfig, ifName string) bool {
	i := ip.Interface
	return i != nil && *i >= 0 && *i < len(r.Interfaces) && r.Interfaces[*i].Name == ifName
}

func checkAddress(have []link.IPAddress, want net.IPNet, name string) error {
	for _, a := range have {
		if !a.IPNet.IP.Equal(want.IP) {
			continue
		}
		if a.Duplicate {
			return fmt.Errorf("address %s on %s is a duplicate: another host on the network has it", want.IP, name)
		}
		if a.IPNet.Mask.String() != want.Mask.String() {
			return fmt.Errorf("address %s on %s has prefix /%s, not %s", want.IP, name, a.IPNet.Mask, want.String())
		}
		return nil
	}
	return fmt.Errorf("address %s on %s is missing", want.String(), name)
}

// routes compares the routes that the IPAM gave. Another network may have the default
// route by now: the pod's annotation selects it.
func (i inspection) routes(l link.Link, result *types100.Result) error {
	if i.m.IPAM == "" || len(result.Routes) == 0 {
		return nil
	}
	have, err := i.at.pod.Routes(0)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range result.Routes {
		if !hasRoute(have, r.Dst, l.Index, isDefaultRoute(r)) {
			errs = append(errs, fmt.Errorf("the route to %s over %s is missing", r.Dst.String(), l.Name))
		}
	}
	return errors.Join(errs...)
}

func hasRoute(have []link.Route, dst net.IPNet, index int, overAny bool) bool {
	for _, r := range have {
		same := r.Dst.IP.Equal(dst.IP) && r.Dst.Mask.String() == dst.Mask.String()
		if same && (r.Link == index || overAny && (r.Table == 0 || r.Table == unix.RT_TABLE_MAIN)) {
			return true
		}
	}
	return false
}
