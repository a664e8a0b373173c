package profile

import (
	"fmt"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
)

// GroupAllow has the limits of one VF group, with the group's name for messages.
type GroupAllow struct {
	Group string
	Allow *config.VFAllow
}

// Allows returns the limits that hold for a VF. If profiles are in conflict over its PF,
// those of each of them do.
func Allows(profiles []config.Profile, pf device.PF, index int) []GroupAllow {
	var out []GroupAllow
	for _, p := range contenders(profiles, pf) {
		if g := groupOf(*p, index); g != nil && g.Allow != nil {
			out = append(out, GroupAllow{fmt.Sprintf("the VF group %q of profile %s", g.Resource, p.Name), g.Allow})
		}
	}
	return out
}
