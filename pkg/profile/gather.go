package profile

import (
	"errors"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

// NIC is a PF of a snapshot, with the other facts that Plan compares.
type NIC struct {
	device.PF
	Refused  *Refused                      // nil: nothing was refused
	Unread   string                        // why the PF could not be read, so that the rest may be wrong; may be empty
	Up       bool                          // the netdev is administratively up
	Settings map[int]device.Settings       // at the PF, by VF index; no entry: not needed, or not reported by the driver
	Uses     map[pci.Address][]custody.Use // of the PF and of its VFs; no entry: free
}

// Refused is a number of VFs that a PF has just refused.
type Refused struct {
	NumVFs int
	Cause  string
}

// Reader reads links; *link.Handle is one.
type Reader interface {
	ByIndex(index int) (link.Link, error)
	VFs(pfIndex int) (map[int]device.Settings, error) // of all VFs, in one message
}

// Gather completes NICs with the facts that a snapshot does not have. It asks a PF for its
// VFs only if Plan compares their knobs. A PF that cannot be read is marked.
func Gather(profiles []config.Profile, nics []NIC, known Uses, r Reader) []NIC {
	for i := range nics {
		n := &nics[i]
		p, _ := governing(profiles, n.PF)
		if p == nil {
			continue
		}
		n.addUses(known)
		if n.Netdev == "" {
			continue
		}
		if err := n.addLink(*p, r); err != nil && n.Unread == "" {
			n.Unread = err.Error()
		}
	}
	return nics
}

func (n *NIC) addUses(known Uses) {
	n.Uses = map[pci.Address][]custody.Use{}
	add := func(function pci.Address) {
		if uses := known.ToChange(function); len(uses) > 0 {
			n.Uses[function] = uses
		}
	}
	add(n.Address)
	for _, vf := range n.VFs {
		add(vf.Address)
	}
}

func (n *NIC) addLink(p config.Profile, r Reader) error {
	l, err := r.ByIndex(n.Ifindex)
	if err != nil {
		return err
	}
	n.Up = l.Up
	if !n.compares(p) {
		return nil
	}
	n.Settings, err = r.VFs(n.Ifindex)
	if errors.Is(err, link.ErrUnsupported) {
		return nil // setting a knob will fail with a better error
	}
	return err
}

// compares reports whether Plan compares knobs of VFs with the PF's values. It does not
// compare VFs that will be made again. Nor does it compare a VF if its state after the
// release is known: the present values are the pod's.
func (n *NIC) compares(p config.Profile) bool {
	if _, fresh, _ := planNumVFs(targetOf(p, n.PF), p, *n); fresh {
		return false
	}
	for _, vf := range n.VFs {
		if g := groupOf(p, vf.Index); g != nil && setsAtPF(g) && returnsAs(n.Uses[vf.Address]) == nil {
			return true
		}
	}
	return false
}

// returnsAs returns the settings of a VF after its release; nil: the present ones.
func returnsAs(uses []custody.Use) *device.Settings {
	for _, u := range uses {
		if u.Returns != nil {
			return &u.Returns.Settings
		}
	}
	return nil
}
