package repair

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
)

// Stray is a VF that needs a repair as soon as nobody has it.
type Stray struct {
	Evidence string    `json:"evidence"` // continues a sentence about the VF: "another network namespace had it, …"
	Since    time.Time `json:"since"`
	// Driver is set if the VF is only without its driver, which this was.
	Driver string `json:"driver,omitempty"`
	// Rebound means that a repair has rebound the driver and could not finish.
	Rebound bool `json:"rebound,omitempty"`
}

// namespaceGrace is how long the netdev of a VF has to be away. After a driver was bound, a
// netdev may be late.
const namespaceGrace = 10 * time.Second

// Wanted returns the settings that a profile has for a free VF; ok is false if no profile
// governs it.
type Wanted func(pf device.PF, index int) (s device.Settings, ok bool)

// Evidence has the facts that make a VF a stray.
type Evidence struct {
	View   *custody.View
	Wanted Wanted
	// NewLedger reports that the ledger had no record when the agent started. The kubelet's
	// grants are then of an earlier ledger.
	NewLedger bool
	// Files are the VFs that CNI device-info files name. With a new ledger they are left
	// over from attachments that nobody will release.
	Files map[pci.Address]bool
	Now   time.Time
}

// holder is the sandbox that a VF was last seen with.
type holder struct{ who, driver string }

// watch follows the evidence from one View to the next.
type watch struct {
	strays  map[pci.Address]Stray
	holders map[pci.Address]holder
	away    map[pci.Address]time.Time // since when another namespace has the netdev
	// recorded are VFs that this agent has allocated. The kubelet's account may name such a
	// VF for some time after its record has ended: that is no evidence.
	recorded map[pci.Address]bool
}

func newWatch(strays map[pci.Address]Stray) watch {
	return watch{strays: strays, holders: map[pci.Address]holder{}, away: map[pci.Address]time.Time{}, recorded: map[pci.Address]bool{}}
}

// observe notes new strays, and forgets VFs that are gone. It reports whether the strays
// have changed.
func (w *watch) observe(e Evidence) (changed bool) {
	there := map[pci.Address]bool{}
	for pf, vf := range functions(e.View.Devices()) {
		there[vf.Address] = true
		was, known := w.strays[vf.Address]
		s, ok := w.look(e, pf, vf)
		switch {
		case ok && (!known || was.Driver != "" && s.Driver == ""):
			s.Since = e.Now
			w.strays[vf.Address], changed = s, true
		case known && was.Driver != "" && vf.Driver != "": // somebody has bound it again
			delete(w.strays, vf.Address)
			changed = true
		}
	}
	gone := func(fn pci.Address) bool { return !there[fn] }
	changed = slices.ContainsFunc(slices.Collect(maps.Keys(w.strays)), gone) || changed
	maps.DeleteFunc(w.strays, func(fn pci.Address, _ Stray) bool { return gone(fn) })
	maps.DeleteFunc(w.holders, func(fn pci.Address, _ holder) bool { return gone(fn) })
	maps.DeleteFunc(w.away, func(fn pci.Address, _ time.Time) bool { return gone(fn) })
	maps.DeleteFunc(w.recorded, func(fn pci.Address, _ bool) bool { return gone(fn) })
	return changed
}

// look returns the evidence about one VF.
func (w *watch) look(e Evidence, pf device.PF, vf device.VF) (Stray, bool) {
	resource, ours := e.View.Pooled(vf.Address)
	_, governed := wanted(e.Wanted, pf, vf)
	if !ours && !governed {
		return Stray{}, false
	}
	uses := e.View.Uses(vf.Address)
	of := func(k custody.Kind) bool {
		return slices.ContainsFunc(uses, func(u custody.Use) bool { return u.Kind == k })
	}
	if of(custody.Change) {
		return Stray{}, false // its netdev comes and goes
	}
	if e.NewLedger && e.Files[vf.Address] && !of(custody.Sandbox) {
		return Stray{Evidence: "a device-info file names it, and no record does"}, true
	}
	if slices.ContainsFunc(uses, func(u custody.Use) bool { return u.Kind == custody.Allocation && !u.Since.IsZero() }) {
		w.recorded[vf.Address] = true
	}
	for _, u := range uses {
		if e.NewLedger && !w.recorded[vf.Address] && u.Kind == custody.Allocation && u.Pod.Name != "" && u.Resource == resource {
			return Stray{Evidence: fmt.Sprintf("the kubelet had given it to %s, and no record names it", u.Who)}, true
		}
	}
	if w.wasAway(vf.Address, of(custody.Namespace), e.Now) {
		return Stray{Evidence: "another network namespace had it, and no record named it"}, true
	}
	return w.lostDriver(vf, uses, governed)
}

// wasAway reports whether another namespace has, and has had for some time, the netdev.
func (w *watch) wasAway(fn pci.Address, isAway bool, now time.Time) bool {
	if !isAway {
		delete(w.away, fn)
		return false
	}
	since, known := w.away[fn]
	if !known {
		w.away[fn] = now
		return false
	}
	return now.Sub(since) >= namespaceGrace
}

// lostDriver follows the VFs of recorded sandboxes, whose release does not bind a driver. A
// profile does, so VFs that one governs are left to it.
func (w *watch) lostDriver(vf device.VF, uses []custody.Use, governed bool) (Stray, bool) {
	held := false
	for _, u := range uses {
		if (u.Kind == custody.Sandbox || u.Kind == custody.Release) && !u.EarlierBoot && u.Returns != nil {
			w.holders[vf.Address], held = holder{who: u.Who, driver: u.Returns.Driver}, true
		}
	}
	h, was := w.holders[vf.Address]
	if held || !was {
		return Stray{}, false
	}
	if vf.Driver != "" {
		delete(w.holders, vf.Address)
		return Stray{}, false
	}
	if h.driver == "" || device.UserspaceDriver(h.driver) || governed {
		return Stray{}, false
	}
	return Stray{Evidence: h.who + " has left it without a driver", Driver: h.driver}, true
}

// free reports whether nobody has a VF or is changing it. A driver of another function in
// its IOMMU group is no use of it.
func free(v *custody.View, fn pci.Address) bool {
	return !slices.ContainsFunc(v.Uses(fn), func(u custody.Use) bool { return u.Kind != custody.GroupDriver })
}

func wanted(ask Wanted, pf device.PF, vf device.VF) (device.Settings, bool) {
	if ask == nil || pf.Address.IsZero() {
		return device.Settings{}, false
	}
	return ask(pf, vf.Index)
}

// functions lists all VFs with their PFs. The PF of a lone VF is the zero value.
func functions(s *inventory.Snapshot) iter.Seq2[device.PF, device.VF] {
	return func(yield func(device.PF, device.VF) bool) {
		for _, pf := range s.PFs {
			for _, vf := range pf.VFs {
				if !yield(pf, vf) {
					return
				}
			}
		}
		for _, vf := range s.Lone {
			if !yield(device.PF{}, vf) {
				return
			}
		}
	}
}
