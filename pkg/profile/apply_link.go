package profile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

// vlanProto is the tag that a profile's VLAN has.
const vlanProto = "802.1q"

const (
	defaultWait = 15 * time.Second
	pollEvery   = 50 * time.Millisecond
)

var errNotExist = fs.ErrNotExist

func (s SetPFMTU) apply(_ context.Context, a *Applier) error {
	for _, vf := range s.VFs {
		if h, held := a.held(vf.Address); held {
			return inUse("VF %d is held by %s since a moment ago: it follows when it is free", vf.Index, h.Who)
		}
	}
	pf, err := a.Links.ByIndex(s.Ifindex)
	if err != nil {
		return err
	}
	return a.setMTU(pf, s.To)
}

func (s SetUp) apply(_ context.Context, a *Applier) error {
	pf, err := a.Links.ByIndex(s.Ifindex)
	if err != nil || pf.Up {
		return err
	}
	if err := a.Links.SetUp(pf.Index); err != nil {
		return err
	}
	if pf, err = a.Links.ByIndex(pf.Index); err != nil {
		return err
	}
	if !pf.Up {
		return errors.New("the driver reported success, but the link is still down")
	}
	return nil
}

func (s SetVFVLAN) apply(_ context.Context, a *Applier) error {
	return a.knob(s.VFTarget, func(v link.VFInfo) (string, bool) {
		return VLANTag{v.VLAN, v.QoS}.String(), v.VLAN == s.VLAN && v.QoS == s.QoS && (s.VLAN == 0 || v.VLANProto == vlanProto)
	}, func(pf int) error { return a.Links.SetVFVLAN(pf, s.VF, s.VLAN, s.QoS, vlanProto) })
}

func (s SetVFTrust) apply(_ context.Context, a *Applier) error {
	return a.knob(s.VFTarget, func(v link.VFInfo) (string, bool) { return same(v.Trust, s.To) },
		func(pf int) error { return a.Links.SetVFTrust(pf, s.VF, s.To) })
}

func (s SetVFSpoofCheck) apply(_ context.Context, a *Applier) error {
	return a.knob(s.VFTarget, func(v link.VFInfo) (string, bool) { return same(v.SpoofCheck, s.To) },
		func(pf int) error { return a.Links.SetVFSpoofCheck(pf, s.VF, s.To) })
}

func same(have *bool, want bool) (string, bool) {
	if have == nil {
		return "not told by the driver", false
	}
	return onOff(*have), *have == want
}

// knob sets a VF's knob at the PF unless it is as wanted, and reads it back:
// some drivers say success and change nothing.
func (a *Applier) knob(t VFTarget, wanted func(link.VFInfo) (is string, ok bool), set func(pfIndex int) error) error {
	if _, err := a.free(t); err != nil {
		return err
	}
	if now, err := a.Links.VF(t.Ifindex, t.VF); err == nil {
		if _, ok := wanted(now); ok {
			return nil
		}
	}
	if err := set(t.Ifindex); err != nil {
		return err
	}
	now, err := a.Links.VF(t.Ifindex, t.VF)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if is, ok := wanted(now); !ok {
		return fmt.Errorf("the driver reported success, but it is %s", is)
	}
	return nil
}

func (s SetVFMTU) apply(ctx context.Context, a *Applier) error {
	addr, err := a.free(s.VFTarget)
	if err != nil {
		return err
	}
	vf, err := a.awaitNetdev(ctx, addr)
	if err != nil {
		return err
	}
	return a.setMTU(vf, s.To)
}

// free is the address of a VF that nobody has got hold of since the plan was made.
func (a *Applier) free(t VFTarget) (pci.Address, error) {
	addr, err := a.address(t)
	if err != nil {
		return pci.Address{}, err
	}
	if h, held := a.held(addr); held {
		return pci.Address{}, inUse("VF %d is held by %s since a moment ago: it follows when it is free", t.VF, h.Who)
	}
	return addr, nil
}

func (a *Applier) setMTU(l link.Link, mtu int) error {
	if l.MTU == mtu {
		return nil
	}
	if l.MaxMTU != 0 && mtu > l.MaxMTU {
		return fmt.Errorf("%s supports an MTU of at most %d", l.Name, l.MaxMTU)
	}
	if err := a.Links.SetMTU(l.Index, mtu); err != nil {
		return err
	}
	l, err := a.Links.ByIndex(l.Index)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if l.MTU != mtu {
		return fmt.Errorf("the driver reported success, but the MTU of %s is %d", l.Name, l.MTU)
	}
	return nil
}

// awaitNetdev waits for the netdev of a VF, which its driver makes some time
// after the VF appears, and which udev then renames.
func (a *Applier) awaitNetdev(ctx context.Context, addr pci.Address) (link.Link, error) {
	wait := a.Wait
	if wait == 0 {
		wait = defaultWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		l, found, err := a.netdev(addr)
		if found || err != nil {
			return l, err
		}
		select {
		case <-ctx.Done():
			return link.Link{}, a.noNetdev(addr, wait)
		case <-ticker.C:
		}
	}
}

func (a *Applier) noNetdev(addr pci.Address, wait time.Duration) error {
	driver, err := a.FS.Driver(addr)
	if err != nil {
		return err
	}
	if driver == "" {
		return fmt.Errorf("VF %s has no driver, hence no netdev, after %v: is the module of its kernel driver there (lspci -k -s %s names it)", addr, wait, addr)
	}
	return fmt.Errorf("VF %s (driver %s) has no netdev in the host's network namespace after %v", addr, driver, wait)
}

// netdev is the link of a PCI function; found is false where there is none, or
// where it is renamed at this moment.
func (a *Applier) netdev(addr pci.Address) (l link.Link, found bool, err error) {
	names, err := a.FS.Netdevs(addr)
	if err != nil || len(names) == 0 {
		return link.Link{}, false, err
	}
	l, err = a.Links.ByName(names[0])
	if errors.Is(err, link.ErrNotFound) {
		return link.Link{}, false, nil
	}
	return l, err == nil, err
}
