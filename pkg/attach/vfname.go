package attach

import (
	"errors"
	"fmt"
	"slices"

	"fairlead.dev/fairlead/pkg/link"
)

// Altnames, which udev gives to NICs and a pod may give to its VF, stand in the
// way (cni#250, cni#445): to the kernel they are names that are taken, also to
// the link that has them. A link is not renamed to its own altname; and it does
// not move to a namespace where one of its altnames is in use. So what is in the
// way is deleted; Release gives the VF back the altnames that it came with.

// move puts the VF's netdev into another namespace under a name.
func (v *vfJob) move(l link.Link, from, to Links, name string, index int) error {
	if err := dropAltName(from, l, name); err != nil {
		return err
	}
	err := from.MoveTo(l.Index, to, name, index)
	if !errors.Is(err, link.ErrExists) {
		return err
	}
	dropped, dropErr := dropTaken(from, l, to)
	if !dropped || dropErr != nil {
		return errors.Join(err, dropErr)
	}
	return from.MoveTo(l.Index, to, name, index)
}

// dropTaken deletes the altnames that the target has in use. It tells whether
// there were any, so that a move can be tried again.
func dropTaken(from Links, l link.Link, to Links) (dropped bool, err error) {
	for _, alt := range l.AltNames {
		if _, err := to.ByName(alt); errors.Is(err, link.ErrNotFound) {
			continue
		} else if err != nil {
			return dropped, err
		}
		if err := from.DeleteAltName(l.Index, alt); err == nil {
			dropped = true
		} else if !errors.Is(err, link.ErrNotFound) { // else: it moved, and was not renamed
			return dropped, err
		}
	}
	return dropped, nil
}

func dropAltName(in Links, l link.Link, name string) error {
	if !slices.Contains(l.AltNames, name) {
		return nil
	}
	return ignoreNotFound(in.DeleteAltName(l.Index, name))
}

// rename gives the netdev, which is on the host, its name back.
func (v *vfJob) rename(l link.Link) error {
	if l.Name == v.was.Netdev || v.was.Netdev == "" {
		return nil
	}
	name, err := v.freeName(l.Index)
	if err != nil || name == l.Name {
		return err
	}
	if l.Up { // kernels before 6.2 rename no netdev that is up; restoreAdminState comes later
		if err := v.host.SetDown(l.Index); err != nil {
			return err
		}
	}
	if err := dropAltName(v.host, l, name); err != nil {
		return err
	}
	return v.host.Rename(l.Index, name)
}

// freeName is the VF's old name, or where another link has taken it, one made of
// its PCI address: a VF under another name is of use, one that is stuck is lost.
// self is the netdev's ifindex on the host, 0 while it is not there.
func (v *vfJob) freeName(self int) (string, error) {
	if v.was.Netdev != "" {
		holder, err := v.host.ByName(v.was.Netdev)
		if errors.Is(err, link.ErrNotFound) || (err == nil && holder.Index == self) {
			return v.was.Netdev, nil
		}
		if err != nil {
			return "", err
		}
	}
	a := v.now.Address
	name := fmt.Sprintf("vf%x%02x%02x%x", a.Domain, a.Bus, a.Device, a.Function)
	v.Log.Warn("the VF's name is taken by another link; it keeps another", "vf", a, "name", v.was.Netdev, "instead", name)
	return name, nil
}

// restoreAltNames also takes away those of the pod: the host's links would meet
// them, and the next pod. One that another link has by now is given up.
func (v *vfJob) restoreAltNames(l link.Link) error {
	if v.was.AltNames == nil {
		return nil // a record from before they were noted
	}
	var errs []error
	for _, alt := range l.AltNames {
		if !slices.Contains(v.was.AltNames, alt) {
			errs = append(errs, dropAltName(v.host, l, alt))
		}
	}
	for _, alt := range v.was.AltNames {
		if alt == l.Name || slices.Contains(l.AltNames, alt) {
			continue
		}
		err := v.host.AddAltName(l.Index, alt)
		if errors.Is(err, link.ErrExists) {
			v.Log.Warn("an altname of the VF is taken by another link", "vf", v.now.Address, "altname", alt)
			continue
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func ignoreNotFound(err error) error {
	if errors.Is(err, link.ErrNotFound) {
		return nil
	}
	return err
}
