package attach

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
)

const vlanOnEth1 = `{"type": "vlan", "master": "eth1", "vlanId": 5, "mtu": 1400, "dns": {"domain": "x"}, ` + hostLocal + `}`

func TestVLANLinkIsBornComplete(t *testing.T) {
	k := newNode(t, igb)
	dir := t.TempDir()
	s := k.set(dir)
	before := k.state()
	c, att, err := chainCall(t, s, vlanOnEth1)
	if err != nil {
		t.Fatal(err)
	}
	result, err := s.Add(t.Context(), c, &att)
	if err != nil {
		t.Fatal(err)
	}
	want := "host: add vlan net1 on eth1\npod: address 10.1.0.2/24\npod: up\npod: route 10.9.0.0/16 via 10.1.0.1"
	if diff := cmp.Diff(want, strings.Join(k.calls, "\n")); diff != "" {
		t.Error(diff)
	}
	want = `{"cniVersion":"1.1.0","dns":{"domain":"x"},"interfaces":[{"mac":"52:54:00:00:00:01","mtu":1400,"name":"net1","sandbox":"/run/netns/pod"}],` +
		`"ips":[{"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":0}],"routes":[{"dst":"10.9.0.0/16"}]}`
	if diff := cmp.Diff(want, asJSON(t, result)); diff != "" {
		t.Error(diff)
	}
	l := k.spaces[podNS].links["net1"]
	if l.VLAN != 5 || l.Group != linkGroup {
		t.Errorf("got %+v", l.Link)
	}
	att.Result = []byte(asJSON(t, result))
	if err := s.Check(t.Context(), c, att); err != nil {
		t.Error(err)
	}
	l.VLAN = 6
	if err := s.Check(t.Context(), c, att); err == nil || !strings.Contains(err.Error(), "has VLAN 6, not 5") {
		t.Errorf("another VLAN: %v", err)
	}
	for range 2 {
		again := stored(t, att)
		if err := s.Del(t.Context(), c, &again); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(before, k.state()); diff != "" {
		t.Error(diff)
	}
	if left := taken(t, dir); len(left) > 0 {
		t.Errorf("addresses leaked: %v", left)
	}
}

// A VLAN link ends with its master, and is made again: the VLAN is on record.
func TestLostVLANLinkIsMadeAgain(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	c, att, err := chainCall(t, s, vlanOnEth1)
	if err != nil {
		t.Fatal(err)
	}
	result, err := s.Add(t.Context(), c, &att)
	if err != nil {
		t.Fatal(err)
	}
	att.Result = []byte(asJSON(t, result))
	before := k.state()
	k.remove(podNS, "net1")
	if lost, err := NewMender(s).Lost(c, att); !lost || err != nil {
		t.Errorf("%t, %v", lost, err)
	}
	if err := NewMender(s).Remake(t.Context(), c, &att); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, k.state()); diff != "" || k.spaces[podNS].links["net1"].VLAN != 5 {
		t.Error(diff)
	}
}

func TestVLANConfsThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		conf, want string
		node       func(k *fakeKernel)
	}{
		{`"vlanId": 5`, `field "master": it is not set`, nil},
		{`"master": "eth9", "vlanId": 5`, `field "master": this node has no interface "eth9"`, nil},
		{`"master": "eth1", "vlanId": 4095`, `field "vlanId": 4095 is no VLAN`, nil},
		{`"master": "eth1", "vlanId": "5"`, `field "vlanId" cannot be a string`, nil},
		{`"master": "eth1", "vlanId": 5, "mtu": 9001`, `field "mtu": 9001 is above the MTU of eth1, 9000`, nil},
		{`"master": "lo", "vlanId": 5`, `loopback`, nil},
		{`"master": "cali1", "vlanId": 5`, `it is a veth`, func(k *fakeKernel) { k.addLink("", link.Link{Name: "cali1", Kind: "veth", MTU: 1500}) }},
		{`"master": "port", "vlanId": 5`, `it is a port`, func(k *fakeKernel) { k.addLink("", link.Link{Name: "port", Master: 7, MTU: 1500}) }},
	} {
		k := newNode(t, igb)
		if tt.node != nil {
			tt.node(k)
		}
		_, _, err := chainCall(t, k.set(t.TempDir()), `{"type": "vlan", `+tt.conf+`}`)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.conf, err, tt.want)
		}
	}
}

// A NIC has one link for each VLAN id. The error tells that from a name that is taken, and
// names no other pod.
func TestVLANInUse(t *testing.T) {
	for _, taken := range []bool{false, true} {
		k := newNode(t, igb)
		s := k.set(t.TempDir())
		c, att, err := chainCall(t, s, vlanOnEth1)
		if err != nil {
			t.Fatal(err)
		}
		want := "VLAN 5 of eth1 is in use"
		if k.failAdd = unix.EEXIST; taken {
			want = "the pod has an interface net1 already"
			k.addLink(podNS, link.Link{Name: "net1", Kind: "veth"})
		}
		before := k.state()
		_, err = s.Add(t.Context(), c, &att)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if taken != errors.Is(err, link.ErrExists) {
			t.Errorf("got %v", err)
		}
		if diff := cmp.Diff(before, k.state()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestVLANInThePodIsTheProgram(t *testing.T) {
	_, att, err := chainCall(t, newNode(t, igb).set(t.TempDir()), `{"type": "vlan", "master": "net0", "vlanId": 5, "linkInContainer": true}`)
	if err != nil || att.Members[0].Plugin != PluginBinary {
		t.Errorf("%v, %+v", err, att.Members)
	}
}
