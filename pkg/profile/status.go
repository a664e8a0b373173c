package profile

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// Status reports whether a profile is in effect on this node.
type Status struct {
	Profile  string        `json:"profile"`
	Ready    bool          `json:"ready"`
	PFs      []pci.Address `json:"pfs,omitempty"` // governed by the profile on this node
	Failures []Failure     `json:"failures,omitempty"`
}

func statuses(profiles []config.Profile, nics []NIC, failures []Failure) []Status {
	out := make([]Status, 0, len(profiles))
	for _, p := range profiles {
		s := Status{Profile: p.Name}
		for _, nic := range nics {
			if g, _ := governing(profiles, nic.PF); g != nil && g.Name == p.Name {
				s.PFs = append(s.PFs, nic.Address)
			}
		}
		for _, f := range merged(failures) {
			if f.Profile == p.Name {
				s.Failures = append(s.Failures, f)
			}
		}
		s.Ready = len(s.Failures) == 0
		out = append(out, s)
	}
	return out
}

// unreadable adds to each status that the NICs could not be read.
func unreadable(all []Status, err error) []Status {
	for i := range all {
		all[i].Ready = false
		all[i].Failures = append(all[i].Failures, Failure{Profile: all[i].Profile, Step: "read the NICs", Cause: err.Error(), Err: err})
	}
	return all
}

// Failure is a step that was not taken, so that a PF is not as its profile declares.
type Failure struct {
	Profile string      `json:"profile"`
	PF      pci.Address `json:"pf"`
	Name    string      `json:"name"`
	Step    string      `json:"step"`
	Cause   string      `json:"cause"`
	Err     error       `json:"-"`

	key stepKey
	vfs []int  // VFs with this failure
	set string // the change of a knob, without the VF
}

// Error returns the failure as one line.
func (f Failure) Error() string { return fmt.Sprintf("%s: %s", f.Step, f.Cause) }

// Unwrap lets errors.Is find the errno.
func (f Failure) Unwrap() error { return f.Err }

func failure(s Step, err error) Failure {
	t := s.On()
	f := Failure{Profile: t.Profile, PF: t.PF, Name: t.Name, Step: s.String(), Cause: err.Error(), Err: err, key: s.key()}
	if b, ok := s.(Blocked); ok {
		f.Step = fmt.Sprintf("%s: %s", b.Name, b.What)
	} else if t.Driver != "" {
		f.Cause = fmt.Sprintf("%v (PF driver %s)", err, t.Driver)
	}
	if k, ok := s.(SetKnob); ok {
		f.vfs, f.set = []int{k.VF}, k.change()
	}
	return f
}

// merged combines the failures of one knob with one errno. If a driver lacks a knob, all
// VFs of a PF have the same failure.
func merged(failures []Failure) []Failure {
	var out []Failure
	for _, f := range failures {
		i := slices.IndexFunc(out, f.alike)
		if i < 0 {
			out = append(out, f)
			continue
		}
		first := &out[i]
		first.vfs = append(first.vfs, f.vfs...)
		first.Step = fmt.Sprintf("%s: VF %s: %s", f.Name, ranges(first.vfs), f.set)
	}
	return out
}

func (f Failure) alike(o Failure) bool {
	var mine, other unix.Errno
	return f.set != "" && f.set == o.set && f.PF == o.PF &&
		errors.As(f.Err, &mine) && errors.As(o.Err, &other) && mine == other
}

// ranges writes ascending indexes as users write them: "0-3,5".
func ranges(indexes []int) string {
	var out []device.IndexRange
	for _, i := range indexes {
		if n := len(out); n > 0 && out[n-1].Last == i-1 {
			out[n-1].Last = i
			continue
		}
		out = append(out, device.IndexRange{First: i, Last: i})
	}
	return device.FormatIndexRanges(out)
}
