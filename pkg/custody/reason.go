package custody

import (
	"cmp"
	"fmt"
)

// Reason returns a sentence for the administrator: who uses the function, how, and the
// remedy.
func (u Use) Reason() string {
	switch u.Kind {
	case Unknown:
		return fmt.Sprintf("nobody can say who uses it: %s: %s; trying again", u.Who, u.Failure)
	case Host:
		return fmt.Sprintf("the host uses its netdev %s %s: end that use, or leave the function to the host", u.Netdev, u.How)
	case Sandbox:
		if u.Ungranted {
			return fmt.Sprintf("%s has it%s, and the kubelet no longer lists it there, so it may give it to another pod: delete that pod", u.Who, u.as())
		}
		return fmt.Sprintf("%s has it%s: it is free when that pod is deleted", u.Who, u.as())
	case Release:
		return fmt.Sprintf("%s still has it%s: its release has failed %s, with: %s; trying again", u.Who, u.as(), times(u.Attempts), u.Failure)
	case Allocation:
		return fmt.Sprintf("the kubelet gave it to %s%s: it is free when that container has ended", u.Who, u.as())
	case Children:
		return fmt.Sprintf("%s has a link on its netdev %s: it is free when that pod is deleted", u.Who, u.Netdev)
	}
	return u.unrecordedReason()
}

// unrecordedReason returns the Reason for users that have no record of a pod.
func (u Use) unrecordedReason() string {
	switch u.Kind {
	case VFIO:
		return "a process has it open through VFIO, without a record of it here: end that process (a virtual machine or a DPDK program of the host)"
	case Namespace:
		return fmt.Sprintf("its driver %s is bound, but its netdev is not on the host, and no pod is on record: "+
			"it is in a network namespace of other software, or the driver made no netdev (see the kernel log)", u.Driver)
	case Group:
		return fmt.Sprintf("%s has %s, which is in the same IOMMU group, and VFIO gives a group to one user only: "+
			"it is free when %[2]s is free; with ACS each function has a group of its own", u.Who, u.Function)
	case GroupDriver:
		return fmt.Sprintf("%s is in the same IOMMU group and bound to %s, so VFIO opens no function of the group: unbind it, or bind it to vfio-pci too", u.Function, u.Driver)
	case Change:
		return "a profile is changing it: try again in a moment"
	case Governed:
		return fmt.Sprintf("%s governs this PF and hands out its VFs: take the PF out of the profile's spec.nics, or out of the pool", u.Who)
	case Pool:
		return fmt.Sprintf("it is advertised as %s, so the kubelet may give it to a pod at any time: use the PF, or a NIC that is in no pool", u.Resource)
	}
	return "it is used by " + u.Who
}

// TenantReason returns a sentence for the author of a pod. It names no other pod, no link
// of the node, and no other function.
func (u Use) TenantReason() string {
	switch u.Kind {
	case Unknown:
		return "the node cannot find out who uses it: try again"
	case Host:
		return "the node itself uses it: use another device"
	case Sandbox, Allocation:
		return "another pod has it: use another device, or wait for the end of that pod"
	case Release:
		return "another pod still has it, since its release has failed: the node tries again"
	case Children:
		return "links of other pods are on top of it: use another device"
	case VFIO:
		return "a process of the node has it open through VFIO: use another device"
	case Group:
		return "another function of its IOMMU group is in use: use another device"
	case GroupDriver:
		return "another function of its IOMMU group is bound to a kernel driver, so VFIO opens no function of the group: use another device"
	}
	return u.Reason()
}

func (u Use) as() string {
	switch {
	case u.Resource != "":
		return " as " + u.Resource
	case u.Kind == Sandbox || u.Kind == Release:
		return ", since its network names it"
	}
	return ""
}

func times(n int) string {
	if n := cmp.Or(n, 1); n > 1 {
		return fmt.Sprintf("%d times", n)
	}
	return "once"
}

// InUseError reports a function or netdev that cannot be given to a pod. Its text is for
// the author of the pod. Use.Reason is for the administrator's log.
type InUseError struct {
	Use  Use
	What string // "0000:3b:02.1", "netdev eth3"
}

func (e *InUseError) Error() string { return e.What + ": " + e.Use.TenantReason() }
