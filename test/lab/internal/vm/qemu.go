// Package vm runs the lab's nodes as QEMU virtual machines: command lines,
// the boot that prepares a disk, the probe for KVM, and a node's life.
package vm

import (
	"fmt"
	"strings"

	"fairlead.dev/fairlead/test/lab/internal/config"
)

// Program is the emulator.
const Program = "qemu-system-x86_64"

// Boot has the files that a machine starts from.
type Boot struct {
	Accel     string // tcg or kvm
	Kernel    string
	Initramfs string
	Serial    string // file for the console
}

// emulatedCPU has every feature of the emulator, except those that it does badly:
// byte-wise string moves, which a kernel takes for fast ones, page tables of
// five levels, and a second set of translations for the sake of SMAP.
// Copying takes a fifth to two fifths less time than with all of them.
const emulatedCPU = "max,la57=off,erms=off,fsrm=off,smap=off"

// baseArgs describes the parts that every machine of the lab has: a q35 board with an IOMMU
// that remaps interrupts (VFs passed to vfio need it) and reports the guest's
// unmaps to emulated devices (caching mode).
func baseArgs(b Boot, name string, memoryMiB, cpus int, kernelArgs ...string) []string {
	cpu := emulatedCPU
	accel := "tcg,thread=multi"
	if b.Accel == "kvm" {
		cpu, accel = "host", "kvm"
	}
	kernel := append([]string{"console=ttyS0", "loglevel=4", "intel_iommu=on", "iommu=pt",
		"panic=-1", "mitigations=off", "apparmor=0", "net.ifnames=0"}, kernelArgs...)
	return []string{
		Program,
		"-name", name,
		"-M", "q35,kernel-irqchip=split",
		"-accel", accel,
		"-cpu", cpu,
		"-smp", fmt.Sprint(cpus),
		"-m", fmt.Sprint(memoryMiB),
		"-display", "none", "-nodefaults", "-no-reboot",
		"-serial", "file:" + b.Serial,
		"-device", "intel-iommu,intremap=on,caching-mode=on",
		"-device", "virtio-rng-pci",
		"-kernel", b.Kernel,
		"-initrd", b.Initramfs,
		"-append", strings.Join(kernel, " "),
	}
}

// disk attaches the root file system. With unsafe set, flushes are ignored:
// right for a disk that is thrown away if the machine fails, wrong for one
// that must survive a power cut.
func disk(path, format string, unsafe bool) []string {
	cache := "writeback"
	if unsafe {
		cache = "unsafe"
	}
	return []string{
		"-drive", fmt.Sprintf("file=%s,if=none,id=disk0,format=%s,cache=%s,discard=unmap", escape(path), format, cache),
		"-device", "virtio-blk-pci,drive=disk0",
	}
}

// escape doubles commas, which QEMU's option lists take for separators.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// NodeArgs returns the command line of one node.
func NodeArgs(n config.Node, ports config.Ports, b Boot, overlay, qmp string) []string {
	var kernelArgs []string
	if n.HugePages > 0 {
		kernelArgs = append(kernelArgs, fmt.Sprintf("hugepages=%d", n.HugePages))
	}
	args := baseArgs(b, n.Name, n.MemoryMiB, n.CPUs, kernelArgs...)
	args = append(args, "-qmp", fmt.Sprintf("unix:%s,server=on,wait=off", escape(qmp)))
	args = append(args, disk(overlay, "qcow2", false)...)
	args = append(args, management(n, ports)...)
	args = append(args, lan(n, ports)...)
	return append(args, data(n, ports)...)
}

// management describes the user-mode network: the way out, and the host's way in to
// the agent and the kubelet.
func management(n config.Node, ports config.Ports) []string {
	forward := func(hostPort, guestPort int) string {
		return fmt.Sprintf("hostfwd=tcp:%s:%d-%s:%d", n.HostIP(), hostPort, n.IP(), guestPort)
	}
	return []string{
		"-netdev", strings.Join([]string{
			"user,id=mgmt,ipv6=off,net=" + config.GuestNet, "host=" + config.GuestHostIP, "dhcpstart=" + n.IP(),
			forward(ports.Agent, guestAgentPort), forward(ports.Kubelet, guestKubeletPort),
		}, ","),
		"-device", "virtio-net-pci,netdev=mgmt,romfile=,mac=" + n.ManagementMAC(),
	}
}

const (
	guestAgentPort   = 7000
	guestKubeletPort = 10250
)

// lan joins the nodes for the primary pod network.
func lan(n config.Node, ports config.Ports) []string {
	return []string{
		"-netdev", wire("lan", n, ports.LAN),
		"-device", "virtio-net-pci,netdev=lan,romfile=,mac=" + n.LANMAC(),
	}
}

// data connects every igb port of both nodes to one segment: a hub per node,
// with a wire between them.
func data(n config.Node, ports config.Ports) []string {
	args := []string{
		"-netdev", wire("data", n, ports.Data),
		"-netdev", "hubport,hubid=0,id=uplink,netdev=data",
	}
	for i, pf := range n.PFs {
		args = append(args,
			"-device", fmt.Sprintf("pcie-root-port,id=port%d,chassis=%d,slot=%d", i, i+1, i+1),
			"-netdev", fmt.Sprintf("hubport,hubid=0,id=net%d", i),
			"-device", fmt.Sprintf("igb,bus=port%d,netdev=net%d,mac=%s", i, i, pf.MAC),
		)
	}
	return args
}

// wire describes a pair of UDP ports on loopback, one per node. Unlike a stream it
// needs no order of starting, and a node may vanish and return.
func wire(id string, n config.Node, firstPort int) string {
	local, remote := firstPort, firstPort+1
	if n.Index == 2 {
		local, remote = remote, local
	}
	return fmt.Sprintf("dgram,id=%s,local.type=inet,local.host=127.0.0.1,local.port=%d,remote.type=inet,remote.host=127.0.0.1,remote.port=%d",
		id, local, remote)
}

// PrepareArgs returns the command line of the one boot that finishes a new disk.
func PrepareArgs(b Boot, rawDisk string) []string {
	args := baseArgs(b, "fairlead-lab-prepare", 1536, 2, "lab.mode=prepare")
	return append(args, disk(rawDisk, "raw", true)...)
}

// ProbeArgs returns the command line of a boot that only says that it works.
func ProbeArgs(b Boot) []string {
	return baseArgs(b, "fairlead-lab-probe", 512, 1, "lab.mode=probe")
}
