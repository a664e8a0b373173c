package attach

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

// custody logs the questions, and refuses some.
type custody struct {
	asked   []string
	refused map[string]bool
}

func (c *custody) ToAttach(function pci.Address, sandbox string, pod ledger.PodRef, given bool) error {
	return c.answer(fmt.Sprintf("attach %s to %s of %s, given %t", function, sandbox, pod, given))
}

func (c *custody) ToCarry(netdev, sandbox string) error {
	return c.answer(fmt.Sprintf("carry a link of %s on %s", sandbox, netdev))
}

func (c *custody) answer(question string) error {
	c.asked = append(c.asked, question)
	if c.refused[question] {
		return errors.New("another pod has it")
	}
	return nil
}

// meta-cni A1, S12: every member that uses a function or a netdev of the host asks
// for it, programs included.
func TestEveryMemberAsksCustody(t *testing.T) {
	const given, named = "attach 0000:01:10.0 to s1 of ns/p, given true", "attach 0000:01:10.0 to s1 of ns/p, given false"
	tests := []struct {
		name     string
		confs    []string
		device   pci.Address
		pod      bool // it was the pod that named the device
		uplinks  []string
		virtio   string // the device of eth3 on the virtio bus
		question string
	}{
		{name: "a VF that the kubelet gave", confs: []string{plain}, device: vf0Addr, question: given},
		{name: "a VF that the pod names", confs: []string{plain}, device: vf0Addr, pod: true, question: named},
		{name: "a VF that the network names", confs: []string{`{"type": "sriov", "deviceID": "0000:01:10.0"}`}, question: named},
		{name: "a program with deviceID", confs: []string{`{"type": "sriov", "builtin": false, "deviceID": "0000:01:10.0"}`}, question: named},
		{name: "a program with pciBusID, in other letters", confs: []string{`{"type": "host-device", "PCIBUSID": "0000:01:10.0"}`}, question: named},
		{name: "a program with the capability", confs: []string{`{"type": "x", "runtimeConfig": {"deviceID": "0000:01:10.0"}}`}, question: named},
		{name: "a later member that is a program", confs: []string{onEth1, `{"type": "x", "deviceID": "0000:01:10.0"}`}, device: vf0Addr, question: given},
		{name: "host-device by the netdev's name", confs: []string{`{"type": "host-device", "device": "eth3"}`}, question: named},
		{name: "reports 8: host-device with a whole PF that the kubelet gave", confs: []string{`{"type": "host-device", "deviceID": "0000:01:00.0"}`}, device: pfAddr,
			question: "attach 0000:01:00.0 to s1 of ns/p, given true"},
		{name: "reports 9: host-device by the name of a virtio netdev", confs: []string{`{"type": "host-device", "device": "eth3"}`}, virtio: "virtio3", question: named},
		{name: "macvlan", confs: []string{onEth1}, question: "carry a link of s1 on eth1"},
		{name: "ipvlan", confs: []string{`{"type": "ipvlan", "master": "eth1"}`}, question: "carry a link of s1 on eth1"},
		{name: "a fallback", confs: []string{`{"type": "sriov", "fallback": ["macvlan"]}`}, uplinks: []string{"eth1"}, question: "carry a link of s1 on eth1"},
		{name: "the stock macvlan", confs: []string{`{"type": "macvlan", "builtin": false, "master": "eth1"}`}, question: "carry a link of s1 on eth1"},
	}
	for _, tt := range tests {
		for _, refuse := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, refused %t", tt.name, refuse), func(t *testing.T) {
				k := newNode(t, igb)
				if tt.virtio != "" {
					k.virtio = map[pci.Address]string{vf0Addr: tt.virtio}
					k.spaces[""].links["eth3"].ParentDev = tt.virtio
				}
				if tt.device == pfAddr { // one with VFs is not moved
					k.pfs[pfAddr].NumVFs, k.pfs[pfAddr].VFs = 0, nil
				}
				s := k.set(t.TempDir())
				answers := &custody{refused: map[string]bool{tt.question: refuse}}
				s.Custody = answers
				list, err := listOf("", tt.confs...)
				if err != nil {
					t.Fatal(err)
				}
				c := Call{SandboxID: "s1", IfName: "net1", Pod: ledger.PodRef{Namespace: "ns", Name: "p"}, Netns: ledger.Netns{Path: podNS}, Device: tt.device, Named: tt.pod, Uplinks: tt.uplinks}
				att, err := s.Prepare(t.Context(), c, list)
				if refuse != (err != nil) || err != nil && !strings.Contains(err.Error(), "another pod has it") {
					t.Errorf("got %v", err)
				}
				if !strings.Contains(strings.Join(answers.asked, "\n"), tt.question) {
					t.Errorf("asked %q, want %q", answers.asked, tt.question)
				}
				if named := strings.HasSuffix(tt.question, "given false"); err == nil && att.Members[0].Named != named {
					t.Errorf("Named %t", !named)
				}
			})
		}
	}
}

// One that holds a device holds it once, whatever uses it besides.
func TestTheFirstMemberWithADeviceHoldsIt(t *testing.T) {
	c := newChained(t, "1.0.0", plain, `{"type": "rdma", "deviceID": "0000:01:10.0"}`, `{"type": "x", "deviceID": "0000:01:10.2"}`)
	var held []string
	for _, m := range c.att.Members {
		held = append(held, fmt.Sprintf("%s %t", m.Device, m.Named))
	}
	want := []string{"0000:01:10.0 false", pci.Address{}.String() + " false", "0000:01:10.2 true"}
	if diff := cmp.Diff(want, held); diff != "" {
		t.Error(diff)
	}
}

// S5: the id of a device goes into paths below /sys.
func TestDeviceIDsOfPrograms(t *testing.T) {
	for id, ok := range map[string]bool{
		"../../../class/net/eth0/device": false, "0000:01:10.0/../x": false, "..": false, "a..b": false, "": true,
		"mlx5_core.sf.4": true, "0000:01:10.2": true, "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001": true,
	} {
		k := newNode(t, igb)
		list, err := listOf("", `{"type": "x", "deviceID": "`+id+`"}`)
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.set(t.TempDir()).Prepare(t.Context(), Call{Netns: ledger.Netns{Path: podNS}}, list)
		if ok != (err == nil) || err != nil && !strings.Contains(err.Error(), `field "deviceID"`) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// meta-cni A2, S6: a device by which the node itself is reached is no pod's.
func TestAFunctionThatTheHostUsesIsRefused(t *testing.T) {
	tests := []struct {
		name string
		node func(host *space, vf *fakeLink)
		want string
	}{
		{"a port of a bridge", func(_ *space, vf *fakeLink) { vf.Master = 5 }, "as a port of a bridge or bond"},
		{"the node's macvlan on it", func(host *space, vf *fakeLink) {
			host.links["node0"] = &fakeLink{Link: link.Link{Index: 90, Name: "node0", Kind: "macvlan", Parent: vf.Index}}
		}, "below node0"},
		{"the node's VLAN on it", func(host *space, vf *fakeLink) {
			host.links["storage0"] = &fakeLink{Link: link.Link{Index: 90, Name: "storage0", Kind: "vlan", Parent: vf.Index}}
		}, "below storage0"},
		{"a default route", func(_ *space, vf *fakeLink) { vf.routes = []link.Route{{Link: vf.Index, Dst: everything}} }, "for a default route"},
		{"an address", func(_ *space, vf *fakeLink) { vf.addrs = []link.IPAddress{{IPNet: everything}} }, "with the address 0.0.0.0/0"},
		{"nothing", func(*space, *fakeLink) {}, ""},
	}
	for _, tt := range tests {
		for _, conf := range []string{plain, `{"type": "sriov", "deviceID": "0000:01:10.0"}`, `{"type": "host-device", "deviceID": "0000:01:10.0"}`, `{"type": "host-device", "device": "eth3"}`} {
			k := newNode(t, igb)
			host := k.spaces[""]
			tt.node(host, host.links["eth3"])
			s := k.set(t.TempDir())
			s.HostUse = nil // the kernel is asked
			list, err := listOf("", conf)
			if err != nil {
				t.Fatal(err)
			}
			c := Call{SandboxID: "s1", Netns: ledger.Netns{Path: podNS}}
			if conf == plain {
				c.Device = vf0Addr
			}
			_, err = s.Prepare(t.Context(), c, list)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), "the host itself uses interface eth3 of ") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s, %s: %v", tt.name, conf, err)
			}
		}
	}
}

// In passthru mode a pod gets all that arrives at the node.
func TestPassthruOnTheNodesOwnInterfaceIsRefused(t *testing.T) {
	k := newNode(t, igb)
	k.spaces[""].links["eth1"].routes = []link.Route{{Link: k.spaces[""].links["eth1"].Index, Dst: everything}}
	_, err := attacherOf(t, k.set(t.TempDir()), "macvlan").Prepare(t.Context(), request(`{"mode": "passthru"}`, pci.Address{}))
	if err == nil || !strings.Contains(err.Error(), "passthru would take interface eth1 from the host") {
		t.Errorf("got %v", err)
	}
}

// meta-cni A4: another namespace at the path on record is not the pod's.
func TestAnotherNamespaceAtThePathIsLeftAlone(t *testing.T) {
	for _, conf := range []string{onEth1, plain} {
		c := newChained(t, "1.0.0", conf, sbr)
		c.k.spaces[podNS].inode = 7
		c.call.Netns = ledger.Netns{Path: podNS, Inode: 7}
		c.add()
		// The pod ends, and another one's namespace gets its path.
		c.k.endNetns(podNS, 0)
		c.k.addSpace(podNS)
		c.k.spaces[podNS].inode = 8
		c.k.addLink(podNS, link.Link{Name: "net1", Kind: "macvlan", Group: linkGroup, MAC: "02:00:00:00:00:01"})
		if err := c.del(); err != nil {
			t.Fatal(err)
		}
		if c.k.spaces[podNS].links["net1"] == nil {
			t.Errorf("%s: the other pod's net1 is gone", conf)
		}
		if c.k.spaces[""].links["eth3"] == nil {
			t.Errorf("%s: the VF is not on the host", conf)
		}
		if env := strings.Join(c.exec.environ["DEL sbr"], " "); !strings.Contains(env+" ", "CNI_NETNS= ") {
			t.Errorf("the program was told of the other pod's namespace: %s", env)
		}
	}
}

// A path that leads to the host: nothing is made there, and nothing is undone.
func TestTheHostsOwnNamespaceIsRefused(t *testing.T) {
	c := newChained(t, "1.0.0", onEth1)
	c.call.Netns = ledger.Netns{Path: "/proc/1/ns/net"}
	before := c.k.state()
	if _, err := c.set.Add(t.Context(), c.call, &c.att); !errors.Is(err, ErrHostNetns) {
		t.Errorf("Add: %v", err)
	}
	for i := range c.att.Members {
		c.att.Members[i].Released = false
	}
	c.k.addLink("", link.Link{Name: "net1", Kind: "macvlan", Group: linkGroup})
	if err := c.del(); err != nil {
		t.Errorf("Del: %v", err)
	}
	if err := c.set.DeleteLinks(t.Context(), []ledger.Attachment{c.att, c.att}, c.call.Netns); err != nil {
		t.Errorf("DeleteLinks: %v", err)
	}
	if c.k.spaces[""].links["net1"] == nil {
		t.Error("the host's link is gone")
	}
	delete(c.k.spaces[""].links, "net1")
	if diff := cmp.Diff(before, c.k.state()); diff != "" {
		t.Error(diff)
	}
}

// meta-cni A8, reports 2: a duplicate that detection finds while the ADD goes on
// fails it, and caches of the owner's neighbours are not overwritten.
func TestADuplicateIsFoundAtTheEnd(t *testing.T) {
	const conf = `{"type": "sriov", "ipam": {"type": "static", "addresses": [{"address": "fd00::5/64"}]}}`
	k := newNode(t, igb)
	k.onRead = func(op string) { // DAD fails after the first look
		if vf := k.vfs[vf0Addr].netdev; op == "addresses" && len(vf.addrs) > 0 {
			if k.looks++; k.looks == 2 {
				vf.addrs[0].Duplicate = true
			}
		}
	}
	s := k.set(t.TempDir())
	att := prepared(t, s, "sriov", request(conf, vf0Addr))
	_, err := attacherOf(t, s, "sriov").Bind(t.Context(), env, &att, podNS)
	if err == nil || !strings.Contains(err.Error(), "fd00::5 is a duplicate") || len(k.spaces[podNS].told) > 0 {
		t.Errorf("got %v, and told %v", err, k.spaces[podNS].told)
	}
	k.onRead = nil
	att = prepared(t, s, "sriov", request(conf, vf0Addr))
	if _, err := attacherOf(t, s, "sriov").Bind(t.Context(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"fd00::5 is at " + vf0MAC + ", perhaps"}, k.spaces[podNS].told); diff != "" {
		t.Error(diff)
	}
}
