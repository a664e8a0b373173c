package network

import (
	"encoding/json"
	"net"
	"strings"

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
	entries[0].Default = a.Primary
	return entries
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
	if gw := ip.Gateway; gw != nil && !gw.Equal(net.IPv4zero) && !gw.Equal(net.IPv6unspecified) {
		e.Gateway = append(e.Gateway, gw.String())
	}
}

func pointsIntoSandbox(r *types100.Result, ip *types100.IPConfig) bool {
	i := ip.Interface
	return i != nil && *i >= 0 && *i < len(r.Interfaces) && r.Interfaces[*i].Sandbox != ""
}
