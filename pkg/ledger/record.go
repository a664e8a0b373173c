package ledger

import (
	"encoding/json"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// PodRef says which pod a sandbox belongs to.
type PodRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
}

// String is namespace/name, as users write it.
func (p PodRef) String() string { return p.Namespace + "/" + p.Name }

// Sandbox is the record of one pod sandbox, with all attachments that were made or begun.
// It is written before the first change of the node, and removed only when every
// attachment has been released.
type Sandbox struct {
	ID          string       `json:"id"`     // the runtime's container id
	IfName      string       `json:"ifName"` // of the primary network, usually eth0
	Pod         PodRef       `json:"pod"`
	Netns       Netns        `json:"netns"`
	Path        string       `json:"path,omitempty"` // CNI_PATH: the directories of the plugins that made it
	Created     time.Time    `json:"created"`
	Attachments []Attachment `json:"attachments"` // in attach order; the primary is first
	// Releasing is set when DEL, or the roll back of a failed ADD, has begun. From then on
	// the sandbox can only be released.
	Releasing bool `json:"releasing,omitempty"`
	// EarlierBoot means that the node has rebooted since (see Ledger.Boot). The sandbox no
	// longer runs, and does not hold the VFs that it names.
	EarlierBoot bool `json:"earlierBoot,omitempty"`
	// Annotation is the fingerprint of the networks annotation that the attachments follow;
	// empty: not known, and later annotations are not followed.
	Annotation string `json:"annotation,omitempty"`
	// Previous means that another meta-plugin made the sandbox. Its files are removed when
	// the sandbox is released.
	Previous bool `json:"previous,omitempty"`
	// Failure is the last error of a release that will be retried. Attempts counts the
	// failures.
	Failure  string    `json:"failure,omitempty"`
	Attempts int       `json:"attempts,omitempty"`
	RetryAt  time.Time `json:"retryAt,omitzero"`
	// Status is the network-status document that is not yet on the pod.
	Status json.RawMessage `json:"status,omitempty"`
}

// Netns identifies a network namespace. Paths are reused, and inode numbers are reused
// after a reboot, so path, inode and boot must all match.
type Netns struct {
	Path   string `json:"path"`             // as the runtime gave it
	Device uint64 `json:"device,omitempty"` // of the nsfs file; 0: not known (format 1)
	Inode  uint64 `json:"inode,omitempty"`  // likewise
	Boot   string `json:"boot,omitempty"`   // the kernel's boot id; empty: not known
}

// Phase is how far an attachment has come.
type Phase string

// An attachment goes Intent → Bound → Released, or Intent → Released.
const (
	Intent   Phase = "intent"   // may be made in part: a release follows the record
	Bound    Phase = "bound"    // complete, Result is valid
	Released Phase = "released" // every undo has succeeded
)

// Attachment is one network in one sandbox. Its fields are enough for a release without
// the API server, the namespace, and the network's present config.
type Attachment struct {
	Network      string          `json:"network"` // namespace/name of the net-attach-def; the conf's name for the primary
	IfName       string          `json:"ifName"`
	Phase        Phase           `json:"phase"`
	CNIVersion   string          `json:"cniVersion"` // of the config list
	DisableCheck bool            `json:"disableCheck,omitempty"`
	DisableGC    bool            `json:"disableGC,omitempty"`
	CNIArgs      string          `json:"cniArgs,omitempty"`    // the CNI_ARGS value for this attachment
	Resource     string          `json:"resource,omitempty"`   // extended resource that backs it
	DeviceInfo   string          `json:"deviceInfo,omitempty"` // path of the CNI device-info file
	Members      []Member        `json:"members"`              // the chain, in the order of ADD
	Result       json.RawMessage `json:"result,omitempty"`     // the chain's CNI result, in ResultVersion
	// Fallback is set if the first member is a declared fallback.
	Fallback *Fallback `json:"fallback,omitempty"`
	// Selected means that the pod's annotation chose the network: it may be removed again
	// while the pod runs.
	Selected bool `json:"selected,omitempty"`
	// Hotplug is set while the attachment is added to a running pod, or removed from it. If
	// that is interrupted, the attachment is released, and the pod keeps the others.
	Hotplug Hotplug `json:"hotplug,omitempty"`
	// Behind lists the families ("IPv4", "IPv6") in which the primary has kept the pod's
	// default route. The attachment's own comes after it.
	Behind []string `json:"behind,omitempty"`
}

// Hotplug is a change of a running pod that is under way.
type Hotplug string

// The changes of a running pod.
const (
	Plugging   Hotplug = "plugging"
	Unplugging Hotplug = "unplugging"
)

// ResultVersion is the CNI version of the results on record.
const ResultVersion = "1.0.0"

// Fallback explains why an attachment is not of the kind that was asked for.
type Fallback struct {
	From   string `json:"from"` // the plugin that was asked for
	Reason string `json:"reason"`
}

// Member is one plugin of an attachment's chain, with the state that it has made. Of the
// typed states (VF, Child and so on), at most the one of Plugin is set.
type Member struct {
	Type     string          `json:"type"`               // as the config names it: "sriov"
	Plugin   string          `json:"plugin"`             // the implementation: "sriov", "vfio", "macvlan", "bridge" …, or "binary" for a program
	Config   json.RawMessage `json:"config"`             // complete, with name, cniVersion, device, runtimeConfig, args; without prevResult
	IPAM     string          `json:"ipam,omitempty"`     // type of the IPAM that holds addresses for it
	Released bool            `json:"released,omitempty"` // its Del has succeeded, so a retry skips it
	Device   pci.Address     `json:"device,omitzero"`    // the function that it holds; may be zero
	// Named means that the pod or the network named Device. The kubelet did not give it to
	// the pod.
	Named bool `json:"named,omitempty"`
	// DeviceReturned means that Device is restored and free again, although the member is
	// not yet released.
	DeviceReturned bool `json:"deviceReturned,omitempty"`

	VF     *VFMember     `json:"vf,omitempty"`     // sriov, vfio
	Child  *ChildMember  `json:"child,omitempty"`  // macvlan, ipvlan, vlan
	Tuning *TuningMember `json:"tuning,omitempty"` // tuning
	// Loopback is set for loopback. sbr has no state: its rules are found by the addresses.
	Loopback  *LoopbackMember  `json:"loopback,omitempty"`
	Bandwidth *BandwidthMember `json:"bandwidth,omitempty"`
	Veth      *VethMember      `json:"veth,omitempty"` // bridge, ptp
}

// VFMember is the state of a VF that a member has configured.
type VFMember struct {
	Original VFState         `json:"original"`
	Asked    device.Settings `json:"asked"` // fields without a value were not asked for
	// Assumed names the knobs that the driver does not report. Original has the kernel's
	// defaults for them.
	Assumed []string `json:"assumed,omitempty"`
	Ifindex int      `json:"ifindex,omitempty"` // in the pod's namespace; 0: not there yet
}

// ChildMember is a link that was made for the pod on a host netdev.
type ChildMember struct {
	Uplink   string `json:"uplink"`             // host netdev below the pod's link; see InPod
	Mode     string `json:"mode"`               // as the kernel names it: bridge, l2 …
	QueueLen uint32 `json:"queueLen,omitempty"` // of a macvlan's broadcasts; 0: the kernel's default
	MAC      string `json:"mac,omitempty"`      // asked for; empty: the kernel's choice
	MTU      int    `json:"mtu,omitempty"`      // asked for; 0: the uplink's
	VLAN     int    `json:"vlan,omitempty"`     // id of the link itself, or of the VLAN link below it
	// VLANLink is a host VLAN netdev that was made for pods of this network. Its last user
	// removes it.
	VLANLink string `json:"vlanLink,omitempty"`
	Ifindex  int    `json:"ifindex,omitempty"` // in the pod's namespace; 0: not there yet
	// InPod means that Uplink is an interface of the pod itself. It is empty, until ADD, if
	// that is to be the one of the pod's default route.
	InPod bool `json:"inPod,omitempty"`
	// Fallback is set if the link stands in for a VF. The attachment has a copy.
	Fallback *Fallback `json:"fallback,omitempty"`
	// OtherKinds are the declared fallbacks after this one. If the kernel does not have
	// this kind, ADD makes the next.
	OtherKinds []string `json:"otherKinds,omitempty"`
}

// VethMember is a pair of links, one in the pod and one on the host.
type VethMember struct {
	Host    string `json:"host"`              // name of the host's end, chosen before it is made
	Bridge  string `json:"bridge,omitempty"`  // host bridge whose port that end is; empty: of none
	MAC     string `json:"mac,omitempty"`     // of the pod's end, asked for; empty: the kernel's choice
	MTU     int    `json:"mtu,omitempty"`     // of both ends, asked for; 0: the kernel's choice
	Ifindex int    `json:"ifindex,omitempty"` // of the pod's end, in the pod's namespace; 0: not there yet
}

// BandwidthMember names the host link by which packets from the pod take a detour. It is
// chosen before it is made, and made only if those packets are limited.
type BandwidthMember struct {
	IFB string `json:"ifb"`
}

// LoopbackMember is the state of the pod's loopback interface before.
type LoopbackMember struct {
	WasUp bool `json:"wasUp,omitempty"`
}

// TuningMember has the settings that tuning was asked for, and the pod's original values,
// which it restores.
type TuningMember struct {
	Asked    TuningSettings `json:"asked"`
	Original TuningSettings `json:"original"` // of the settings in Asked
}

// TuningSettings are settings of an interface and of its namespace. Empty and nil
// fields were not asked for.
type TuningSettings struct {
	Sysctls  map[string]string `json:"sysctls,omitempty"` // by name with slashes: net/ipv4/conf/net1/arp_notify
	MAC      string            `json:"mac,omitempty"`
	MTU      int               `json:"mtu,omitempty"`
	TxQLen   *int              `json:"txQLen,omitempty"`
	Promisc  *bool             `json:"promisc,omitempty"`
	AllMulti *bool             `json:"allMulti,omitempty"`
}

// VFState is the state of a VF before ADD, which DEL restores. A nil field means that the
// driver does not report it, or that ADD does not change it.
type VFState struct {
	PF     pci.Address `json:"pf,omitzero"`
	PFName string      `json:"pfName,omitempty"`
	Index  int         `json:"index"`
	device.Settings
	Netdev *NetdevState `json:"netdev,omitempty"` // nil: a userspace driver has it
}

// NetdevState has the settings of a netdev that a pod can change.
type NetdevState struct {
	Name      string   `json:"name"`
	AltNames  []string `json:"altNames,omitzero"` // nil: not known
	Alias     string   `json:"alias,omitempty"`
	Up        bool     `json:"up,omitempty"`
	Promisc   bool     `json:"promisc,omitempty"`
	AllMulti  bool     `json:"allMulti,omitempty"`
	NoARP     bool     `json:"noARP,omitempty"`
	Multicast bool     `json:"multicast,omitempty"`
	Group     uint32   `json:"group,omitempty"`
	TxQLen    int      `json:"txQLen,omitempty"`
	// Limits of segmentation offload, in bytes and segments; 0: not known.
	GSOMaxSize     int `json:"gsoMaxSize,omitempty"`
	GSOMaxSegs     int `json:"gsoMaxSegs,omitempty"`
	GROMaxSize     int `json:"groMaxSize,omitempty"`
	GSOIPv4MaxSize int `json:"gsoIPv4MaxSize,omitempty"`
	GROIPv4MaxSize int `json:"groIPv4MaxSize,omitempty"`
	// Features are the ethtool features that were on, by the kernel's names; nil: not known.
	Features []string `json:"features,omitzero"`
}

// Allocation is a device that the kubelet got for a container.
type Allocation struct {
	Resource string      `json:"resource"`
	Device   pci.Address `json:"device"`
	At       time.Time   `json:"at"`
	Netdev   string      `json:"netdev,omitempty"` // of the device; empty: a userspace driver has it
}
