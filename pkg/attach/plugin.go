package attach

import (
	"context"
	"encoding/json"

	"github.com/containernetworking/cni/pkg/invoke"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
)

// Plugin makes one member of a network's chain. A Set has those that are built in;
// every other type is the plugin's binary, which is a Plugin too.
type Plugin interface {
	// Prepare validates the config and reads the state that Add will change. It
	// changes nothing: the member that it returns is durable before Add.
	Prepare(ctx context.Context, c Call, conf Conf) (ledger.Member, error)
	// Add makes the member. It records in m whatever Del will need. After an error
	// everything it made is undone; if that failed too, the error says so, and Del
	// tries again.
	Add(ctx context.Context, c Call, m *ledger.Member) (*types100.Result, error)
	// Check compares the member with the node. c.Prev is the chain's result.
	Check(ctx context.Context, c Call, m ledger.Member) error
	// Del undoes whatever part of the member exists, from the record only. It may be
	// called any number of times, and the namespace may be gone. c.Prev is the chain's
	// result, nil if there is no result. After an error the record is still needed; if m's
	// device is as it was nevertheless, Del has set m.DeviceReturned.
	Del(ctx context.Context, c Call, m *ledger.Member) error
}

// Conf is one member's config as it will be recorded: complete, with name,
// cniVersion, device, runtimeConfig and args.
type Conf struct {
	Type    string
	Builtin bool           // false: the binary is asked for
	Fields  network.Object // its keys, for a plugin that reads few of them
	Raw     json.RawMessage
}

// Call names the interface and the sandbox that a plugin works for.
type Call struct {
	SandboxID string
	IfName    string
	Pod       ledger.PodRef
	Network   string
	Primary   bool // the network has the pod's default route
	Netns     ledger.Netns
	CNIArgs   string
	Exec      invoke.Exec // runs plugin binaries on the host
	Path      string      // CNI_PATH

	// Handles are shared by the calls for one sandbox; see Set.Open. A call
	// without them opens its own.
	Handles *Handles
	// NewSandbox says, for Add, that the sandbox has had no ADD before.
	NewSandbox bool

	// For Prepare.
	Resource string
	Device   pci.Address // that the pod gets; zero: none
	Named    bool        // Device is one that the pod or the network names, not one that the kubelet gave
	Uplinks  []string    // host netdevs that a fallback may use, best first
	// Ignored takes a field of the config that has no effect, and the reason. It may be nil.
	Ignored func(field, reason string)

	// Prev is the result of the member before in Add (nil for the first), and the
	// chain's result in Check and Del.
	Prev *types100.Result

	// Order is the interface's place among those of the pod, for Add.
	Order Order

	// Set by the chain runner.
	version string // of the config list; empty: that of the results on record
	inChain bool   // other members follow, which need this one's link at their Del
	program bool   // one of those is a program, which may change the link and not say so
}

// Order keeps a pod's interfaces in the order of its networks, although they are made
// side by side. An interface that is moved in gets its place as a number, Ifindex. One
// that is born in the pod waits for its Turn. Each function may be nil.
type Order struct {
	Ifindex int                         // wanted; 0: the kernel's choice
	Turn    func(context.Context) error // waits until the interfaces before it are there
	Made    func()                      // reports that the interface is there
	// Last waits until the networks before this one are complete: their default
	// routes come first, and programs find complete interfaces.
	Last func(context.Context) error
}

// The names of the built-in plugins, and of the one that runs binaries, in a member's
// record. sriov and vfio have one type, "sriov": the driver of the VF tells them apart.
const (
	PluginSRIOV     = "sriov"
	PluginVFIO      = "vfio"
	PluginMacvlan   = "macvlan"
	PluginIPvlan    = "ipvlan"
	PluginTuning    = "tuning"
	PluginBandwidth = "bandwidth"
	PluginBridge    = "bridge"
	PluginVLAN      = "vlan"
	PluginPTP       = "ptp"
	PluginLoopback  = "loopback"
	PluginSBR       = "sbr"
	// PluginHostDevice is in no record: its members are those of sriov, vfio or a program.
	PluginHostDevice = "host-device"
	PluginBinary     = "binary"
)
