package network

import (
	"encoding/json"
	"net"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
)

// StatusEntry is one entry of the network-status document: the usual fields, and
// one more if the attachment is a declared fallback.
type StatusEntry struct {
	nadv1.NetworkStatus
	Fallback *FallbackStatus `json:"fallback,omitempty"`
}

// FallbackStatus says why an interface is not of the kind that the network declares first.
type FallbackStatus struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Reason string `json:"reason"`
}

// Attached is one attachment that has been made.
type Attached struct {
	Network    string // namespace/name; for the primary the conf's name
	IfName     string
	Primary    bool
	Result     *types100.Result // nil: only the other fields are known
	DeviceInfo *nadv1.DeviceInfo
	MTU        int // if the result has no MTU
	Fallback   *FallbackStatus
	Behind     []string // families (Family) in which the pod's default route is another network's
}

// Family names the family of an address.
func Family(ipv4 bool) string {
	if ipv4 {
		return "IPv4"
	}
	return "IPv6"
}

// BuildStatus is the document for the annotation StatusAnnotation. An attachment
// has one entry for each interface that lies in the sandbox, and one without an
// interface of the sandbox if it made no interface (a VF for a userspace driver).
func BuildStatus(attached []Attached) (json.RawMessage, error) {
	entries := []StatusEntry{}
	for _, a := range attached {
		entries = append(entries, statusEntries(a)...)
	}
	return json.Marshal(entries)
}

func statusEntries(a Attached) []StatusEntry {
	var entries []StatusEntry
	if a.Result != nil {
		for i, iface := range a.Result.Interfaces {
			// Only interfaces inside the pod have a Sandbox.
			if iface.Sandbox != "" {
				entries = append(entries, interfaceEntry(a, i, iface))
			}
		}
	}
	if len(entries) == 0 {
		entries = append(entries, bareEntry(a))
	}
	// Addresses that name no interface, or one on the host, belong to the whole attachment: its
	// first entry shows them.
	if a.Result != nil {
		for _, ip := range a.Result.IPs {
			if !pointsIntoSandbox(a.Result, ip) {
				addIP(&entries[0], ip)
			}
		}
	}
	addGateways(entries, a)
	if i := slices.IndexFunc(entries, func(e StatusEntry) bool { return len(e.Gateway) > 0 }); a.Primary {
		entries[max(i, 0)].Default = true
	}
	return entries
}

// addGateways lists the gateways of the attachment's default routes, as the network
// plumbing group's own client does (meta-cni C2). An attachment whose routes come after
// those of the primary has no gateway in that family.
func addGateways(entries []StatusEntry, a Attached) {
	if a.Result == nil {
		return
	}
	for _, r := range a.Result.Routes {
		ones, _ := r.Dst.Mask.Size()
		ipv4 := r.Dst.IP.To4() != nil
		if ones != 0 || r.Table != nil && *r.Table != 0 && *r.Table != 254 || slices.Contains(a.Behind, Family(ipv4)) {
			continue
		}
		gw, at := gatewayOf(a.Result, r, ipv4)
		if gw == nil || gw.IsUnspecified() {
			continue
		}
		e := &entries[0]
		for i := range entries {
			if at != "" && entries[i].Interface == at {
				e = &entries[i]
			}
		}
		if !slices.Contains(e.Gateway, gw.String()) {
			e.Gateway = append(e.Gateway, gw.String())
		}
	}
}

// gatewayOf returns the gateway of a default route, and the interface whose network it is
// in, if the result says so. A route without a gateway has that of the first address.
func gatewayOf(result *types100.Result, r *types.Route, ipv4 bool) (gw net.IP, ifName string) {
	gw = r.GW
	for _, ip := range result.IPs {
		if (ip.Address.IP.To4() != nil) != ipv4 {
			continue
		}
		if gw == nil {
			gw = ip.Gateway
		}
		if gw != nil && ip.Address.Contains(gw) && pointsIntoSandbox(result, ip) {
			return gw, result.Interfaces[*ip.Interface].Name
		}
	}
	return gw, ""
}

func interfaceEntry(a Attached, index int, iface *types100.Interface) StatusEntry {
	e := bareEntry(a)
	e.Interface, e.Mac = iface.Name, strings.ToLower(iface.Mac)
	if iface.Mtu > 0 {
		e.Mtu = iface.Mtu
	}
	for _, ip := range a.Result.IPs {
		if ip.Interface != nil && *ip.Interface == index {
			addIP(&e, ip)
		}
	}
	return e
}

func bareEntry(a Attached) StatusEntry {
	e := StatusEntry{Fallback: a.Fallback}
	e.Name, e.Interface, e.Mtu, e.DeviceInfo = a.Network, a.IfName, a.MTU, a.DeviceInfo
	if a.Result != nil {
		d := a.Result.DNS
		e.DNS = nadv1.DNS{Nameservers: d.Nameservers, Domain: d.Domain, Search: d.Search, Options: d.Options}
	}
	return e
}

func addIP(e *StatusEntry, ip *types100.IPConfig) {
	e.IPs = append(e.IPs, ip.Address.IP.String())
}

func pointsIntoSandbox(r *types100.Result, ip *types100.IPConfig) bool {
	i := ip.Interface
	return i != nil && *i >= 0 && *i < len(r.Interfaces) && r.Interfaces[*i].Sandbox != ""
}
