package ledger

import (
	"fmt"
	"maps"
	"slices"

	"fairlead.dev/fairlead/pkg/pci"
)

// The errors below name pods and netdevs, for administrators. TenantText is for the
// reply to the pod's owner, and names no other pod.

// HeldError reports a device that another sandbox holds.
type HeldError struct {
	Device    pci.Address
	Netdev    string // set if a link was to be put on the device's netdev
	Sandbox   string
	IfName    string
	Pod       PodRef
	Releasing bool
}

func (e *HeldError) Error() string {
	state := "in use"
	if e.Releasing {
		state = "being released"
	}
	return fmt.Sprintf("device %s is held by pod %s (sandbox %s, interface %s), where it is %s", deviceText(e.Device, e.Netdev), e.Pod, e.Sandbox, e.IfName, state)
}

// TenantText returns the error without the other pod's name.
func (e *HeldError) TenantText() string {
	if e.Releasing {
		return fmt.Sprintf("device %s is being released by another pod", e.Device)
	}
	return fmt.Sprintf("device %s is in use by another pod", e.Device)
}

// AllocatedError reports a device that the kubelet has given to some pod.
type AllocatedError struct {
	Device   pci.Address
	Netdev   string // set if a link was to be put on the device's netdev
	Resource string
}

func (e *AllocatedError) Error() string {
	if e.Netdev != "" {
		return fmt.Sprintf("device %s is allocated to a pod as %s; use another uplink", deviceText(e.Device, e.Netdev), e.Resource)
	}
	return fmt.Sprintf("device %s, which the pod or the network names, is allocated to another pod as %s; request %s in the pod's resources instead of naming a device",
		e.Device, e.Resource, e.Resource)
}

// TenantText returns the error without the other pod's name.
func (e *AllocatedError) TenantText() string {
	return fmt.Sprintf("device %s is allocated to another pod; request the network's resource instead of naming a device", e.Device)
}

// UplinkError reports a device whose netdev carries links of a pod. If the netdev moved
// to another pod, the links would stay on it, and that pod would control them.
type UplinkError struct {
	Device  pci.Address
	Netdev  string
	Sandbox string
	IfName  string
	Pod     PodRef
}

func (e *UplinkError) Error() string {
	return fmt.Sprintf("device %s is below interface %s of pod %s (sandbox %s); use another device, or give that pod's network another uplink",
		deviceText(e.Device, e.Netdev), e.IfName, e.Pod, e.Sandbox)
}

// TenantText returns the error without the other pod's name.
func (e *UplinkError) TenantText() string {
	return fmt.Sprintf("device %s is in use by another pod", e.Device)
}

func deviceText(device pci.Address, netdev string) string {
	if netdev == "" {
		return device.String()
	}
	return fmt.Sprintf("%s (netdev %s)", device, netdev)
}

// checkSandbox returns an error if e must not be recorded in place of old, which is nil
// for a new sandbox. It checks only the holdings that old does not have, because nothing
// may prevent the release of a sandbox.
func (x *index) checkSandbox(old, e *entry) error {
	if old != nil && old.Releasing && !e.Releasing {
		return fmt.Errorf("%w: %s", ErrReleasing, e.ID)
	}
	mine := map[pci.Address]string{} // device → interface
	for _, h := range e.Holdings {
		if h.Device.IsZero() {
			continue
		}
		if ifName, twice := mine[h.Device]; twice && ifName != h.IfName {
			return e.heldError(h.Device, ifName)
		}
		mine[h.Device] = h.IfName
	}
	for _, h := range e.Holdings {
		if _, had := old.holding(h.Device); !had && !h.Device.IsZero() {
			if err := x.checkDevice(e, h); err != nil {
				return err
			}
		}
		if h.Uplink != "" && !x.hasChild(old, h) {
			if err := x.checkUplink(e, h.Uplink); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *entry) heldError(device pci.Address, ifName string) *HeldError {
	return &HeldError{Device: device, Sandbox: e.ID, IfName: ifName, Pod: e.Pod, Releasing: e.Releasing}
}

func (x *index) hasChild(old *entry, h Holding) bool {
	if old == nil {
		return false
	}
	_, has := x.children[h.Uplink][LinkUser{old.ID, h.IfName}]
	return has
}

// checkDevice returns an error if e must not take the device.
func (x *index) checkDevice(e *entry, h Holding) error {
	if by, held := x.devices[h.Device]; held && by.SandboxID != e.ID {
		return x.sandboxes[by.SandboxID].heldError(h.Device, by.IfName)
	}
	a, allocated := x.allocations[h.Device]
	if allocated && h.Named {
		return &AllocatedError{Device: h.Device, Resource: a.Resource}
	}
	for _, netdev := range []string{h.netdev(), a.Netdev} {
		if err := x.checkNoChildren(h.Device, netdev, e.ID); err != nil {
			return err
		}
	}
	return nil
}

// checkNoChildren returns an error if another sandbox has links on the netdev.
func (x *index) checkNoChildren(device pci.Address, netdev, except string) error {
	for by := range x.children[netdev] {
		if by.SandboxID != except {
			return &UplinkError{Device: device, Netdev: netdev, Sandbox: by.SandboxID, IfName: by.IfName, Pod: x.sandboxes[by.SandboxID].Pod}
		}
	}
	return nil
}

// checkUplink returns an error if e must not put a link on the netdev.
func (x *index) checkUplink(e *entry, netdev string) error {
	for _, device := range slices.SortedFunc(maps.Keys(x.held[netdev]), pci.Address.Compare) {
		if by := x.devices[device]; by.SandboxID != e.ID {
			err := x.sandboxes[by.SandboxID].heldError(device, by.IfName)
			err.Netdev = netdev
			return err
		}
	}
	for _, device := range slices.SortedFunc(maps.Keys(x.allocated[netdev]), pci.Address.Compare) {
		if _, mine := e.holding(device); !mine {
			return &AllocatedError{Device: device, Netdev: netdev, Resource: x.allocations[device].Resource}
		}
	}
	return nil
}

// checkAllocation returns an error if the kubelet must not get the device. A sandbox may
// hold it under the same resource: then it is about to be returned.
func (x *index) checkAllocation(a Allocation) error {
	if by, ok := x.devices[a.Device]; ok {
		e := x.sandboxes[by.SandboxID]
		h, _ := e.holding(a.Device)
		if h.Resource != a.Resource || h.Named && !e.Releasing {
			return e.heldError(a.Device, by.IfName)
		}
	}
	return x.checkNoChildren(a.Device, a.Netdev, "")
}
