package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

func TestMacvlanAndIPvlanAreBornComplete(t *testing.T) {
	tests := []struct {
		name, kind, conf string
		want             string // calls
		result           string
	}{
		{"macvlan", "macvlan", `{"name": "fast", "type": "macvlan", "master": "eth1", "mode": "private", "mtu": 1400, "mac": "02:00:00:cc:00:01", ` + hostLocal + `}`,
			"host: add macvlan net1 on eth1\npod: address 10.1.0.2/24\npod: up\npod: route 10.9.0.0/16 via 10.1.0.1",
			`{"cniVersion":"1.1.0","interfaces":[{"mac":"02:00:00:cc:00:01","mtu":1400,"name":"net1","sandbox":"/run/netns/pod"}],` +
				`"ips":[{"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":0}],"routes":[{"dst":"10.9.0.0/16"}]}`},
		{"macvlan without addresses, on an altname", "macvlan", `{"name": "fast", "type": "macvlan", "master": "enp1s0"}`,
			"host: add macvlan net1 on eth1\npod: up",
			`{"cniVersion":"1.1.0","interfaces":[{"mac":"a6:00:00:00:00:01","mtu":9000,"name":"net1","sandbox":"/run/netns/pod"}]}`},
		{"macvlan on the default route's interface", "macvlan", `{"name": "fast", "type": "macvlan"}`,
			"host: add macvlan net1 on eth1\npod: up",
			`{"cniVersion":"1.1.0","interfaces":[{"mac":"a6:00:00:00:00:01","mtu":9000,"name":"net1","sandbox":"/run/netns/pod"}]}`},
		{"ipvlan", "ipvlan", `{"name": "fast", "type": "ipvlan", "master": "eth1", "mode": "l3"}`,
			"host: add ipvlan net1 on eth1\npod: up",
			`{"cniVersion":"1.1.0","interfaces":[{"mac":"52:54:00:00:00:01","mtu":9000,"name":"net1","sandbox":"/run/netns/pod"}]}`},
		{"both families", "macvlan", `{"name": "fast", "type": "macvlan", "master": "eth1", "ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}, {"address": "fd00::5/64", "gateway": "fd00::1"}], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "fd01::/64"}, {"dst": "10.8.0.0/16", "gw": "10.1.0.9"}]}}`,
			"host: add macvlan net1 on eth1\npod: address 10.1.0.5/24\npod: address fd00::5/64\npod: up\npod: route 0.0.0.0/0 via 10.1.0.1\npod: route fd01::/64 via fd00::1\npod: route 10.8.0.0/16 via 10.1.0.9",
			`{"cniVersion":"1.1.0","interfaces":[{"mac":"a6:00:00:00:00:01","mtu":9000,"name":"net1","sandbox":"/run/netns/pod"}],` +
				`"ips":[{"address":"10.1.0.5/24","gateway":"10.1.0.1","interface":0},{"address":"fd00::5/64","gateway":"fd00::1","interface":0}],` +
				`"routes":[{"dst":"0.0.0.0/0"},{"dst":"fd01::/64"},{"dst":"10.8.0.0/16","gw":"10.1.0.9"}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, igb)
			uplink := k.spaces[""].links["eth1"]
			uplink.AltNames = []string{"enp1s0"}
			uplink.routes = []link.Route{{Dst: everything}}
			dir := t.TempDir()
			s := k.set(dir)
			before := k.state()
			att := prepared(t, s, tt.kind, request(tt.conf, pci.Address{}))
			a := attacherOf(t, s, tt.kind)
			got, err := a.Bind(context.Background(), env, &att, podNS)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, strings.Join(k.calls, "\n")); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.result, asJSON(t, got)); diff != "" {
				t.Error(diff)
			}
			att.Result = json.RawMessage(asJSON(t, got))
			att = stored(t, att)
			if err := a.Check(context.Background(), env, att, podNS); err != nil {
				t.Errorf("Check: %v", err)
			}
			for range 2 {
				if err := a.Release(context.Background(), env, att, podNS); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(before, k.state()); diff != "" {
				t.Error(diff)
			}
			if left := taken(t, dir); len(left) > 0 {
				t.Errorf("addresses leaked: %v", left)
			}
		})
	}
}

func TestMacvlanWhoseNamespaceIsGoneGivesItsAddressBack(t *testing.T) {
	for _, path := range []string{podNS, ""} {
		k := newNode(t, igb)
		dir := t.TempDir()
		s := k.set(dir)
		att := prepared(t, s, "macvlan", request(`{"name": "fast", "type": "macvlan", "master": "eth1", `+hostLocal+`}`, pci.Address{}))
		a := attacherOf(t, s, "macvlan")
		if _, err := a.Bind(context.Background(), env, &att, podNS); err != nil {
			t.Fatal(err)
		}
		if len(taken(t, dir)) != 1 {
			t.Fatal("no address was given")
		}
		k.endNetns(podNS, 0)
		if err := a.Release(context.Background(), env, att, path); err != nil {
			t.Errorf("namespace %q: %v", path, err)
		}
		if left := taken(t, dir); len(left) > 0 {
			t.Errorf("namespace %q: addresses leaked: %v", path, left)
		}
	}
}

func TestMacvlanThatFailsAnywhereLeavesNoTrace(t *testing.T) {
	for call := 1; ; call++ {
		k := newNode(t, igb)
		dir := t.TempDir()
		s := k.set(dir)
		before := k.state()
		att := prepared(t, s, "macvlan", request(`{"name": "fast", "type": "macvlan", "master": "eth1", `+hostLocal+`}`, pci.Address{}))
		k.count, k.failCall, k.failErr = 0, call, unix.EIO
		_, err := attacherOf(t, s, "macvlan").Bind(context.Background(), env, &att, podNS)
		if k.count < call {
			return
		}
		if !errors.Is(err, unix.EIO) {
			t.Errorf("call %d: got %v", call, err)
		}
		if diff := cmp.Diff(before, k.state()); diff != "" {
			t.Errorf("call %d: %s", call, diff)
		}
		if left := taken(t, dir); len(left) > 0 {
			t.Errorf("call %d: addresses leaked: %v", call, left)
		}
	}
}

func TestChildErrors(t *testing.T) {
	tests := []struct {
		name, kind, conf string
		node             func(*fakeKernel)
		want             string
	}{
		{"a master that is not there", "macvlan", `{"master": "eth9"}`, nil, `field "master": this node has no interface "eth9"; it has eth1, eth3`},
		{"no master and no default route", "ipvlan", `{}`, nil, `field "master" is not set, and this node has no default route`},
		{"MTU above the master's", "macvlan", `{"master": "eth1", "mtu": 9001}`, nil, `field "mtu": 9001 is above the MTU of eth1, 9000`},
		{"MTU above the master's", "ipvlan", `{"master": "eth1", "mtu": 9001}`, nil, `field "mtu": 9001 is above the MTU of eth1, 9000`},
		{"a name that the pod has", "macvlan", `{"master": "eth1"}`, func(k *fakeKernel) { k.addLink(podNS, link.Link{Name: "net1"}) }, "the pod has an interface net1 already"},
		{"an uplink in a bridge", "macvlan", `{"master": "eth1"}`, func(k *fakeKernel) { k.failAdd = unix.EBUSY }, "eth1 takes no macvlan: it is a port of a bridge or bond"},
		{"a kernel without it", "ipvlan", `{"master": "eth1"}`, func(k *fakeKernel) { k.failAdd = unix.EOPNOTSUPP }, "this node's kernel has no ipvlan"},
	}
	for _, tt := range tests {
		t.Run(tt.name+" "+tt.kind, func(t *testing.T) {
			k := newNode(t, igb)
			if tt.node != nil {
				tt.node(k)
			}
			s := k.set(t.TempDir())
			before := k.state()
			a := attacherOf(t, s, tt.kind)
			att, err := a.Prepare(context.Background(), request(tt.conf, pci.Address{}))
			if err == nil {
				_, err = a.Bind(context.Background(), env, &att, podNS)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if diff := cmp.Diff(before, k.state()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Release deletes links of this package only, and no others of the same name.
func TestReleaseSparesForeignInterfaces(t *testing.T) {
	k := newNode(t, igb)
	k.addLink(podNS, link.Link{Name: "net1", Kind: "macvlan", MAC: "02:00:00:00:00:01"})
	before := k.state()
	s := k.set(t.TempDir())
	att := prepared(t, s, "macvlan", request(`{"master": "eth1"}`, pci.Address{}))
	if err := attacherOf(t, s, "macvlan").Release(context.Background(), env, att, podNS); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, k.state()); diff != "" {
		t.Error(diff)
	}
}

func TestAddressesAreWaitedForWhereTheyAreNotOptimistic(t *testing.T) {
	conf := `{"master": "eth1", "ipam": {"type": "static", "addresses": [{"address": "fd00::5/64"}]}}`
	tests := []struct {
		name   string
		settle func(*link.IPAddress)
		want   string
	}{
		{"detection ends well", func(a *link.IPAddress) { a.Tentative = false }, ""},
		{"somebody has it", func(a *link.IPAddress) { a.Duplicate = true }, "address fd00::5 is a duplicate"},
		{"it never ends", func(*link.IPAddress) {}, "address fd00::5 is still tentative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, igb)
			k.noOptimisticDAD = true
			k.pending = []func(){func() {}, func() { tt.settle(&k.spaces[podNS].links["net1"].addrs[0]) }}
			s := k.set(t.TempDir())
			att := prepared(t, s, "macvlan", request(conf, pci.Address{}))
			_, err := attacherOf(t, s, "macvlan").Bind(context.Background(), env, &att, podNS)
			if (tt.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestDeleteLinksTakesAllButVFs(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	var atts []ledger.Attachment
	for i, r := range []Request{request(plain, vf0Addr), request(`{"type": "macvlan", "master": "eth1"}`, pci.Address{}), request(`{"type": "ipvlan", "master": "eth1"}`, pci.Address{})} {
		r.IfName = fmt.Sprintf("net%d", i+1)
		kind := []string{"sriov", "macvlan", "ipvlan"}[i]
		att := prepared(t, s, kind, r)
		if _, err := attacherOf(t, s, kind).Bind(context.Background(), env, &att, podNS); err != nil {
			t.Fatal(err)
		}
		atts = append(atts, att)
	}
	if err := s.DeleteLinks(context.Background(), atts, ledger.Netns{Path: podNS}); err != nil {
		t.Fatal(err)
	}
	want := "pod:\n  net1 up mtu 1500 " + vf0MAC + "\n"
	if _, pod, _ := strings.Cut(k.state(), "pod:"); "pod:"+pod != want {
		t.Errorf("left: pod:%s", pod)
	}
	for _, path := range []string{"", "/run/netns/none"} {
		if err := s.DeleteLinks(context.Background(), atts, ledger.Netns{Path: path}); err != nil {
			t.Errorf("namespace %q: %v", path, err)
		}
	}
}

func TestFallbackSaysWhichAndWhy(t *testing.T) {
	tests := []struct {
		name, conf string
		uplinks    []string
		node       func(*fakeKernel)
		calls      string
		kind       string
		reason     string
	}{
		{"the first kind on the first uplink", `"fallback": ["macvlan", "ipvlan"]`, []string{"eth1", "eth0"}, nil,
			"host: add macvlan net1 on eth1\npod: up", "macvlan", "the pod holds no device of fairlead.dev/fast"},
		{"the conf's uplink", `"fallback": ["ipvlan"], "uplink": "eth1"`, []string{"eth0"}, nil, "host: add ipvlan net1 on eth1\npod: up", "ipvlan",
			"the pod holds no device of fairlead.dev/fast"},
		{"with VLAN, MTU and MAC", `"fallback": ["macvlan"], "vlan": 100, "mtu": 9000, "mac": "02:00:00:cc:00:01", "trust": "on"`, []string{"eth1"}, nil,
			"host: add vlan eth1.100 on eth1\nhost: up\nhost: add macvlan net1 on eth1.100\npod: up", "macvlan", "the pod holds no device of fairlead.dev/fast"},
		{"on a VLAN link of the administrator's", `"fallback": ["macvlan"], "vlan": 100`, []string{"eth1"}, func(k *fakeKernel) {
			k.addLink("", link.Link{Name: "storage", Kind: "vlan", VLAN: 100, Parent: k.spaces[""].links["eth1"].Index, MTU: 9000, Up: true})
		}, "host: add macvlan net1 on storage\npod: up", "macvlan", "the pod holds no device of fairlead.dev/fast"},
		{"an uplink that is down, one that is missing", `"fallback": ["macvlan"]`, []string{"eth8", "eth3", "eth1"}, nil, "host: add macvlan net1 on eth1\npod: up", "macvlan",
			"the pod holds no device of fairlead.dev/fast; macvlan on eth8: no such interface; macvlan on eth3: the interface is down"},
		{"ipvlan cannot have a MAC", `"fallback": ["ipvlan", "macvlan"], "mac": "02:00:00:cc:00:01"`, []string{"eth1"}, nil, "host: add macvlan net1 on eth1\npod: up", "macvlan",
			"the pod holds no device of fairlead.dev/fast; ipvlan on eth1: ipvlan cannot have a MAC of its own, and 02:00:00:cc:00:01 is asked for"},
		{"the kernel turns out to have no macvlan", `"fallback": ["macvlan", "ipvlan"]`, []string{"eth1"}, func(k *fakeKernel) { k.failKind = "macvlan" },
			"host: add macvlan net1 on eth1\nhost: add ipvlan net1 on eth1\npod: up", "ipvlan",
			"the pod holds no device of fairlead.dev/fast; macvlan on eth1: this node's kernel has no macvlan (module missing?): add fake: operation not supported"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, igb)
			if tt.node != nil {
				tt.node(k)
			}
			s := k.set(t.TempDir())
			s.VLANLinkUsers = func(string, string, string) (int, error) { return 0, nil }
			before := k.state()
			r := request(`{"name": "fast", "type": "sriov", `+tt.conf+`}`, pci.Address{})
			r.Uplinks = tt.uplinks
			att := prepared(t, s, "sriov", r)
			a := attacherOf(t, s, "sriov")
			if _, err := a.Bind(context.Background(), env, &att, podNS); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.calls, strings.Join(k.calls, "\n")); diff != "" {
				t.Error(diff)
			}
			if att.Members[0].Plugin != tt.kind || att.Fallback.From != "sriov" {
				t.Errorf("kind %s from %s", att.Members[0].Plugin, att.Fallback.From)
			}
			if diff := cmp.Diff(tt.reason, att.Fallback.Reason); diff != "" {
				t.Error(diff)
			}
			att = stored(t, att)
			if err := attacherOf(t, s, att.Members[0].Plugin).Check(context.Background(), env, att, podNS); err != nil {
				t.Errorf("Check: %v", err)
			}
			if err := attacherOf(t, s, att.Members[0].Plugin).Release(context.Background(), env, att, podNS); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, k.state()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNoDeviceAndNoFallback(t *testing.T) {
	tests := []struct {
		name, conf string
		uplinks    []string
		want       string
	}{
		{"none declared", ``, []string{"eth1"}, `the pod holds no device of fairlead.dev/fast, and the network declares no fallback; request the resource`},
		{"no uplink", `, "fallback": ["macvlan"]`, nil, `has no uplink on this node; set "uplink"`},
		{"none possible", `, "fallback": ["macvlan"], "mtu": 9100`, []string{"eth1"}, `no fallback of the network is possible here: macvlan on eth1: field "mtu": 9100 is above`},
		{"a trunk", `, "fallback": ["macvlan"], "vlanTrunk": [{"id": 5}]`, []string{"eth1"}, `VLAN trunks are not there`},
		{"802.1ad", `, "fallback": ["macvlan"], "vlan": 5, "vlanProto": "802.1ad"`, []string{"eth1"}, `802.1ad tags are there with VFs only`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, igb)
			r := request(`{"name": "fast", "type": "sriov"`+tt.conf+`}`, pci.Address{})
			r.Uplinks = tt.uplinks
			_, err := attacherOf(t, k.set(t.TempDir()), "sriov").Prepare(context.Background(), r)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
