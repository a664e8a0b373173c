package deviceplugin

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// unfit returns why the VF must not be handed out in its present state: it does not have
// the driver that the workload expects, or a device node is missing.
func (d *Device) unfit() string {
	if reason := d.wrongDriver(); reason != "" {
		return reason
	}
	return d.missingNode()
}

func (d *Device) wrongDriver() string {
	vf, driver := &d.VF, d.Selector.Driver
	switch {
	case driver == device.KernelDriver && vf.Userspace():
		return fmt.Sprintf("it is bound to %s, and the profile asks for the kernel's own driver", vf.Driver)
	case driver != "" && driver != device.KernelDriver && vf.Driver != "" && vf.Driver != driver:
		return fmt.Sprintf("it is bound to %s, and the profile asks for %s", vf.Driver, driver)
	}
	return ""
}

func (d *Device) missingNode() string {
	vf := &d.VF
	switch {
	case vf.Driver == "" && d.PF.NoAutoprobe:
		return fmt.Sprintf("no driver is bound to it: sriov_drivers_autoprobe of PF %s is 0, so that new VFs get none: write 1 there and make the VFs again, or name a driver in a profile", d.PF.Address)
	case vf.Driver == "":
		return "no driver is bound to it"
	case vf.VFIO() && vf.VFIOGroup == "":
		return fmt.Sprintf("it is bound to %s but has no IOMMU group: enable the IOMMU (intel_iommu=on or amd_iommu=on)", vf.Driver)
	case vf.NoIOMMU() && d.Selector.NIC != nil && !d.Selector.UnsafeDMA:
		return fmt.Sprintf("it is bound to %s without an IOMMU, so a pod could read and write all memory of the node: enable the IOMMU (intel_iommu=on or amd_iommu=on), or accept that with allowUnsafeDMA: true in the profile's group", vf.Driver)
	case vf.Userspace() && !vf.VFIO() && vf.UIO == "":
		return fmt.Sprintf("it is bound to %s but has no uio device", vf.Driver)
	case d.Selector.RDMA:
		return unfitRDMA(vf)
	}
	return ""
}

// unfitNow is unfit, except that a VF that a pod has from this pool may have another
// driver: it gets the profile's driver when it is free. If it were Unhealthy, it would be
// missing from the node's allocatable VFs, and the scheduler would not use the free ones.
func (d *Device) unfitNow(view *custody.View) string {
	if d.wrongDriver() != "" && heldAs(view, d.VF.Address, d.Config.Resource) {
		return d.missingNode()
	}
	return d.unfit()
}

func heldAs(view *custody.View, vf pci.Address, resource string) bool {
	return slices.ContainsFunc(view.Uses(vf), func(u custody.Use) bool {
		return (u.Kind == custody.Allocation || u.Kind == custody.Sandbox) && u.Resource == resource
	})
}

// unfitRDMA accepts a VF without netdev and RDMA device: a pod may have both.
func unfitRDMA(vf *device.VF) string {
	away := vf.Netdev == "" && !vf.Userspace()
	switch {
	case len(vf.RDMADevices) == 0 && !away:
		return "it has no RDMA device"
	case len(vf.RDMADevices) > 0 && len(vf.Verbs) == 0:
		return fmt.Sprintf("its RDMA device %s has no uverbs node: is the module ib_uverbs loaded?", strings.Join(vf.RDMADevices, ", "))
	}
	return ""
}

// used returns the use that forbids to hand out a VF as a resource, as a sentence.
func used(view *custody.View, vf pci.Address, resource string) string {
	use, ok := view.ToAllocate(vf, resource)
	switch {
	case !ok:
		return ""
	case use.Kind == custody.Change:
		return beingChanged
	}
	return use.Reason()
}

// inspect reads a single VF again, because its latest event may not have arrived yet, and
// Allocate must not hand out the device nodes of another device. An empty reason means
// that the VF is fit.
func (o *Options) inspect(d Device, unfit func(*Device) string) (now Device, code codes.Code, reason string) {
	before := d.VF.Driver
	vf, err := o.readDevice(d.VF)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d, codes.NotFound, "the device has vanished from the PCI bus"
	case errors.Is(err, errHasVFs):
		return d, codes.FailedPrecondition, err.Error()
	case err != nil:
		return d, codes.Internal, err.Error()
	}
	d.VF = vf
	if reason := unfit(&d); reason != "" {
		return d, codes.FailedPrecondition, reason
	}
	if vf.Driver != before && !d.Config.Match(*d.PF, vf) {
		return d, codes.FailedPrecondition, fmt.Sprintf("it was just bound to %s, which the pool does not select", vf.Driver)
	}
	return d, codes.OK, ""
}

// errHasVFs means that a PF was advertised as a whole, and has VFs by now.
var errHasVFs = errors.New("the PF has VFs by now, and is handed out only while it has none")

// readDevice reads a device as it is now.
func (o *Options) readDevice(known device.VF) (device.VF, error) {
	vf, err := o.FS.VFAt(sysfs.VFSlot{Address: known.Address, PF: known.PF, Index: known.Index})
	if err != nil || !known.Whole {
		return vf, err
	}
	vf.Whole, vf.AltNames = true, known.AltNames
	if slots, err := o.FS.VFSlots(known.Address); err == nil && len(slots) > 0 { // a NIC without SR-IOV has an error
		return vf, errHasVFs
	}
	return vf, nil
}
