package inventory

import (
	"github.com/vishvananda/netlink"

	"fairlead.dev/fairlead/pkg/pci"
)

// Eswitch asks devlink for a PF's eswitch mode: "legacy" or "switchdev". It returns "" for the
// many drivers without devlink or an eswitch.
func Eswitch(addr pci.Address) string {
	dev, err := netlink.DevLinkGetDeviceByName("pci", addr.String())
	if err != nil {
		return ""
	}
	return dev.Attrs.Eswitch.Mode
}
