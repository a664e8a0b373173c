//go:build root

package link_test

import (
	"errors"
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
)

// A pair is made by one message: names, MTU, MAC, group and bridge are there at once.
func TestVethIsBornComplete(t *testing.T) {
	host, pod := handle(t), handle(t)
	bridge, err := host.Bridges.AddBridge(link.Spec{Name: "br9", MTU: 1400}, host)
	if err != nil || bridge.Kind != "bridge" || bridge.MTU != 1400 {
		t.Fatalf("%+v, %v", bridge, err)
	}
	veth(t, pod, "host9", "peer") // a name of the host's end may be in use in the pod
	pair := link.Pair{Name: "host9", Bridge: bridge.Index, Far: link.Spec{Name: "net1", MTU: 1300, MAC: "02:00:00:00:00:07", Group: 7}}
	near, far, err := host.Bridges.AddVeth(pair, pod)
	if err != nil {
		t.Fatal(err)
	}
	if near.Name != "host9" || !near.Up || near.Master != bridge.Index || near.MTU != 1300 || near.Group != 7 || near.Kind != "veth" {
		t.Errorf("near: %+v", near)
	}
	if far.Name != "net1" || far.Up || far.MAC != "02:00:00:00:00:07" || far.MTU != 1300 || far.Group != 7 || far.Kind != "veth" {
		t.Errorf("far: %+v", far)
	}
	for _, twice := range []link.Pair{{Name: "host9", Far: link.Spec{Name: "net2"}}, {Name: "host8", Far: link.Spec{Name: "net1"}}} {
		if _, _, err := host.Bridges.AddVeth(twice, pod); !errors.Is(err, link.ErrExists) {
			t.Errorf("%+v: %v", twice, err)
		}
	}
	names(t, host, "lo", "br9", "host9")
	for _, hairpin := range []bool{true, false} {
		if err := host.Bridges.SetPort(near.Index, hairpin, !hairpin); err != nil {
			t.Fatal(err)
		}
		if l, err := host.ByIndex(near.Index); err != nil || l.Hairpin != hairpin || l.Isolated == hairpin {
			t.Errorf("hairpin %t: %+v, %v", hairpin, l, err)
		}
	}
	if err := host.Bridges.SetPort(bridge.Index, true, false); err == nil {
		t.Error("a bridge is a port")
	}
	if err := host.Delete(near.Index); err != nil {
		t.Fatal(err)
	}
	names(t, pod, "lo", "host9", "peer")
}

func TestRules(t *testing.T) {
	h := handle(t)
	before, err := h.IP.Rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"10.1.0.5/32", "fd00::5/128"} {
		_, src, _ := net.ParseCIDR(text)
		for _, table := range []int{100, 1000} {
			want := link.Rule{Src: *src, Table: table}
			if err := h.IP.AddRule(want); err != nil {
				t.Fatal(err)
			}
			rules, err := h.IP.Rules()
			if err != nil {
				t.Fatal(err)
			}
			at := slices.IndexFunc(rules, func(r link.Rule) bool { return r.String() == want.String() })
			if at < 0 || rules[at].Priority == 0 {
				t.Fatalf("%s is not among %v", want, rules)
			}
			if err := h.IP.AddRule(rules[at]); !errors.Is(err, link.ErrExists) {
				t.Errorf("twice: %v", err)
			}
			if err := h.IP.DeleteRule(want); err != nil {
				t.Error(err)
			}
			if err := h.IP.DeleteRule(want); !errors.Is(err, link.ErrNotFound) {
				t.Errorf("deleted twice: %v", err)
			}
		}
	}
	if after, err := h.IP.Rules(); err != nil || len(after) != len(before) {
		t.Errorf("%v, %v", after, err)
	}
}

// ReplaceRoute keeps the source and the maker of a route.
func TestReplaceRoute(t *testing.T) {
	host, pod := handle(t), handle(t)
	near, _, err := host.Bridges.AddVeth(link.Pair{Name: "v", Far: link.Spec{Name: "net1"}}, pod)
	if err != nil {
		t.Fatal(err)
	}
	_, dst, _ := net.ParseCIDR("10.2.0.0/16")
	own := net.IPNet{IP: net.IPv4(10, 1, 0, 5).To4(), Mask: net.CIDRMask(24, 32)}
	if err := host.IP.AddAddress(near.Index, link.IPAddress{IPNet: own}); err != nil {
		t.Fatal(err)
	}
	r := link.Route{Link: near.Index, Dst: *dst, Table: 100, Src: own.IP, Protocol: unix.RTPROT_KERNEL, Scope: unix.RT_SCOPE_LINK}
	for range 2 {
		if err := host.IP.ReplaceRoute(r); err != nil {
			t.Fatal(err)
		}
	}
	routes, err := host.IP.Routes(near.Index)
	if err != nil {
		t.Fatal(err)
	}
	routes = slices.DeleteFunc(routes, func(r link.Route) bool { return r.Table != 100 })
	if len(routes) != 1 || !routes[0].Src.Equal(own.IP) || routes[0].Protocol != unix.RTPROT_KERNEL {
		t.Errorf("got %+v", routes)
	}
}
