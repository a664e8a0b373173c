package profile

import (
	"slices"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

// NIC is a PF as a snapshot shows it, with what only netlink tells.
type NIC struct {
	device.PF
	Refused *Refused            // nil: nothing
	Unread  string              // why it could not be read: what is here may be untrue; else ""
	Up      bool                // the netdev is administratively up
	Knobs   map[int]link.VFInfo // by VF index; no entry: not needed, or the driver tells nothing
}

// Refused is a number of VFs that a PF was just found not to take.
type Refused struct {
	NumVFs int
	Cause  string
}

// Reader reads links; *link.Handle is one.
type Reader interface {
	ByIndex(index int) (link.Link, error)
	VFs(pfIndex int) ([]link.VFInfo, error) // all of a PF, in one message
}

// Gather reads what Plan compares and a snapshot doesn't hold. It asks no PF whose
// VFs no profile sets a knob of. A PF that cannot be read is marked.
func Gather(profiles []config.Profile, pfs []device.PF, holders Holders, r Reader) []NIC {
	nics := make([]NIC, 0, len(pfs))
	for _, pf := range pfs {
		nic := NIC{PF: pf}
		if p, _ := governing(profiles, pf); p != nil && pf.Netdev != "" {
			if err := nic.gather(*p, holders, r); err != nil {
				nic.Unread = err.Error()
			}
		}
		nics = append(nics, nic)
	}
	return nics
}

func (n *NIC) gather(p config.Profile, holders Holders, r Reader) error {
	l, err := r.ByIndex(n.Ifindex)
	if err != nil {
		return err
	}
	n.Up = l.Up
	n.Knobs = map[int]link.VFInfo{}
	needed := n.needed(p, holders)
	if len(needed) == 0 {
		return nil
	}
	infos, err := r.VFs(n.Ifindex)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if slices.Contains(needed, info.Index) {
			n.Knobs[info.Index] = info
		}
	}
	return nil
}

// needed lists the VFs that a profile sets a knob of, but for those whose holder
// says how they come back: what they have now is the pod's. One that the driver
// then tells nothing about is planned all the same: setting the knob will say what
// is wrong, with the driver's errno.
func (n *NIC) needed(p config.Profile, holders Holders) []int {
	var needed []int
	for _, vf := range n.VFs {
		if g := groupOf(p, vf.Index); g == nil || !g.setsKnob() {
			continue
		}
		if h, held := heldBy(vf, holders); !held || h.Returns == nil {
			needed = append(needed, vf.Index)
		}
	}
	return needed
}

// Holders tells who holds a VF: a pod's sandbox, or a container it is allocated to.
type Holders func(vf pci.Address) (h Holder, held bool)

// Holder is who holds a VF.
type Holder struct {
	Who     string
	Returns *ledger.VFState // how the VF will be when it is released; nil: as it is now
}

// heldBy adds to the holders' word what the node itself shows: a kernel driver
// makes a netdev for each VF, so that a VF without one has it in another network
// namespace, where somebody put it that keeps no records here.
func heldBy(vf device.VF, holders Holders) (Holder, bool) {
	if h, held := holders(vf.Address); held {
		return h, true
	}
	if vf.Driver != "" && !vf.Userspace() && vf.Netdev == "" {
		return Holder{Who: "a network namespace that Fairlead has no record of"}, true
	}
	return Holder{}, false
}
