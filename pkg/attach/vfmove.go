package attach

import (
	"context"
	"errors"
	"fmt"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// moveIn puts the netdev into the pod under its final name, by one message. It
// waits for no other interface: its place among them comes with it.
func (v *vfJob) moveIn(context.Context) error {
	l, err := v.hostNetdev()
	if err != nil {
		return err
	}
	if err := v.move(l, v.host, v.pod, v.att.IfName, v.env.Ifindex); err != nil {
		if errors.Is(err, link.ErrExists) {
			return fmt.Errorf("the pod has an interface %s already: %w", v.att.IfName, err)
		}
		return err
	}
	moved, err := v.pod.ByName(v.att.IfName)
	if err != nil {
		return err
	}
	v.setResult(moved)
	v.env.made()
	return nil
}

func (v *vfJob) bringUp(context.Context) error {
	l, err := v.pod.ByName(v.att.IfName)
	if err != nil {
		return err
	}
	if err := v.pod.SetUp(l.Index); err != nil {
		return v.refused(err)
	}
	if l, err = v.pod.ByIndex(l.Index); err != nil {
		return err
	}
	// Some drivers program the MAC when the netdev comes up.
	if v.asked.MAC != "" && l.MAC != v.asked.MAC {
		return fmt.Errorf("driver %s of VF %s came up with MAC %s, and was given %s", v.now.Driver, v.now.Address, l.MAC, v.asked.MAC)
	}
	v.setResult(l)
	return nil
}

// The kernel removes a dead namespace, and sends its netdevs home, some time after
// the last process and mount have left it.
const (
	homeTries = 100
	homePause = 50 * time.Millisecond
)

// moveOut brings the netdev home wherever it is: the pod, or the host under
// whatever name the kernel gave it when the pod's namespace ended (cni#349).
func (v *vfJob) moveOut(ctx context.Context) error {
	if !v.hasNetdev() {
		return nil // rebound since
	}
	if v.pod != nil {
		l, err := v.podNetdev()
		if err == nil {
			return v.bringHome(l)
		}
		if !errors.Is(err, errNoNetdev) {
			return err
		}
	}
	l, err := v.awaitHome(ctx)
	if err != nil {
		return err
	}
	return v.rename(l)
}

// hasNetdev: with its driver, a VF's netdev goes too, wherever it was.
func (v *vfJob) hasNetdev() bool { return v.now.Driver != "" && !v.now.Userspace() }

// podNetdev finds the VF in the pod: by name in the usual case, by its PCI address
// where the pod renamed it.
func (v *vfJob) podNetdev() (link.Link, error) {
	if l, err := v.pod.ByName(v.att.IfName); err == nil && v.isVF(l) {
		return l, nil
	}
	links, err := v.pod.List()
	if err != nil {
		return link.Link{}, err
	}
	for _, l := range links {
		if v.isVF(l) {
			return l, nil
		}
	}
	return link.Link{}, errNoNetdev
}

// isVF goes by the PCI address. Before kernel 5.14, which does not tell it, it goes
// by the index that the VF came under, or where an ADD was interrupted before that
// was known, by a MAC that no other NIC in the pod has. All else may be the pod's own
// making, in the VF's name, with its MAC, and once it has moved the VF elsewhere,
// with its index.
func (v *vfJob) isVF(l link.Link) bool {
	switch {
	case l.ParentDev != "":
		return l.ParentDev == v.now.Address.String()
	case !isNIC(l):
		return false
	case v.att.Link != nil && v.att.Link.Ifindex != 0:
		return l.Index == v.att.Link.Ifindex
	}
	return l.MAC != "" && (l.MAC == v.asked.MAC || l.MAC == v.was.MAC)
}

// isNIC: all that a program makes is of some kind.
func isNIC(l link.Link) bool { return l.Kind == "" }

func (v *vfJob) bringHome(l link.Link) error {
	name, err := v.freeName(0) // the VF is not on the host
	if err != nil {
		return err
	}
	return v.move(l, v.pod, v.host, name, 0)
}

// awaitHome waits for the netdev only where the kernel is about to bring it.
func (v *vfJob) awaitHome(ctx context.Context) (link.Link, error) {
	for try := 1; ; try++ {
		l, err := v.hostNetdev()
		if !errors.Is(err, errNoNetdev) {
			return l, err
		}
		if v.pod != nil {
			return l, fmt.Errorf("the interface of VF %s is neither on the host nor in the pod: a process in the pod has moved it to a namespace of its own, and it comes back when that ends", v.now.Address)
		}
		if try == homeTries || v.pause(ctx, homePause) != nil {
			return l, fmt.Errorf("the pod's network namespace is gone, but the interface of VF %s has not come back to the host: a process still holds the namespace", v.now.Address)
		}
	}
}

// setResult starts the CNI result with the attachment's interface, and notes in
// the record what a release or check can use.
func (j *job) setResult(l link.Link) {
	iface := &types100.Interface{Name: j.att.IfName, Mac: l.MAC, Mtu: l.MTU, Sandbox: j.netns}
	if !j.att.Device.IsZero() {
		iface.PciID = j.att.Device.String()
	}
	if j.att.Link == nil {
		j.att.Link = &ledger.LinkState{}
	}
	j.att.Link.MAC, j.att.Link.MTU, j.att.Link.Ifindex = l.MAC, l.MTU, l.Index
	j.result = &types100.Result{CNIVersion: types100.ImplementedSpecVersion, Interfaces: []*types100.Interface{iface}}
}
