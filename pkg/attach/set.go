package attach

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/retry"
)

// Sysfs is the part of pkg/sysfs that attaching needs. Errors about a function that
// does not exist wrap fs.ErrNotExist.
type Sysfs interface {
	VF(pci.Address) (device.VF, error)
	PF(pci.Address) (device.PF, error)
	Netdevs(pci.Address) ([]string, error)
	Driver(pci.Address) (string, error)
	// NetdevParent returns the name of the device of a function's netdevs, as netlink
	// reports it: the address, or "virtio0".
	NetdevParent(pci.Address) string
	FunctionOf(netdev string) (pci.Address, bool)
}

// Custody answers who has a function or a host link.
type Custody interface {
	// ToAttach returns the reason why a sandbox must not have a function, nil if it
	// may. given is true if the kubelet gave it to the pod; otherwise the pod or its
	// network names it.
	ToAttach(function pci.Address, sandbox string, pod ledger.PodRef, given bool) error
	// ToCarry returns the reason why no link of the sandbox may be made on a host
	// netdev, nil if one may.
	ToCarry(netdev, sandbox string) error
}

// Rebinder unbinds a function from its driver and binds it again, which gives it a
// new netdev.
type Rebinder interface {
	Rebind(pci.Address) error
}

// ResetPolicy says how a VF becomes as new when it is released.
type ResetPolicy string

// The policies of a VF's release.
const (
	// ResetRestore restores every setting, and rebinds only if one still differs.
	ResetRestore ResetPolicy = "restore"
	// ResetRebind always rebinds the driver.
	ResetRebind ResetPolicy = "rebind"
)

// Deps has the joints and settings of a Set. Every field but Sysfs may be empty.
type Deps struct {
	Sysfs   Sysfs
	Custody Custody // nil: nothing is refused
	// HostUse returns how the host itself uses one of its netdevs ("for a default
	// route"), empty if it does not. Nil: the kernel is asked each time.
	HostUse func(netdev string) (string, error)
	// MayUseUplink returns the reason why the policy of a network refuses a host netdev
	// that its config does not name; names has its alternative names too. Nil: no reason.
	MayUseUplink func(network string, names []string) error
	// MayHaveVF returns the reason why a pod must not have a VF, or why its network must
	// not set one of the settings. Nil: no reason.
	MayHaveVF func(c Call, vf pci.Address, asked device.Settings) error
	// VLANLinkUsers counts the attachments that use a shared VLAN link, apart from the
	// given one and from those that are being released. Nil: nobody knows, and such
	// links are kept.
	VLANLinkUsers func(name, sandbox, ifName string) (int, error)
	// SecondaryDefaultRoutes lets router advertisements on a secondary interface compete
	// with the primary's default route.
	SecondaryDefaultRoutes bool
	// Reset is the policy for a VF. Nil: ResetRestore.
	Reset    func(pci.Address) ResetPolicy
	Rebinder Rebinder // nil: no VF is rebound
	// TuningAllowlist is the host's list of sysctls that networks may set, a file in
	// the stock tuning plugin's format. Empty: that plugin's file. If the file does not
	// exist, all sysctls below net are allowed.
	TuningAllowlist string
	Log             *slog.Logger
	HostLocalDir    string // where host-local keeps its files; empty: where the stock plugin does
}

// Set makes and undoes attachments. Its methods may be called from several goroutines.
type Set struct {
	Deps
	kernel kernel
	pause  func(context.Context, time.Duration) error
	later  func(func()) // runs work that no call waits for, which ends by itself
	vlans  sync.Mutex   // guards looking for, making and removing shared VLAN links
	// bridges guards looking for and making a bridge and its ports, and removing a bridge.
	bridges sync.Mutex
	tables  sync.Mutex // guards choosing routing tables of pods
}

// New returns a Set of the built-in plugins.
func New(d Deps) *Set {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.TuningAllowlist == "" {
		d.TuningAllowlist = "/etc/cni/tuning/allowlist.conf"
	}
	return &Set{Deps: d, kernel: linux{}, pause: retry.Sleep, later: func(work func()) { go work() }}
}

// Plugin returns the built-in plugin of a config's type. If no such plugin is built in,
// or if the config asks for the binary, it returns the binary.
func (s *Set) Plugin(conf Conf) Plugin {
	if conf.Builtin {
		switch conf.Type {
		case PluginSRIOV:
			return sriov{s}
		case PluginMacvlan, PluginIPvlan:
			return child{s}
		case PluginTuning:
			return tuning{s}
		case PluginBridge:
			return bridge{s}
		case PluginPTP:
			return ptp{s}
		case PluginLoopback:
			return loopback{s}
		case PluginBandwidth:
			return shaper{s}
		case PluginSBR:
			return sourceRouting{s}
		case PluginHostDevice:
			return hostDevice{sriov{s}}
		case PluginVLAN:
			return vlan{child{s}}
		}
	}
	return program{s}
}

// pluginOf returns the plugin that made a member.
func (s *Set) pluginOf(m ledger.Member) (Plugin, error) {
	switch m.Plugin {
	case PluginSRIOV, PluginVFIO:
		return sriov{s}, nil
	case PluginMacvlan, PluginIPvlan, PluginVLAN:
		return child{s}, nil
	case PluginTuning:
		return tuning{s}, nil
	case PluginBridge:
		return bridge{s}, nil
	case PluginPTP:
		return ptp{s}, nil
	case PluginLoopback:
		return loopback{s}, nil
	case PluginSBR:
		return sourceRouting{s}, nil
	case PluginBandwidth:
		return shaper{s}, nil
	case PluginBinary:
		return program{s}, nil
	}
	return nil, fmt.Errorf("this agent has no built-in plugin %q: the record is of another release; run the agent that wrote it", m.Plugin)
}

// BuiltIn reports whether no part of an attachment is a program: no member, and no
// member's IPAM.
func BuiltIn(att ledger.Attachment) bool {
	for _, m := range att.Members {
		if m.Plugin == PluginBinary || ipamIsProgram(m.IPAM) {
			return false
		}
	}
	return true
}

func ipamIsProgram(ipamType string) bool {
	switch ipamType {
	case "", "host-local", "static", "fairlead":
		return false
	}
	return true
}
