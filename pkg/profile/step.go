package profile

import (
	"context"
	"fmt"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// Step is one change of one PF or VF. It prints as one line, "ens1f0: numVFs 0 -> 4".
type Step interface {
	fmt.Stringer
	On() Target
	apply(context.Context, *Applier) error
}

// Target is the PF that a step is about, and the profile that asks for it.
type Target struct {
	Profile string
	PF      pci.Address
	Name    string // the PF's netdev, else its address
	Driver  string // the PF's driver, for messages
	Ifindex int    // of the PF's netdev, which stays when it is renamed
}

// On is the PF that the step is about.
func (t Target) On() Target { return t }

func on(p config.Profile, pf device.PF) Target {
	return Target{Profile: p.Name, PF: pf.Address, Name: nameOf(pf), Driver: pf.Driver, Ifindex: pf.Ifindex}
}

// VFTarget is a VF that a step is about.
type VFTarget struct {
	Target
	VF      int
	New     bool        // a step before makes the VF: its address and state are not known yet
	Address pci.Address // zero where New
}

// vfStep is a step about one VF.
type vfStep interface{ index() int }

func (t VFTarget) index() int { return t.VF }

func (t VFTarget) vf() string {
	if t.New {
		return fmt.Sprintf("VF %d (new)", t.VF)
	}
	return fmt.Sprintf("VF %d", t.VF)
}

// The steps. From is what is there now.
type (
	// SetNumVFs makes or removes VFs; from one number above 0 to another are two steps.
	SetNumVFs struct {
		Target
		From, To int
		Back     int // made again where To is refused: how many there were before a step to 0
	}
	// SetPFMTU sets the PF's MTU in bytes. Many drivers take the link down for a moment.
	SetPFMTU struct {
		Target
		From, To int
		VFs      []device.VF // which have to be free for it
	}
	// SetUp brings the PF's netdev up.
	SetUp struct{ Target }
	// SetVFVLAN sets the VLAN (802.1q) and its priority; VLAN 0 takes it away.
	SetVFVLAN struct {
		VFTarget
		From      *VLANTag // nil: not known
		VLAN, QoS int
	}
	// SetVFTrust sets whether the PF trusts the VF.
	SetVFTrust struct {
		VFTarget
		To bool
	}
	// SetVFSpoofCheck sets whether the PF drops frames with a source that isn't the VF's.
	SetVFSpoofCheck struct {
		VFTarget
		To bool
	}
	// BindDriver binds a VF to a driver; "" is the kernel's own choice.
	BindDriver struct {
		VFTarget
		From, To string
	}
	// SetVFMTU sets the MTU of the VF's netdev, in bytes.
	SetVFMTU struct {
		VFTarget
		From, To int
	}
	// Blocked is what would be done if nothing stood in its way.
	Blocked struct {
		Target
		What, Reason string
	}
)

// VLANTag is a VLAN and its priority.
type VLANTag struct{ VLAN, QoS int }

func (v VLANTag) String() string {
	if v.QoS != 0 {
		return fmt.Sprintf("%d QoS %d", v.VLAN, v.QoS)
	}
	return fmt.Sprint(v.VLAN)
}

func (s SetNumVFs) what() string { return fmt.Sprintf("numVFs %d -> %d", s.From, s.To) }
func (s SetPFMTU) what() string  { return fmt.Sprintf("MTU %d -> %d", s.From, s.To) }

func (s BindDriver) what() string {
	to := s.To
	if to == "" {
		to = "the kernel's own"
	}
	if s.New {
		return fmt.Sprintf("%s: driver %s", s.vf(), to)
	}
	from := s.From
	if from == "" {
		from = "none"
	}
	return fmt.Sprintf("%s: driver %s -> %s", s.vf(), from, to)
}

func (s SetVFMTU) what() string {
	if s.From == 0 {
		return fmt.Sprintf("%s: MTU %d", s.vf(), s.To)
	}
	return fmt.Sprintf("%s: MTU %d -> %d", s.vf(), s.From, s.To)
}

func (s SetVFVLAN) what() string {
	to := VLANTag{s.VLAN, s.QoS}
	if s.From == nil {
		return fmt.Sprintf("%s: VLAN %v", s.vf(), to)
	}
	return fmt.Sprintf("%s: VLAN %v -> %v", s.vf(), *s.From, to)
}

func (s SetNumVFs) String() string { return s.Name + ": " + s.what() }
func (s SetPFMTU) String() string  { return s.Name + ": " + s.what() }
func (s SetUp) String() string     { return s.Name + ": up" }
func (s SetVFVLAN) String() string { return s.Name + ": " + s.what() }
func (s SetVFTrust) String() string {
	return fmt.Sprintf("%s: %s: trust %s", s.Name, s.vf(), onOff(s.To))
}
func (s SetVFSpoofCheck) String() string {
	return fmt.Sprintf("%s: %s: spoof check %s", s.Name, s.vf(), onOff(s.To))
}
func (s BindDriver) String() string { return s.Name + ": " + s.what() }
func (s SetVFMTU) String() string   { return s.Name + ": " + s.what() }
func (s Blocked) String() string {
	return fmt.Sprintf("%s: blocked: %s: %s", s.Name, s.What, s.Reason)
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
