package main

import (
	"fmt"
	"slices"
	"strings"
)

// ipLink has the fields of `ip -j -d addr` that count here.
type ipLink struct {
	Index     int      `json:"ifindex"`
	Name      string   `json:"ifname"`
	Parent    string   `json:"link"` // of a macvlan, ipvlan or VLAN, if it is in the same namespace
	Master    string   `json:"master"`
	Flags     []string `json:"flags"`
	MTU       int      `json:"mtu"`
	MAC       string   `json:"address"`
	Queue     int      `json:"txqlen"`
	Group     string   `json:"group"`
	Alias     string   `json:"ifalias"`
	AltNames  []string `json:"altnames"`
	ParentDev string   `json:"parentdev"` // PCI address
	XDP       any      `json:"xdp"`
	GSO       int      `json:"gso_max_size"`
	GRO       int      `json:"gro_max_size"`
	Info      struct {
		Kind string `json:"info_kind"`
		Data struct {
			ID       int    `json:"id"`
			Mode     string `json:"mode"`
			Protocol string `json:"protocol"`
		} `json:"info_data"`
	} `json:"linkinfo"`
	VFs       []vfInfo `json:"vfinfo_list"`
	Addresses []struct {
		Family  string `json:"family"`
		Local   string `json:"local"`
		Prefix  int    `json:"prefixlen"`
		Scope   string `json:"scope"`
		Dynamic bool   `json:"dynamic"`
	} `json:"addr_info"`
}

// vfInfo is a VF as its PF shows it.
type vfInfo struct {
	VF    int    `json:"vf"`
	MAC   string `json:"address"`
	VLANs []struct {
		VLAN     int    `json:"vlan"`
		QoS      int    `json:"qos"`
		Protocol string `json:"protocol"`
	} `json:"vlan_list"`
	SpoofCheck bool   `json:"spoofchk"`
	Trust      bool   `json:"trust"`
	LinkState  string `json:"link-state"`
	QueryRSS   bool   `json:"query_rss_en"`
	Rate       struct {
		MaxTx int `json:"max_tx"`
		MinTx int `json:"min_tx"`
	} `json:"rate"`
}

// vfKnobs are the settings of a VF at its PF.
type vfKnobs struct {
	VLAN, QoS     int
	Trust         bool
	SpoofCheck    bool
	MaxTxRateMbps int
}

func (i vfInfo) knobs() vfKnobs {
	k := vfKnobs{Trust: i.Trust, SpoofCheck: i.SpoofCheck, MaxTxRateMbps: i.Rate.MaxTx}
	if len(i.VLANs) > 0 {
		k.VLAN, k.QoS = i.VLANs[0].VLAN, i.VLANs[0].QoS
	}
	return k
}

func (k vfKnobs) String() string {
	return fmt.Sprintf("vlan %d qos %d trust %t spoofcheck %t max_tx_rate %d", k.VLAN, k.QoS, k.Trust, k.SpoofCheck, k.MaxTxRateMbps)
}

// line describes a VF at its PF, to be compared with a later moment.
func (i vfInfo) line() string {
	protocol := ""
	if len(i.VLANs) > 0 {
		protocol = i.VLANs[0].Protocol
	}
	return fmt.Sprintf("mac %s %s proto %q state %s rss %t min_tx_rate %d", i.MAC, i.knobs(), protocol, i.LinkState, i.QueryRSS, i.Rate.MinTx)
}

// settings are the flags that somebody sets, as opposed to those that a carrier changes.
var settings = []string{"UP", "PROMISC", "ALLMULTI", "NOARP"}

// lines describes a link of the host with its addresses and VFs, a line each. Addresses
// that the kernel makes by itself from router advertisements are left out.
func (l ipLink) lines() []string {
	var flags []string
	for _, f := range l.Flags {
		if slices.Contains(settings, f) {
			flags = append(flags, f)
		}
	}
	slices.Sort(flags)
	altNames := slices.Sorted(slices.Values(l.AltNames))
	out := []string{fmt.Sprintf("link %s kind %q on %q master %q flags %v mtu %d mac %s queue %d group %s alias %q altnames %v pci %q xdp %v gso %d gro %d id %d mode %q",
		l.Name, l.Info.Kind, l.Parent, l.Master, flags, l.MTU, l.MAC, l.Queue, l.Group, l.Alias, altNames, l.ParentDev, l.XDP, l.GSO, l.GRO, l.Info.Data.ID, l.Info.Data.Mode)}
	for _, a := range l.Addresses {
		if !a.Dynamic {
			out = append(out, fmt.Sprintf("address %s %s/%d", l.Name, a.Local, a.Prefix))
		}
	}
	for _, v := range l.VFs {
		out = append(out, fmt.Sprintf("vf %s %d %s", l.Name, v.VF, v.line()))
	}
	return out
}

// addresses returns the addresses of global scope.
func (l ipLink) addresses() []string {
	var out []string
	for _, a := range l.Addresses {
		if a.Scope == "global" {
			out = append(out, a.Local)
		}
	}
	return out
}

// kind names the sort of a link as wantedLink does. A link with a PCI device and no
// other kind is a VF.
func (l ipLink) kind() string {
	if l.Info.Kind == "" && l.ParentDev != "" {
		return "vf"
	}
	return strings.ToLower(l.Info.Kind)
}
