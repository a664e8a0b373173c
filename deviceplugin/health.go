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

// unfit says why the VF, as it is, must not be handed out: the workload would not have
// the driver that it expects, or Allocate no device node to give.
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
		return fmt.Sprintf("it is bound to %s, the profile says the kernel's own driver", vf.Driver)
	case driver != "" && driver != device.KernelDriver && vf.Driver != "" && vf.Driver != driver:
		return fmt.Sprintf("it is bound to %s, the profile says %s", vf.Driver, driver)
	}
	return ""
}

func (d *Device) missingNode() string {
	vf := &d.VF
	switch {
	case vf.Driver == "":
		return "no driver is bound to it"
	case vf.VFIO() && vf.VFIOGroup == "":
		return fmt.Sprintf("it is bound to %s but has no IOMMU group: enable the IOMMU (intel_iommu=on or amd_iommu=on), or VFIO's enable_unsafe_noiommu_mode", vf.Driver)
	case vf.Userspace() && !vf.VFIO() && vf.UIO == "":
		return fmt.Sprintf("it is bound to %s but has no uio device", vf.Driver)
	case d.Selector.RDMA:
		return unfitRDMA(vf)
	}
	return ""
}

// unfitNow is unfit, except that a VF that the pool's own pod has may have another
// driver: it gets the profile's when it is free. If it were Unhealthy, the node's
// allocatable VFs would be fewer, and the scheduler would not use the free ones.
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

// used says who uses a VF so that it must not be handed out as a resource.
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

// inspect reads a single VF again, since its event may still be on its way: Allocate
// must not give away the device nodes of another. An empty reason means fit.
func (o *Options) inspect(d Device, unfit func(*Device) string) (now Device, code codes.Code, reason string) {
	before := d.VF.Driver
	vf, err := o.FS.VFAt(sysfs.VFSlot{Address: d.VF.Address, PF: d.VF.PF, Index: d.VF.Index})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d, codes.NotFound, "the VF has vanished from the PCI bus"
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
