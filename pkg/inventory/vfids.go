package inventory

import (
	"slices"

	"fairlead.dev/fairlead/pkg/device"
)

// knownVF reports whether a network function without a PF is a VF. Inside a virtual machine,
// PCI does not show it. A driver that drives only VFs does; otherwise the device id does, even
// while a userspace driver is bound. Other functions are NICs, among them the machine's own
// uplink.
func knownVF(vf device.VF) bool {
	return slices.Contains([]string{"igbvf", "ixgbevf", "iavf", "i40evf"}, vf.Driver) ||
		slices.Contains(vfIDs(vf.Vendor), vf.Device)
}

func vfIDs(vendor string) []string {
	switch vendor {
	case "8086":
		return []string{
			"10ca", "152d", // 82576
			"1520", "152f", // I350
			"10ed", "152e", // 82599
			"1515", "1530", // X540
			"1564", "1565", "15a8", "15a9", "15b4", "15c5", // X550, X552, X553
			"154c", "1571", "37cd", "1889", // 700 and 800 series
		}
	case "15b3":
		return []string{
			"1004",         // ConnectX-3
			"1014", "1016", // ConnectX-4, 4 Lx
			"1018", "101a", // ConnectX-5, 5 Ex
			"101c", "101e", // ConnectX-6 and later
			"a2d3", // BlueField
		}
	}
	return nil
}
