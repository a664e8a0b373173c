package device

import (
	"fmt"
	"slices"
)

// Settings are the values that can be set on a VF. A nil or empty field has no value: it was
// not requested, or the driver does not report it. The table Knobs has a row for each setting;
// code that handles settings loops over the table.
type Settings struct {
	Driver     string  `json:"driver,omitempty"`   // the bound kernel driver; KernelDriver for the kernel's own choice
	MAC        string  `json:"mac,omitempty"`      // the netdev's
	AdminMAC   *string `json:"adminMAC,omitempty"` // set at the PF; NoMAC if no MAC is set
	MTU        *int    `json:"mtu,omitempty"`      // the netdev's, in bytes
	VLAN       *int    `json:"vlan,omitempty"`     // 0: untagged
	QoS        *int    `json:"qos,omitempty"`
	VLANProto  *string `json:"vlanProto,omitempty"` // 802.1q, 802.1ad
	SpoofCheck *bool   `json:"spoofCheck,omitempty"`
	Trust      *bool   `json:"trust,omitempty"`
	LinkState  *string `json:"linkState,omitempty"`     // auto, enable, disable
	MinTxRate  *int    `json:"minTxRateMbps,omitempty"` // 0: no guarantee
	MaxTxRate  *int    `json:"maxTxRateMbps,omitempty"` // 0: no limit
}

// NoMAC is the administrative MAC of a VF for which the PF has set no MAC.
const NoMAC = "00:00:00:00:00:00"

// Place is the object that a knob belongs to.
type Place int

// The places of knobs.
const (
	AtPF     Place = iota // one netlink message about the PF carries all of them
	AtNetdev              // the VF's own netdev
	AtDevice              // the PCI function: its driver
)

// Knob is one row of Knobs: one setting of a VF, or several that the kernel sets together.
type Knob struct {
	Name  string // its name in messages: "spoof check"
	Field string // its field in an sriov network: "spoofchk"; empty if networks have no such field
	Group string // its field in a profile's VF group: "spoofCheck"; empty if profiles have no such field
	Place Place
	// Has reports whether the settings have a value for the knob.
	Has func(Settings) bool
	// Equal reports whether both settings have the same value for the knob. Both must have one.
	Equal func(a, b Settings) bool
	// Text returns the value for people to read. The settings must have one.
	Text func(Settings) string
	// Copy copies the value in from to to. If from has no value, neither has to afterwards.
	Copy func(to *Settings, from Settings)
	// Guards is set for a knob that keeps a pod from something. Its default is a wish, too.
	Guards bool
	// Default sets the value of a new VF; nil if it differs between NICs.
	Default func(*Settings)
}

// Names of knobs that need more than the table. A MAC has two places, and drivers accept it in
// different orders; a driver and an MTU have their own steps.
const (
	KnobMAC    = "MAC"
	KnobMTU    = "MTU"
	KnobDriver = "driver"
)

// Knobs has a row for each knob, in the order in which they are set.
var Knobs = []Knob{
	{
		Name: "VLAN", Field: "vlan", Group: "vlan", Place: AtPF,
		Has: func(s Settings) bool { return s.VLAN != nil },
		Equal: func(a, b Settings) bool {
			// Without a VLAN there is no tag with a priority or protocol.
			return *a.VLAN == *b.VLAN && orZero(a.QoS) == orZero(b.QoS) && (*a.VLAN == 0 || proto(a) == proto(b))
		},
		Text: func(s Settings) string {
			text := fmt.Sprint(*s.VLAN)
			if qos := orZero(s.QoS); qos != 0 {
				text += fmt.Sprintf(" QoS %d", qos)
			}
			if proto(s) != Proto8021Q {
				text += " " + proto(s)
			}
			return text
		},
		Copy:    func(to *Settings, from Settings) { to.VLAN, to.QoS, to.VLANProto = from.VLAN, from.QoS, from.VLANProto },
		Default: func(s *Settings) { s.VLAN, s.QoS, s.VLANProto = new(int), new(int), ptr(Proto8021Q) },
	},
	{
		Name: KnobMAC, Field: "mac", Place: AtPF,
		Has:   func(s Settings) bool { return s.AdminMAC != nil },
		Equal: func(a, b Settings) bool { return *a.AdminMAC == *b.AdminMAC },
		Text:  func(s Settings) string { return *s.AdminMAC },
		Copy:  func(to *Settings, from Settings) { to.AdminMAC = from.AdminMAC },
	},
	{
		Name: "rate", Field: "min_tx_rate and max_tx_rate", Group: "minTxRateMbps and maxTxRateMbps", Place: AtPF,
		Has: func(s Settings) bool { return s.MinTxRate != nil || s.MaxTxRate != nil },
		Equal: func(a, b Settings) bool {
			return orZero(a.MinTxRate) == orZero(b.MinTxRate) && orZero(a.MaxTxRate) == orZero(b.MaxTxRate)
		},
		Text: func(s Settings) string {
			return fmt.Sprintf("%d to %d Mbit/s", orZero(s.MinTxRate), orZero(s.MaxTxRate))
		},
		Copy:    func(to *Settings, from Settings) { to.MinTxRate, to.MaxTxRate = from.MinTxRate, from.MaxTxRate },
		Default: func(s *Settings) { s.MinTxRate, s.MaxTxRate = new(int), new(int) },
	},
	{
		Name: "spoof check", Field: "spoofchk", Group: "spoofCheck", Place: AtPF, Guards: true,
		Has:     func(s Settings) bool { return s.SpoofCheck != nil },
		Equal:   func(a, b Settings) bool { return *a.SpoofCheck == *b.SpoofCheck },
		Text:    func(s Settings) string { return OnOff(*s.SpoofCheck) },
		Copy:    func(to *Settings, from Settings) { to.SpoofCheck = from.SpoofCheck },
		Default: func(s *Settings) { s.SpoofCheck = ptr(true) },
	},
	{
		Name: "trust", Field: "trust", Group: "trust", Place: AtPF, Guards: true,
		Has:     func(s Settings) bool { return s.Trust != nil },
		Equal:   func(a, b Settings) bool { return *a.Trust == *b.Trust },
		Text:    func(s Settings) string { return OnOff(*s.Trust) },
		Copy:    func(to *Settings, from Settings) { to.Trust = from.Trust },
		Default: func(s *Settings) { s.Trust = ptr(false) },
	},
	{
		Name: "link state", Field: "link_state", Group: "linkState", Place: AtPF,
		Has:     func(s Settings) bool { return s.LinkState != nil },
		Equal:   func(a, b Settings) bool { return *a.LinkState == *b.LinkState },
		Text:    func(s Settings) string { return *s.LinkState },
		Copy:    func(to *Settings, from Settings) { to.LinkState = from.LinkState },
		Default: func(s *Settings) { s.LinkState = ptr("auto") },
	},
	{
		Name: KnobDriver, Group: "driver", Place: AtDevice,
		Has: func(s Settings) bool { return s.Driver != "" },
		Equal: func(a, b Settings) bool {
			return a.Driver == b.Driver || a.Driver == KernelDriver && kernelDriver(b) || b.Driver == KernelDriver && kernelDriver(a)
		},
		Text: func(s Settings) string { return s.Driver },
		Copy: func(to *Settings, from Settings) { to.Driver = from.Driver },
	},
	{
		Name: KnobMTU, Field: "mtu", Group: "mtu", Place: AtNetdev,
		Has:   func(s Settings) bool { return s.MTU != nil },
		Equal: func(a, b Settings) bool { return *a.MTU == *b.MTU },
		Text:  func(s Settings) string { return fmt.Sprint(*s.MTU) },
		Copy:  func(to *Settings, from Settings) { to.MTU = from.MTU },
	},
}

// KnobsAt returns the rows of one place, in order.
func KnobsAt(place Place) []Knob {
	return slices.DeleteFunc(slices.Clone(Knobs), func(k Knob) bool { return k.Place != place })
}

// Same reports whether have is known to have the value that want has.
func (k Knob) Same(want, have Settings) bool {
	return k.Has(want) && k.Has(have) && k.Equal(want, have)
}

// Differ returns the knobs of a place for which want has a value, and have has another value or
// no value.
func Differ(place Place, want, have Settings) []Knob {
	var out []Knob
	for _, k := range Knobs {
		if k.Place == place && k.Has(want) && !k.Same(want, have) {
			out = append(out, k)
		}
	}
	return out
}

// Only returns a copy of s with the values of the given knobs, and no others.
func (s Settings) Only(knobs ...Knob) Settings {
	var out Settings
	for _, k := range knobs {
		k.Copy(&out, s)
	}
	return out
}

// The protocols of a VLAN tag.
const (
	Proto8021Q  = "802.1q"
	Proto8021AD = "802.1ad"
)

func proto(s Settings) string {
	if s.VLANProto == nil || *s.VLANProto == "" {
		return Proto8021Q
	}
	return *s.VLANProto
}

// kernelDriver reports whether a driver that creates a netdev is meant: any of them counts as
// the kernel's own choice.
func kernelDriver(s Settings) bool { return s.Driver != "" && !UserspaceDriver(s.Driver) }

// OnOff returns a switch as users write it.
func OnOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func orZero(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

func ptr[T any](v T) *T { return &v }
