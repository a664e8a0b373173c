package attach

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"fairlead.dev/fairlead/pkg/link"
)

// hostName is the netdev's name on the host. It is empty if the record does not have it.
func (n *netdev) hostName() string {
	if n.vf.Original.Netdev == nil {
		return ""
	}
	return n.vf.Original.Netdev.Name
}

// rename gives the netdev, which is on the host, its name back.
func (n *netdev) rename(ctx context.Context, l link.Link) error {
	if l.Name == n.hostName() || n.hostName() == "" {
		return nil
	}
	name, err := n.freeName(l.Index)
	if err != nil || name == l.Name {
		return err
	}
	if l.Up { // kernels before 6.2 rename no netdev that is up; restoreUp comes later
		if err := n.setDown(ctx, l); err != nil {
			return err
		}
	}
	if slices.Contains(l.AltNames, name) {
		if err := ignoreNotFound(n.dropAltNames(n.at.host, &l, []string{name})); err != nil {
			return err
		}
	}
	return n.at.host.Rename(l.Index, name)
}

// freeName returns the VF's old name. If another link has taken it, it returns one
// made of the PCI address: a VF under another name is of use, one that is stuck is
// lost. self is the netdev's ifindex on the host, 0 while it is not there.
func (n *netdev) freeName(self int) (string, error) {
	old := n.hostName()
	if old != "" {
		holder, err := n.at.host.ByName(old)
		if errors.Is(err, link.ErrNotFound) || (err == nil && holder.Index == self) {
			return old, nil
		}
		if err != nil {
			return "", err
		}
	}
	a := n.addr
	name := fmt.Sprintf("vf%x%02x%02x%x", a.Domain, a.Bus, a.Device, a.Function)
	n.at.set.Log.Warn("another link has taken the VF's name; naming it differently", "vf", a, "name", old, "instead", name)
	return name, nil
}

// foreignAltNames lists the altnames that the VF did not come with. If the record does
// not know those, it lists none.
func (n *netdev) foreignAltNames(l link.Link) []string {
	was := n.vf.Original.Netdev
	if was == nil || was.AltNames == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(l.AltNames), func(alt string) bool { return slices.Contains(was.AltNames, alt) })
}

func ignoreNotFound(err error) error {
	if errors.Is(err, link.ErrNotFound) {
		return nil
	}
	return err
}
