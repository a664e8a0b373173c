package problem

import "slices"

// Reason is the stable word of a kind of problem. It is the reason of the problem's events, so
// `kubectl get events -A --field-selector reason=PFNoCarrier` finds it on all nodes.
type Reason string

// The reasons of all problems; Kinds has their meanings.
const (
	APIServerUnread      Reason = "APIServerUnread"
	NodeUnknown          Reason = "NodeUnknown"
	ConfigurationRefused Reason = "ConfigurationRefused"
	PoliciesRefused      Reason = "PoliciesRefused"
	CNIConfNotInstalled  Reason = "CNIConfigurationNotInstalled"
	CNIConfRemoved       Reason = "CNIConfigurationRemoved"
	NICsUnread           Reason = "NICsUnread"
	ProfileNotInEffect   Reason = "ProfileNotInEffect"
	PFNoCarrier          Reason = "PFNoCarrier"
	PFRenamed            Reason = "PFRenamed"
	PoolSelectsNothing   Reason = "PoolSelectsNothing"
	PoolOverlaps         Reason = "PoolOverlaps"
	PoolUnsupported      Reason = "PoolUnsupported"
	PoolNotRegistered    Reason = "PoolNotRegistered"
	DeviceNodeMissing    Reason = "DeviceNodeMissing"
	VFNotHandedOut       Reason = "VFNotHandedOut"
	VFNotRepaired        Reason = "VFNotRepaired"
	VFOfPodLost          Reason = "VFOfPodLost"
	VFHeldWithoutGrant   Reason = "VFHeldWithoutGrant"
	ReleaseFailed        Reason = "ReleaseFailed"
)

// Kind describes a Reason.
type Kind struct {
	Reason Reason
	Means  string
	// NoEvent says why the node gets no event of this kind. Empty: it gets one.
	NoEvent string
}

var kinds = [...]Kind{
	{Reason: APIServerUnread, Means: "objects of the API server cannot be read; the last content stays in effect"},
	{Reason: NodeUnknown, Means: "the API server has no node of this name",
		NoEvent: "there is no node to write the event about"},
	{Reason: ConfigurationRefused, Means: "a profile or the device plugin's ConfigMap is invalid; the last valid one stays in effect"},
	{Reason: PoliciesRefused, Means: "an attachment policy is invalid; the last valid ones stay in effect, or no network is attached"},
	{Reason: CNIConfNotInstalled, Means: "pods may start without their networks"},
	{Reason: CNIConfRemoved, Means: "other software takes Fairlead's CNI configuration away"},
	{Reason: NICsUnread, Means: "the NICs could not be read, so profiles are not applied"},
	{Reason: ProfileNotInEffect, Means: "a step of a profile is blocked or has failed, or two profiles conflict"},
	{Reason: PFNoCarrier, Means: "a PF is down, or has no carrier, and pods or pools depend on it"},
	{Reason: PFRenamed, Means: "a pool selects a PF by the name that it had before"},
	{Reason: PoolSelectsNothing, Means: "no function fits a selector of a pool"},
	{Reason: PoolOverlaps, Means: "two pools select the same VFs; the first has them"},
	{Reason: PoolUnsupported, Means: "a pool asks for something that Fairlead does not hand out"},
	{Reason: PoolNotRegistered, Means: "the kubelet does not know a resource"},
	{Reason: DeviceNodeMissing, Means: "a pool promises a device node that the host does not have"},
	{Reason: VFNotHandedOut, Means: "VFs of a pool are withheld: the host or somebody else uses them, or they are unfit"},
	{Reason: VFNotRepaired, Means: "a VF may have settings of an earlier pod"},
	{Reason: VFOfPodLost, Means: "a running pod has lost its VF"},
	{Reason: VFHeldWithoutGrant, Means: "a pod has a VF that the kubelet no longer counts as the pod's"},
	{Reason: ReleaseFailed, Means: "the networks of a pod that is gone could not be released yet"},
}

// Kinds lists all kinds of problems.
func Kinds() []Kind { return slices.Clone(kinds[:]) }

// silent reports whether the node gets no event.
func (r Reason) silent() bool {
	return slices.ContainsFunc(kinds[:], func(k Kind) bool { return k.Reason == r && k.NoEvent != "" })
}
