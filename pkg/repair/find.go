package repair

import (
	"fmt"
	"strings"
	"time"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// driverGrace is how long a VF has to be without a driver. An administrator who changes
// the driver by hand takes the old one away first.
const driverGrace = 10 * time.Second

// Facts is the input of Find.
type Facts struct {
	View   *custody.View
	Strays map[pci.Address]Stray
	Free   map[pci.Address]Clean // how VFs were when they were last free; may lack any
	Wanted Wanted
	Now    time.Time
}

// Orphan is a stray that nobody has, with its repair.
type Orphan struct {
	VF       device.VF
	PF       device.PF // the zero value if it is not visible
	Evidence string
	// Bind has the kernel probe the VF, which has no driver. Rebind gives it a new netdev,
	// which has nothing that a pod has set.
	Bind, Rebind bool
	Netdev       string          // the name that the netdev gets; empty: any
	Want         device.Settings // at the PF, and the MTU; a setting without a value is left alone
}

// String is one line for logs and tests.
func (o Orphan) String() string {
	var parts []string
	switch {
	case o.Bind:
		parts = append(parts, "probe")
	case o.Rebind:
		parts = append(parts, "rebind "+o.VF.Driver)
	}
	if o.Netdev != "" {
		parts = append(parts, "name "+o.Netdev)
	}
	for _, k := range device.Knobs {
		if k.Has(o.Want) {
			parts = append(parts, k.Name+" "+k.Text(o.Want))
		}
	}
	return fmt.Sprintf("%s: %s (%s)", o.VF.Address, strings.Join(parts, ", "), o.Evidence)
}

// Find returns the strays that nobody has, in order of the devices.
func Find(f Facts) []Orphan {
	var out []Orphan
	for pf, vf := range functions(f.View.Devices()) {
		s, stray := f.Strays[vf.Address]
		if !stray || !free(f.View, vf.Address) {
			continue
		}
		o := Orphan{VF: vf, PF: pf, Evidence: s.Evidence}
		switch {
		case s.Driver != "" && f.Now.Sub(s.Since) < driverGrace:
			continue
		case s.Driver != "":
			o.Bind = true
		case vf.Driver == "" || !vf.Userspace() && vf.Netdev == "":
			continue // its netdev is on its way; without a driver, a profile or a person has to act
		case !pf.Address.IsZero() && pf.Netdev == "":
			continue // nothing can be set at the PF now
		default:
			o.Rebind = !vf.Userspace() && !s.Rebound
			o.Netdev, o.Want = f.asBefore(pf, vf)
		}
		out = append(out, o)
	}
	return out
}

// asBefore returns the netdev's name and the settings that a VF without a pod should have:
// the profile's, else those that it had when it was last free, else those of its siblings.
// The name and the MTU are the kernel's after a rebind if they are not known. A MAC at the
// PF that is not known is left alone.
func (f Facts) asBefore(pf device.PF, vf device.VF) (netdev string, want device.Settings) {
	before := f.Free[vf.Address]
	profile, _ := wanted(f.Wanted, pf, vf)
	if before.Settings.Driver == vf.Driver {
		netdev = before.Netdev
		want.MTU = before.Settings.MTU
	}
	if profile.MTU != nil {
		want.MTU = profile.MTU
	}
	if pf.Address.IsZero() {
		return netdev, want
	}
	for _, k := range device.KnobsAt(device.AtPF) {
		switch {
		case k.Has(profile):
			k.Copy(&want, profile)
		case k.Has(before.Settings):
			k.Copy(&want, before.Settings)
		case k.Default != nil:
			f.likeSiblings(pf, k, &want)
		}
	}
	return netdev, want
}

// likeSiblings chooses the value of a knob if nobody knows the VF's own. An administrator's
// script sets all VFs of a PF alike, so the value is the one that all its clean VFs have.
// It is the kernel's default if there are no clean VFs. If they differ, each has been set by
// itself, and the knob is left alone.
func (f Facts) likeSiblings(pf device.PF, k device.Knob, want *device.Settings) {
	var all []device.Settings
	for _, vf := range pf.VFs {
		if c, clean := f.Free[vf.Address]; clean && k.Has(c.Settings) {
			all = append(all, c.Settings)
		}
	}
	if len(all) == 0 {
		k.Default(want)
		return
	}
	for _, s := range all[1:] {
		if !k.Equal(all[0], s) {
			return
		}
	}
	k.Copy(want, all[0])
}
