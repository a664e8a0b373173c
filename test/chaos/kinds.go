package main

import "fmt"

// kind is one sort of pod.
type kind struct {
	name     string
	nodes    []int            // numbers of the lab's nodes that can have it
	needs    map[string]int64 // extended resources, without prefix
	networks []wanted
	fails    bool // on purpose: the pod must not become ready
}

// wanted is one network of a pod and the link that the kernel must show for it.
type wanted struct {
	network string
	perNode bool // the network's name ends in the node's number
	ip, mac bool // the pod asks for an address or a MAC of its own
	link    wantedLink
}

// wantedLink describes a link. Zero values are not compared.
type wantedLink struct {
	Kind string // vf, vfio, macvlan, ipvlan or veth
	MTU  int
	At   *vfKnobs // of a VF, at its PF
}

var both = []int{1, 2}

// networks by name, to be combined in kinds.
var (
	onVF = wanted{network: "vf", ip: true, mac: true, link: wantedLink{Kind: "vf", MTU: 9000,
		At: &vfKnobs{VLAN: 100, QoS: 3, Trust: true, MaxTxRateMbps: 200}}}
	onSecond = wanted{network: "vf-second", link: wantedLink{Kind: "vf", MTU: 1500,
		At: &vfKnobs{VLAN: 14, SpoofCheck: true}}}
	onVFIO     = wanted{network: "vfio", mac: true, link: wantedLink{Kind: "vfio", At: &vfKnobs{VLAN: 101, SpoofCheck: true}}}
	onFallback = wanted{network: "fallback", ip: true, mac: true, link: wantedLink{Kind: "macvlan"}}
	onStatic   = wanted{network: "static", ip: true, mac: true, link: wantedLink{Kind: "macvlan"}}
	onMacvlan  = wanted{network: "macvlan", perNode: true, link: wantedLink{Kind: "macvlan"}}
	onTuned    = wanted{network: "tuned", perNode: true, link: wantedLink{Kind: "macvlan", MTU: 1400}}
	onIPVLAN   = wanted{network: "ipvlan", perNode: true, link: wantedLink{Kind: "ipvlan"}}
	onBridge   = wanted{network: "bridge", perNode: true, link: wantedLink{Kind: "veth", MTU: 1400}}
	onPTP      = wanted{network: "ptp", perNode: true, link: wantedLink{Kind: "veth"}}
)

// kinds lists all sorts of pods, those that fail on purpose last.
func kinds() []kind {
	fast, second := map[string]int64{"fast": 1}, map[string]int64{"second": 1}
	return []kind{
		{name: "plain", nodes: both},
		{name: "vf", nodes: both, needs: fast, networks: []wanted{onVF}},
		{name: "second", nodes: []int{1}, needs: second, networks: []wanted{onSecond}},
		{name: "two-vfs", nodes: []int{1}, needs: map[string]int64{"second": 2}, networks: []wanted{onSecond, onSecond}},
		{name: "vfio", nodes: []int{1}, needs: map[string]int64{"dpdk": 1}, networks: []wanted{onVFIO}},
		{name: "fallback", nodes: both, networks: []wanted{onFallback}},
		{name: "static", nodes: both, networks: []wanted{onStatic}},
		{name: "macvlan", nodes: both, networks: []wanted{onMacvlan}},
		{name: "tuned", nodes: both, networks: []wanted{onTuned}},
		{name: "ipvlan", nodes: []int{1}, networks: []wanted{onIPVLAN}},
		{name: "bridge", nodes: both, networks: []wanted{onBridge}},
		{name: "ptp", nodes: both, networks: []wanted{onPTP}},
		{name: "many", nodes: both, needs: fast, networks: []wanted{onMacvlan, onVF, onBridge, onStatic}},
		{name: "bad-vlan", nodes: both, needs: fast, networks: []wanted{{network: "bad-vlan"}}, fails: true},
		{name: "bad-name", nodes: both, networks: []wanted{onMacvlan, {network: "no-such-network"}}, fails: true},
		{name: "bad-device", nodes: []int{1}, networks: []wanted{onSecond}, fails: true},
		{name: "bad-last", nodes: both, needs: fast, networks: []wanted{onVF, {network: "bad-last", perNode: true}}, fails: true},
	}
}

// name returns the network's name on a node.
func (w wanted) name(node int) string {
	if w.perNode {
		return fmt.Sprintf("%s-%d", w.network, node)
	}
	return w.network
}
