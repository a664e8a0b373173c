package network

import (
	"strings"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
)

// DeviceInfoFileName returns the name of an attachment's device-info file in the directory
// devinfo/cni.
func DeviceInfoFileName(namespace, name, sandboxID, ifName string) string {
	return strings.ReplaceAll(namespace+"-"+name+"-"+sandboxID+"_"+ifName, "/", "-")
}

// DeviceFileName returns the name of the file that a device plugin writes for a device in the
// directory devinfo/dp.
func DeviceFileName(resource, deviceID string) string {
	return strings.ReplaceAll(resource+"-"+deviceID, "/", "-") + "-device.json"
}

// PCIDeviceInfo returns the document for a PCI device if no device plugin has written one.
func PCIDeviceInfo(address, pfAddress string) *nadv1.DeviceInfo {
	return &nadv1.DeviceInfo{
		Type:    nadv1.DeviceInfoTypePCI,
		Version: nadv1.DeviceInfoVersion,
		Pci:     &nadv1.PciDevice{PciAddress: address, PfPciAddress: pfAddress},
	}
}
