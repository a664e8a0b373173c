package device

import "strings"

// KernelDriver stands for the kernel's own choice: any driver that creates a netdev.
const KernelDriver = "kernel"

// VFIODriver reports whether a kernel driver hands its device to userspace
// through VFIO: vfio-pci itself, or a vendor's variant (mlx5_vfio_pci,
// hisi_acc_vfio_pci …), which the kernel names *_vfio_pci or *-vfio-pci.
func VFIODriver(name string) bool {
	return name == "vfio-pci" || strings.HasSuffix(name, "_vfio_pci") || strings.HasSuffix(name, "-vfio-pci")
}

// UserspaceDriver reports whether a kernel driver creates no netdev because a process in
// userspace (DPDK) drives the device.
func UserspaceDriver(name string) bool {
	return VFIODriver(name) || name == "uio_pci_generic" || name == "igb_uio"
}
