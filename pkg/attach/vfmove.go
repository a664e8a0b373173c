package attach

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fairlead.dev/fairlead/pkg/link"
)

// moveIn puts the netdev into the pod under its final name, by one message. It waits
// for no other interface: its place among them comes with it.
func (n *netdev) moveIn() (link.Link, error) {
	l, err := n.here()
	if err != nil {
		return l, err
	}
	c := n.at.call
	if err := n.move(l, n.at.host, n.at.pod, c.IfName, c.Order.Ifindex); err != nil {
		if errors.Is(err, link.ErrExists) {
			return l, fmt.Errorf("the pod has an interface %s already: %w", c.IfName, err)
		}
		return l, err
	}
	moved, err := n.at.pod.ByName(c.IfName)
	if err != nil {
		return moved, err
	}
	n.now = moved
	c.Order.made()
	return moved, nil
}

// The kernel removes a dead namespace, and sends its netdevs home, some time after
// the last process and mount have left it.
const (
	homeTries = 100
	homePause = 50 * time.Millisecond
)

// moveOut brings the netdev home. It lies in the pod, or if the pod's namespace has
// ended, on the host under whatever name the kernel gave it (cni#349).
func (n *netdev) moveOut(ctx context.Context) error {
	if !n.exists() {
		return nil // rebound since
	}
	if n.at.pod != nil {
		l, err := n.inPod()
		if err == nil {
			return n.bringHome(l)
		}
		if !errors.Is(err, errNoNetdev) {
			return err
		}
	}
	l, err := n.awaitHome(ctx)
	if err != nil {
		return err
	}
	return n.rename(ctx, l)
}

// inPod finds the VF in the pod: by name in the usual case, by its PCI address if the
// pod has renamed it.
func (n *netdev) inPod() (link.Link, error) {
	if l, err := n.at.pod.ByName(n.at.call.IfName); err == nil && n.is(l) {
		return l, nil
	}
	links, err := n.at.pod.List()
	if err != nil {
		return link.Link{}, err
	}
	for _, l := range links {
		if n.is(l) {
			return l, nil
		}
	}
	return link.Link{}, errNoNetdev
}

// is reports whether a link in the pod is the VF's, by its device. Kernels before
// 5.14 do not report it. There the VF is the NIC with the index that it came under. If
// an ADD was interrupted before that was known, it is the one NIC in the pod with one
// of its MACs. Anything else may be the pod's own making: a link with the VF's name, its
// MAC, or if the VF lies elsewhere by now, its index.
func (n *netdev) is(l link.Link) bool {
	switch {
	case l.ParentDev != "":
		return l.ParentDev == n.at.set.Sysfs.NetdevParent(n.addr)
	case !isNIC(l):
		return false
	case n.vf.Ifindex != 0:
		return l.Index == n.vf.Ifindex
	}
	return l.MAC != "" && (l.MAC == n.vf.Asked.MAC || l.MAC == n.vf.Original.MAC)
}

// isNIC reports whether a link is hardware: links that programs make are of a kind.
func isNIC(l link.Link) bool { return l.Kind == "" }

func (n *netdev) bringHome(l link.Link) error {
	name, err := n.freeName(0) // the VF is not on the host
	if err != nil {
		return err
	}
	// The pod's altnames are in the way of the move, and there may be hundreds.
	if err := n.dropAltNames(n.at.pod, &l, n.foreignAltNames(l)); err != nil {
		return err
	}
	return n.move(l, n.at.pod, n.at.host, name, 0)
}

// awaitHome waits for the netdev only if the kernel is about to bring it.
func (n *netdev) awaitHome(ctx context.Context) (link.Link, error) {
	for try := 1; ; try++ {
		l, err := n.onHost()
		if !errors.Is(err, errNoNetdev) {
			return l, err
		}
		if n.at.pod != nil {
			return l, fmt.Errorf("the interface of VF %s is neither on the host nor in the pod: a process in the pod has moved it to a namespace of its own, and it comes back when that ends", n.addr)
		}
		if try == homeTries || n.at.set.pause(ctx, homePause) != nil {
			return l, fmt.Errorf("the pod's network namespace is gone, but the interface of VF %s has not come back to the host: a process still holds the namespace", n.addr)
		}
	}
}

// Altnames, which udev gives to NICs and a pod may give to its VF, stand in the way of
// names (cni#250, cni#445). To the kernel they are names that are taken, also to the
// link that has them. A link is not renamed to its own altname. It does not move to a
// namespace in which one of its altnames is in use. So such altnames are deleted.
// Del gives the VF back the altnames that it came with.

// move puts the netdev into another namespace under a name.
func (n *netdev) move(l link.Link, from, to *Links, name string, index int) error {
	if slices.Contains(l.AltNames, name) {
		if err := n.dropAltNames(from, &l, []string{name}); err != nil {
			return err
		}
	}
	err := from.MoveTo(l.Index, to, name, index)
	if !errors.Is(err, link.ErrExists) {
		return err
	}
	taken, lookErr := takenNames(l, to)
	if len(taken) == 0 || lookErr != nil {
		return errors.Join(err, lookErr)
	}
	err = n.dropAltNames(from, &l, taken)
	if errors.Is(err, link.ErrNotFound) { // it moved, and was not renamed
		return err
	}
	return errors.Join(err, from.MoveTo(l.Index, to, name, index))
}

// takenNames lists the altnames of a link that are in use in another namespace.
func takenNames(l link.Link, in *Links) ([]string, error) {
	links, err := in.List()
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, other := range links {
		used[other.Name] = true
		for _, alt := range other.AltNames {
			used[alt] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(l.AltNames), func(alt string) bool { return !used[alt] }), nil
}

// dropAltNames deletes altnames of a link, in few messages however many there are.
func (n *netdev) dropAltNames(in *Links, l *link.Link, names []string) error {
	if len(names) == 0 {
		return nil
	}
	err := in.DeleteAltNames(l.Index, names...)
	l.AltNames = slices.DeleteFunc(slices.Clone(l.AltNames), func(alt string) bool { return slices.Contains(names, alt) })
	return err
}
