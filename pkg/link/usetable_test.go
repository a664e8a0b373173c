package link

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// devices C6: every kind of link on top counts, not only those of a list.
func TestUseTableKnowsLinksOnTop(t *testing.T) {
	nic := linkMessage(7, attr(unix.IFLA_IFNAME, "nic0\x00"))
	info := func(kind string, data ...*nl.RtAttr) *nl.RtAttr {
		return nested(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, kind+"\x00"), nested(unix.IFLA_INFO_DATA, data...))
	}
	below := num32(unix.IFLA_LINK, 7)
	tests := []struct {
		name  string
		attrs []*nl.RtAttr
		want  string
	}{
		{"macsec", []*nl.RtAttr{below, info("macsec")}, "7 below top0"},
		{"ipoib", []*nl.RtAttr{below, info("ipoib")}, "7 below top0"},
		{"xfrm", []*nl.RtAttr{below, info("xfrm")}, "7 below top0"},
		{"vlan", []*nl.RtAttr{below, info("vlan", words(nl.IFLA_VLAN_ID, 5))}, "7 below top0"},
		{"ipvtap", []*nl.RtAttr{below, info("ipvtap")}, "7 below top0"},
		{"vxlan", []*nl.RtAttr{info("vxlan", num32(nl.IFLA_VXLAN_LINK, 7))}, "7 below top0"},
		{"other end of a veth", []*nl.RtAttr{below, info("veth")}, ""},
		{"other end of a netkit", []*nl.RtAttr{below, info("netkit")}, ""},
		{"link below in another namespace", []*nl.RtAttr{below, num32(unix.IFLA_LINK_NETNSID, 0), info("macvlan")}, ""},
		{"itself", []*nl.RtAttr{num32(unix.IFLA_LINK, 8), info("ipoib")}, ""},
		{"a port", []*nl.RtAttr{num32(unix.IFLA_MASTER, 7)}, "8 as a port of a bridge or bond"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := &useTable{links: map[int]linkRow{}}
			top := linkMessage(8, append([]*nl.RtAttr{attr(unix.IFLA_IFNAME, "top0\x00")}, tt.attrs...)...)
			for _, msg := range [][]byte{top, nic} {
				if c, err := table.apply(unix.RTM_NEWLINK, msg); err != nil || !c.use {
					t.Errorf("a new link: %+v, %v", c, err)
				}
			}
			if got := useText(table.all()); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if c, err := table.apply(unix.RTM_NEWLINK, top); err != nil || c.use {
				t.Errorf("the same again: %+v, %v", c, err)
			}
			if c, err := table.apply(unix.RTM_DELLINK, top); err != nil || !c.use || len(table.all()) > 0 {
				t.Errorf("gone: %+v, %v, %v", c, err, table.all())
			}
		})
	}
}

// A bridge's port that leaves it is not gone.
func TestUseTableIgnoresNewsOfABridge(t *testing.T) {
	table := &useTable{links: map[int]linkRow{7: {name: "nic0"}}}
	ifi := nl.NewIfInfomsg(unix.AF_BRIDGE)
	ifi.Index = 7
	if c, err := table.apply(unix.RTM_DELLINK, ifi.Serialize()); err != nil || c.use || len(table.links) != 1 {
		t.Errorf("%+v, %v, %v", c, err, table.links)
	}
}

func TestUseTableAsksAgainOnlyForDefaultRoutesThatCount(t *testing.T) {
	tests := []struct {
		name string
		rt   unix.RtMsg
		want bool
	}{
		{"IPv4", unix.RtMsg{Family: unix.AF_INET, Type: unix.RTN_UNICAST}, true},
		{"IPv6", unix.RtMsg{Family: unix.AF_INET6, Type: unix.RTN_UNICAST}, true},
		{"of router advertisements", unix.RtMsg{Family: unix.AF_INET6, Type: unix.RTN_UNICAST, Protocol: unix.RTPROT_RA}, false},
		{"no default route", unix.RtMsg{Family: unix.AF_INET, Type: unix.RTN_UNICAST, Dst_len: 24}, false},
		{"MPLS", unix.RtMsg{Family: unix.AF_MPLS, Type: unix.RTN_UNICAST}, false},
	}
	for _, tt := range tests {
		msg := (&nl.RtMsg{RtMsg: tt.rt}).Serialize()
		if c, err := (&useTable{}).apply(unix.RTM_DELROUTE, msg); err != nil || c.defaults != tt.want {
			t.Errorf("%s: %+v, %v", tt.name, c, err)
		}
	}
}

// Older kernels do not announce that an IPv4 route goes with its source address,
// whatever link has the address.
func TestUseTableAsksAgainWhenASourceAddressGoes(t *testing.T) {
	table := &useTable{links: map[int]linkRow{7: {}, 8: {}}, addresses: map[int][]addressKey{},
		defaults: map[int]struct{}{}, sources: map[netip.Addr]struct{}{}}
	source := string(netip.MustParseAddr("192.0.2.1").AsSlice())
	route := (&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Type: unix.RTN_UNICAST}}).Serialize()
	if err := table.addDefault(message(route, num32(unix.RTA_OIF, 7), attr(unix.RTA_PREFSRC, source))); err != nil {
		t.Fatal(err)
	}
	ifa := nl.NewIfAddrmsg(unix.AF_INET)
	ifa.Index, ifa.Prefixlen, ifa.Flags = 8, 24, unix.IFA_F_PERMANENT
	address := message(ifa.Serialize(), attr(unix.IFA_ADDRESS, source), attr(unix.IFA_LOCAL, source))
	if c, err := table.apply(unix.RTM_NEWADDR, address); err != nil || c != (change{use: true}) {
		t.Errorf("a new address: %+v, %v", c, err)
	}
	if c, err := table.apply(unix.RTM_DELADDR, address); err != nil || c != (change{use: true, defaults: true}) {
		t.Errorf("without it: %+v, %v", c, err)
	}
}

func TestUseSaysTheMostImportantUse(t *testing.T) {
	u := Use{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}
	steps := []struct {
		change func()
		want   string
	}{
		{func() {}, "with the address 192.0.2.1/24"},
		{func() { u.Master = 3 }, "as a port of a bridge or bond"},
		{func() { u.OnTop = []string{"a", "b", "c"} }, "below a, b, c"},
		{func() { u.OnTop = []string{"a", "b", "c", "d", "e"} }, "below a, b, c and 2 more"},
		{func() { u.DefaultRoute = true }, "for a default route"},
	}
	for _, s := range steps {
		if s.change(); u.String() != s.want || !u.Any() {
			t.Errorf("got %q, want %q", u.String(), s.want)
		}
	}
}

func linkMessage(index int32, attrs ...*nl.RtAttr) []byte {
	ifi := nl.NewIfInfomsg(unix.AF_UNSPEC)
	ifi.Index = index
	return message(ifi.Serialize(), attrs...)
}

func useText(uses map[int]Use) string {
	var lines []string
	for _, index := range slices.Sorted(maps.Keys(uses)) {
		lines = append(lines, fmt.Sprint(index, " ", uses[index]))
	}
	return strings.Join(lines, "\n")
}

// devices B11: a list of VFs of more than 64 KiB. Its length, of 16 bits, overflows.
func TestVFListOfMoreThan64KiB(t *testing.T) {
	for _, count := range []int{0, 1, 280, 400, 1024} {
		list := nl.NewRtAttr(unix.IFLA_VFINFO_LIST|unix.NLA_F_NESTED, nil)
		for vf := range count {
			list.AddChild(nested(nl.IFLA_VF_INFO, wholeVF(uint32(vf))...))
		}
		msg := message(nil, num32(unix.IFLA_NUM_VF, uint32(count)), list, num32(unix.IFLA_GROUP, 7))
		vfs, err := vfList(msg)
		if err != nil || len(vfs) != count || vfs == nil {
			t.Errorf("%d VFs in %d KiB: got %d, %v", count, len(msg)>>10, len(vfs), err)
			continue
		}
		for want, raw := range vfs {
			if vf, s, err := parseSettings(raw); err != nil || vf != want || s.Trust == nil {
				t.Fatalf("VF %d of %d: got %d, %+v, %v", want, count, vf, s, err)
			}
		}
		if count == 400 {
			if _, err := vfList(msg[:len(msg)-200]); err == nil {
				t.Error("a list that is cut off was accepted")
			}
		}
	}
	if vfs, err := vfList(message(nil, num32(unix.IFLA_GROUP, 7))); vfs != nil || err != nil {
		t.Errorf("no list: %v, %v", vfs, err)
	}
}

// wholeVF has the attributes that the kernel sends of one VF, as large as they are.
func wholeVF(vf uint32) []*nl.RtAttr {
	return []*nl.RtAttr{
		attr(nl.IFLA_VF_MAC, string((&nl.VfMac{Vf: vf}).Serialize())), nl.NewRtAttr(13, make([]byte, 32)),
		words(nl.IFLA_VF_VLAN, vf, 0, 0), words(nl.IFLA_VF_RATE, vf, 0, 0), words(nl.IFLA_VF_TX_RATE, vf, 0),
		words(nl.IFLA_VF_SPOOFCHK, vf, 1), words(nl.IFLA_VF_LINK_STATE, vf, 0), words(nl.IFLA_VF_RSS_QUERY_EN, vf, 0),
		words(nl.IFLA_VF_TRUST, vf, 0), nested(nl.IFLA_VF_VLAN_LIST, words(nl.IFLA_VF_VLAN_INFO, vf, 0, 0, 0)),
	}
}

// The kernel's own words come with the errno, after the request or only its header.
func TestKernelErrorsHaveTheKernelsWords(t *testing.T) {
	errno := native.AppendUint32(nil, uint32(0xffffffff-unix.EINVAL+1))
	header := native.AppendUint32(nil, unix.SizeofNlMsghdr+5)
	header = append(header, make([]byte, 12)...)
	words := attr(nl.NLMSGERR_ATTR_MSG, "too small\x00").Serialize()
	tests := []struct {
		name    string
		header  unix.NlMsghdr
		payload []byte
		want    string
	}{
		{"acknowledged", unix.NlMsghdr{Type: unix.NLMSG_ERROR}, append(make([]byte, 4), header...), ""},
		{"the end of a dump, old kernel", unix.NlMsghdr{Type: unix.NLMSG_DONE}, nil, ""},
		{"a dump that failed", unix.NlMsghdr{Type: unix.NLMSG_DONE}, errno, "invalid argument"},
		{"header only", unix.NlMsghdr{Type: unix.NLMSG_ERROR, Flags: unix.NLM_F_CAPPED | unix.NLM_F_ACK_TLVS},
			slices.Concat(errno, header, words), "invalid argument: too small"},
		{"whole request", unix.NlMsghdr{Type: unix.NLMSG_ERROR, Flags: unix.NLM_F_ACK_TLVS},
			slices.Concat(errno, header, make([]byte, 8), words), "invalid argument: too small"},
		{"no words", unix.NlMsghdr{Type: unix.NLMSG_ERROR}, slices.Concat(errno, header), "invalid argument"},
	}
	for _, tt := range tests {
		got := ""
		if err := kernelError(tt.header, tt.payload); err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}
