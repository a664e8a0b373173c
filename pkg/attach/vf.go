package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// sriov is the Plugin that gives a VF to a pod: its netdev, or if a userspace driver
// has it, its settings at the PF only.
type sriov struct{ set *Set }

// Prepare reads the VF. If the pod has no VF, it prepares the network's fallback.
func (p sriov) Prepare(_ context.Context, c Call, conf Conf) (ledger.Member, error) {
	at, err := p.set.enterHost(c)
	if err != nil {
		return ledger.Member{}, err
	}
	defer at.close()
	parsed, err := parseVFConf(conf.Raw, c.CNIArgs)
	if err != nil {
		return ledger.Member{}, err
	}
	return (&vfPreparation{at: at, conf: parsed}).member()
}

// Add configures the VF and moves it into the pod.
func (p sriov) Add(ctx context.Context, c Call, m *ledger.Member) (*types100.Result, error) {
	at, err := p.set.enter(c)
	if err != nil {
		return nil, err
	}
	defer at.close()
	w, err := newVFWork(at, m)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("find the VF: VF %s is gone: %w", m.Device, err)
	}
	if err != nil {
		return nil, err
	}
	if err := w.steps().run(ctx); err != nil {
		return nil, err
	}
	return w.ip.result, nil
}

// Del restores the VF, and gives its addresses back.
func (p sriov) Del(ctx context.Context, c Call, m *ledger.Member) error {
	at, err := p.set.leave(c)
	if err != nil {
		return err
	}
	defer at.close()
	ip := &addressing{at: at, m: m}
	if m.DeviceReturned { // it may be another pod's by now
		return ip.giveBack(ctx)
	}
	w, err := newVFWork(at, m)
	list := steps{ip.step()}
	if err == nil {
		list = w.steps()
	} else if !errors.Is(err, fs.ErrNotExist) { // a VF that is gone took its state with it
		return err
	}
	deviceErr, addressErr := list.undoEach(ctx)
	m.DeviceReturned = deviceErr == nil
	return errors.Join(addressErr, deviceErr)
}

// vfWork is one Add, Check or Del of a VF that exists.
type vfWork struct {
	m   *ledger.Member
	net *netdev
	pf  *pfKnobs
	ip  *addressing
	set *Set

	adminMACWritten bool
}

func newVFWork(at site, m *ledger.Member) (*vfWork, error) {
	if m.VF == nil {
		return nil, fmt.Errorf("the record of VF %s has no state to restore", m.Device)
	}
	driver, err := at.set.Sysfs.Driver(m.Device)
	if err != nil {
		return nil, err
	}
	was, busy := m.VF.Original, newPatience(at.set)
	return &vfWork{
		m: m, set: at.set,
		net: &netdev{at: at, addr: m.Device, driver: driver, vf: m.VF, busy: busy},
		pf:  &pfKnobs{busy: busy, host: at.host, sysfs: at.set.Sysfs, vf: m.Device, index: was.Index, pf: was.PF, pfName: was.PFName},
		ip:  &addressing{at: at, m: m},
	}, nil
}

// steps lists the changes to a VF. Its settings at the PF come before the move, in
// the order that the fewest drivers refuse.
func (w *vfWork) steps() steps {
	if w.m.Plugin == PluginVFIO {
		return steps{
			{"configure the VF at its PF", w.configureAtPF, w.restoreAtPF},
			{"check the VF's driver", w.checkUserspace, nil},
			w.ip.step(),
		}
	}
	traces := &residue{n: w.net, again: func(ctx context.Context) error {
		return errors.Join(w.restore(ctx), w.restoreMTU(ctx))
	}}
	return steps{
		{"take the VF down", w.net.takeDown, w.net.restoreUp},
		{"finish removing the pod's traces", nil, traces.finish},
		{"set the VF's MTU", w.setMTU, w.restoreMTU},
		{"configure the VF", w.configure, w.restore},
		{"remove the pod's traces", nil, traces.remove},
		{"move the VF into the pod", w.moveIn, w.net.moveOut},
		{"set the interface's sysctls", w.ip.setSysctls, nil},
		{"bring the interface up", w.bringUp, nil},
		w.ip.step(),
		{"configure addresses", w.configureAddresses, nil},
	}
}

// checkUserspace fails if the driver was changed since Prepare. It also fills the
// result, as moveIn does for a netdev: such a VF has no netdev.
func (w *vfWork) checkUserspace(context.Context) error {
	if !device.UserspaceDriver(w.net.driver) {
		return fmt.Errorf("VF %s is bound to %q now, and was to %s", w.m.Device, w.net.driver, w.m.VF.Original.Driver)
	}
	w.ip.found(link.Link{MAC: firstSet(w.m.VF.Asked.MAC, nonZero(w.m.VF.Original.AdminMAC))})
	return nil
}

func nonZero(mac *string) string {
	if mac == nil || *mac == device.NoMAC {
		return ""
	}
	return *mac
}

func (w *vfWork) setMTU(ctx context.Context) error {
	if w.m.VF.Asked.MTU == nil {
		return nil
	}
	return w.net.writeMTU(ctx, *w.m.VF.Asked.MTU)
}

func (w *vfWork) restoreMTU(ctx context.Context) error {
	if w.m.VF.Original.MTU == nil {
		return nil
	}
	w.net.forget()
	return ignoreNoNetdev(w.net.writeMTU(ctx, *w.m.VF.Original.MTU))
}

func (w *vfWork) moveIn(context.Context) error {
	moved, err := w.net.moveIn()
	if err != nil {
		return err
	}
	w.m.VF.Ifindex = moved.Index
	w.ip.found(moved)
	return nil
}

func (w *vfWork) bringUp(ctx context.Context) error {
	l, err := w.net.bringUp(ctx)
	if err == nil {
		w.ip.found(l)
	}
	return err
}

func (w *vfWork) configureAddresses(ctx context.Context) error {
	return w.ip.configure(ctx, w.net.now)
}
