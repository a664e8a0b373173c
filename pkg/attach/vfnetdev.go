package attach

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

// netdev is the network interface of a VF, on the host or in the pod.
type netdev struct {
	at     site
	addr   pci.Address
	driver string           // that is bound now
	vf     *ledger.VFMember // its original state, and the settings asked for
	now    link.Link        // as it was last read
	busy   *patience
}

// errNoNetdev means that the VF shows no interface on the host.
var errNoNetdev = errors.New("no interface on the host")

// exists reports whether the VF has a netdev at all, on the host or elsewhere: it
// comes and goes with a kernel driver.
func (n *netdev) exists() bool { return n.driver != "" && !device.UserspaceDriver(n.driver) }

// onHost reads the netdev, which is on the host.
func (n *netdev) onHost() (link.Link, error) {
	names, err := n.at.set.Sysfs.Netdevs(n.addr)
	if err != nil {
		return link.Link{}, err
	}
	for _, name := range names {
		l, err := n.at.host.ByName(name)
		if !errors.Is(err, link.ErrNotFound) { // else it was renamed since, or is going
			n.now = l
			return l, err
		}
	}
	return link.Link{}, fmt.Errorf("VF %s: %w", n.addr, errNoNetdev)
}

// here is onHost, but reads only once. It is for the steps of an Add: nobody else has
// the netdev during that.
func (n *netdev) here() (link.Link, error) {
	if n.now.Index != 0 {
		return n.now, nil
	}
	return n.onHost()
}

// forget has here read again: a pod, or another process, has had the netdev since.
func (n *netdev) forget() { n.now = link.Link{} }

// ignoreNoNetdev is for undoing: a netdev that is missing is reported once, by the
// step that brings it back. One without a driver has no state either.
func ignoreNoNetdev(err error) error {
	if errors.Is(err, errNoNetdev) {
		return nil
	}
	return err
}

// takeDown serves drivers that take no MAC or MTU while the netdev is up.
func (n *netdev) takeDown(ctx context.Context) error {
	l, err := n.onHost()
	if err != nil || !l.Up {
		return err
	}
	n.now.Up = false
	return n.setDown(ctx, l)
}

func (n *netdev) setDown(ctx context.Context, l link.Link) error {
	return n.busy.wait(ctx, func() error { return n.at.host.SetDown(l.Index) })
}

func (n *netdev) restoreUp(ctx context.Context) error {
	l, err := n.onHost()
	if err != nil {
		return ignoreNoNetdev(err)
	}
	switch was := n.vf.Original.Netdev; {
	case was == nil || l.Up == was.Up:
		return nil
	case was.Up:
		return n.busy.wait(ctx, func() error { return n.at.host.SetUp(l.Index) })
	}
	return n.setDown(ctx, l)
}

// writeMTU sets the MTU and reads it back, if it differs.
func (n *netdev) writeMTU(ctx context.Context, mtu int) error {
	l, err := n.here()
	if err != nil || l.MTU == mtu {
		return err
	}
	if err := n.busy.wait(ctx, func() error { return n.at.host.SetMTU(l.Index, mtu) }); err != nil {
		return n.refused(err)
	}
	if err := n.reread(n.at.host); err != nil {
		return err
	}
	if n.now.MTU != mtu {
		return fmt.Errorf("driver %s took MTU %d for VF %s, but it is %d", n.driver, mtu, n.addr, n.now.MTU)
	}
	return nil
}

// writeMAC sets the MAC, if it differs.
func (n *netdev) writeMAC(mac string) error {
	l, err := n.here()
	if err != nil || l.MAC == mac {
		return err
	}
	return n.forceMAC(mac)
}

// forceMAC sets the MAC even if the netdev has it, since igb learns it from that, and
// reads it back.
func (n *netdev) forceMAC(mac string) error {
	if err := n.at.host.SetMAC(n.now.Index, mac); err != nil {
		return n.refused(err)
	}
	if err := n.reread(n.at.host); err != nil {
		return err
	}
	if n.now.MAC != mac {
		return fmt.Errorf("driver %s took MAC %s for VF %s, but it is %s", n.driver, mac, n.addr, n.now.MAC)
	}
	return nil
}

func (n *netdev) reread(in *Links) error {
	l, err := in.ByIndex(n.now.Index)
	if err == nil {
		n.now = l
	}
	return err
}

// bringUp brings the netdev up in the pod.
func (n *netdev) bringUp(ctx context.Context) (link.Link, error) {
	if err := n.busy.wait(ctx, func() error { return n.at.pod.SetUp(n.now.Index) }); err != nil {
		return n.now, n.refused(err)
	}
	if err := n.reread(n.at.pod); err != nil {
		return n.now, err
	}
	// Some drivers program the MAC when the netdev comes up.
	if mac := n.vf.Asked.MAC; mac != "" && n.now.MAC != mac {
		return n.now, fmt.Errorf("driver %s of VF %s came up with MAC %s, and was given %s", n.driver, n.addr, n.now.MAC, mac)
	}
	return n.now, nil
}

// refused explains an error of the VF's driver.
func (n *netdev) refused(err error) error {
	return fmt.Errorf("driver %s of VF %s refused it: %w%s", n.driver, n.addr, err, errnoName(err))
}

func errnoName(err error) string {
	var errno unix.Errno
	switch name := ""; {
	case !errors.As(err, &errno):
		return ""
	case errno == unix.EOPNOTSUPP:
		return " (EOPNOTSUPP)" // which the table has under its other name, ENOTSUP
	default:
		if name = unix.ErrnoName(errno); name == "" {
			name = fmt.Sprintf("errno %d", int(errno))
		}
		return " (" + name + ")"
	}
}
