package profile

import (
	"context"
	"fmt"
	"slices"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// Step is one change of a PF or VF. It prints as one line: "ens1f0: numVFs 0 -> 4".
type Step interface {
	fmt.Stringer
	On() Target
	key() stepKey
}

// stepKey identifies a step across plans, regardless of its values.
type stepKey struct {
	pf   pci.Address
	vf   int // wholePF: the step is about the PF
	what string
}

const wholePF = -1

// The names of steps that other steps depend on.
const (
	stepNumVFs = "numVFs"
	stepPFMTU  = "MTU"
	stepUp     = "up"
)

// Target is the PF that a step is about, and the profile that asks for it.
type Target struct {
	Profile string
	PF      pci.Address
	Name    string // the PF's netdev, else its address
	Driver  string // the PF's driver, for messages
	Ifindex int    // of the PF's netdev: a rename does not change it
	Named   bool   // the profile names the PF, so its use by the host is no obstacle
}

// On returns the PF that the step is about.
func (t Target) On() Target { return t }

func (t Target) stepOn(what string) stepKey { return stepKey{t.PF, wholePF, what} }

func targetOf(p config.Profile, pf device.PF) Target {
	return Target{Profile: p.Name, PF: pf.Address, Name: nameOf(pf), Driver: pf.Driver, Ifindex: pf.Ifindex, Named: namesPF(p, pf)}
}

// VFTarget is a VF that a step is about.
type VFTarget struct {
	Target
	VF      int
	New     bool        // an earlier step makes the VF, so its address and settings are not known yet
	Address pci.Address // zero if New
}

func (t VFTarget) vf() string {
	if t.New {
		return fmt.Sprintf("VF %d (new)", t.VF)
	}
	return fmt.Sprintf("VF %d", t.VF)
}

// The kinds of steps. From is the present value.
type (
	// SetNumVFs makes or removes VFs. A change between two numbers above 0 takes two
	// steps.
	SetNumVFs struct {
		Target
		From, To int
		Back     int // the number of VFs before the step to 0, which is restored if To is refused
	}
	// SetPFMTU sets the PF's MTU in bytes. Many drivers take the link down for that.
	SetPFMTU struct {
		Target
		From, To int
		VFs      []device.VF // all of them must be free
	}
	// SetUp brings the PF's netdev up, which disturbs nobody.
	SetUp struct{ Target }
	// SetKnob sets one knob of a VF. From and To have the values of this knob only.
	SetKnob struct {
		VFTarget
		Knob     device.Knob
		From, To device.Settings
		// UnsafeDMA accepts a driver with which a pod can read and write all memory of the node.
		UnsafeDMA bool
	}
	// Blocked is a change that must not or cannot be made now, with the reason.
	Blocked struct {
		Target
		VF           int // wholePF: the PF
		What, Reason string
	}
)

func (s SetNumVFs) key() stepKey { return s.stepOn(stepNumVFs) }
func (s SetPFMTU) key() stepKey  { return s.stepOn(stepPFMTU) }
func (s SetUp) key() stepKey     { return s.stepOn(stepUp) }
func (s SetKnob) key() stepKey   { return stepKey{s.PF, s.VF, s.Knob.Name} }
func (s Blocked) key() stepKey   { return stepKey{s.PF, s.VF, s.What} }

// needs returns the steps that this one depends on.
func (s SetKnob) needs() []stepKey {
	var keys []stepKey
	if s.New {
		keys = append(keys, s.stepOn(stepNumVFs))
	}
	if s.Knob.Name == device.KnobMTU {
		// The PF's MTU bounds the VF's, and the driver makes the netdev.
		keys = append(keys, s.stepOn(stepPFMTU), stepKey{s.PF, s.VF, device.KnobDriver})
	}
	return keys
}

func (s SetKnob) dependsOn(failed map[stepKey]bool) bool {
	return slices.ContainsFunc(s.needs(), func(k stepKey) bool { return failed[k] })
}

func (s SetNumVFs) what() string { return fmt.Sprintf("numVFs %d -> %d", s.From, s.To) }
func (s SetPFMTU) what() string  { return fmt.Sprintf("MTU %d -> %d", s.From, s.To) }

func (s SetKnob) what() string { return s.vf() + ": " + s.change() }

// change returns the change without the VF: "VLAN 0 -> 100", "trust on". For a switch the
// present value is left out.
func (s SetKnob) change() string {
	from, to := valueOf(s.Knob, s.From), valueOf(s.Knob, s.To)
	if s.New || from == "" || to == device.OnOff(true) || to == device.OnOff(false) {
		return s.Knob.Name + " " + to
	}
	return s.Knob.Name + " " + from + " -> " + to
}

// valueOf returns the text of a knob's value; empty: not known.
func valueOf(k device.Knob, s device.Settings) string {
	switch {
	case k.Name == device.KnobDriver && !k.Has(s):
		return "none"
	case k.Name == device.KnobDriver && s.Driver == device.KernelDriver:
		return "the kernel's own"
	case !k.Has(s):
		return ""
	}
	return k.Text(s)
}

func (s SetNumVFs) String() string { return s.Name + ": " + s.what() }
func (s SetPFMTU) String() string  { return s.Name + ": " + s.what() }
func (s SetUp) String() string     { return s.Name + ": up" }
func (s SetKnob) String() string   { return s.Name + ": " + s.what() }
func (s Blocked) String() string   { return s.Name + ": blocked: " + s.What + ": " + s.Reason }

// pfStep is a step that is taken by itself.
type pfStep interface {
	Step
	apply(context.Context, *Applier) error
}
