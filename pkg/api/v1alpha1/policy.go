package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AttachmentPolicy limits the net-attach-defs and pods of some namespaces.
// It is cluster-scoped; the same YAML is read from files and from a ConfigMap. A policy
// lists the allowed things, and refuses the rest.
type AttachmentPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              AttachmentPolicySpec `json:"spec"`
}

// AttachmentPolicySpec is the content of a policy.
type AttachmentPolicySpec struct {
	// Namespaces are globs ("team-*"). The policy named "default" has no namespaces: it is
	// for each namespace that no other policy selects.
	Namespaces []string `json:"namespaces,omitempty"`
	// Priority decides between policies that select the same namespace: the highest wins,
	// and of equal ones the first by name.
	Priority int32 `json:"priority,omitempty"`
	// Networks is for net-attach-defs in these namespaces.
	Networks NetworkRules `json:"networks"`
	// Pods is for the annotations of pods in these namespaces.
	Pods PodRules `json:"pods"`
}

// NetworkRules limit the config of a net-attach-def.
type NetworkRules struct {
	// Plugins are the types of members. sriov, macvlan, ipvlan and tuning are the built-in
	// plugins; "program:sriov" also allows the program. Any other type is both. Unset: these
	// four.
	Plugins []string `json:"plugins,omitempty"`
	// IPAM are the types of ipam. Unset: host-local and static. A network without ipam is
	// always allowed.
	IPAM []string `json:"ipam,omitempty"`
	// Uplinks are globs of the host's interfaces that a network may use, as the config
	// writes them: master, uplink, bridge, device, pciBusID and so on. Unset: no interface.
	Uplinks []string `json:"uplinks,omitempty"`
	// Modes of macvlan and ipvlan. Unset: all except passthru.
	Modes []string `json:"modes,omitempty"`
	// VLANs are ids, "100-199,300"; 0 is untagged. Unset: a network sets no VLAN.
	VLANs string `json:"vlans,omitempty"`
	// Trust "on" lets networks set trust; "off" or unset: only to off.
	Trust string `json:"trust,omitempty"`
	// SpoofChk "off" lets networks end the spoof check; "on" or unset: it stays.
	SpoofChk string `json:"spoofchk,omitempty"`
	// MaxTxRate is the highest rate in Mbit/s that a network may set. Unset: any.
	MaxTxRate *int `json:"maxTxRate,omitempty"`
	// MAC "any" lets networks choose MACs and GUIDs; "none" or unset: they do not.
	MAC string `json:"mac,omitempty"`
	// HostPaths are globs of files and directories of the host in a config, such as
	// dataDir or logFile. Unset: no path.
	HostPaths []string `json:"hostPaths,omitempty"`
}

// PodRules limit the annotations of a pod.
type PodRules struct {
	// NetworksFrom are globs of the namespaces of net-attach-defs; "own" is the pod's.
	// Unset: own.
	NetworksFrom []string `json:"networksFrom,omitempty"`
	// IPs is "none" (unset), "range" (inside the ranges of the network's ipam) or "any".
	IPs string `json:"ips,omitempty"`
	// MAC is "none" (unset) or "any"; it is for infiniband-guid too.
	MAC string `json:"mac,omitempty"`
	// DeviceID is "never" (unset) or "allow".
	DeviceID string `json:"deviceID,omitempty"`
	// PortMappings is "none" (unset) or "any".
	PortMappings string `json:"portMappings,omitempty"`
	// DefaultNetwork is "never" (unset) or "allow".
	DefaultNetwork string `json:"defaultNetwork,omitempty"`
	// CNIArgs are the keys of cni-args, apart from addresses and MACs. Unset: no key.
	CNIArgs []string `json:"cniArgs,omitempty"`
	// MaxNetworks is how many networks a pod may have beside the cluster's. Unset: 32.
	MaxNetworks *int `json:"maxNetworks,omitempty"`
}

// VFAllow limits who may have the VFs of a group, and which settings a network may give
// them, whoever wrote the network. A field that is not set limits nothing.
type VFAllow struct {
	Namespaces []string `json:"namespaces,omitempty"` // globs: namespaces of pods
	VLANs      string   `json:"vlans,omitempty"`      // "100-199"; 0 is untagged
	Trust      []string `json:"trust,omitempty"`      // "on", "off"
	SpoofCheck []string `json:"spoofCheck,omitempty"` // "on", "off"
	MAC        string   `json:"mac,omitempty"`        // "any", "none"
}
