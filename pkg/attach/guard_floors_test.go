package attach

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

// prepareOn prepares one network on a node with an uplink of each kind.
func prepareOn(t *testing.T, conf string, change func(k *fakeKernel, s *Set)) error {
	t.Helper()
	k := newNode(t, igb)
	host := k.spaces[""]
	k.addLink("", link.Link{Name: "cali12345678901", Type: "ether", Kind: "veth", MTU: 1500, Up: true})
	k.addLink("", link.Link{Name: "port", Type: "ether", MTU: 1500, Up: true, Master: 77, MAC: "52:54:00:00:00:77"})
	k.addLink("", link.Link{Name: "br0", Type: "ether", Kind: "bridge", MTU: 1500, Up: true})
	k.addLink("", link.Link{Name: "mgmt", AltNames: []string{"enp0s1"}, Type: "ether", MTU: 1500, Up: true, MAC: "52:54:00:00:00:99"})
	host.links["mgmt"].routes = []link.Route{{Link: host.links["mgmt"].Index, Dst: everything, Table: 254}}
	s := k.set(t.TempDir())
	if change != nil {
		change(k, s)
	}
	list, err := listOf("", conf)
	if err != nil {
		t.Fatal(err)
	}
	c := Call{SandboxID: "s1", IfName: "net1", Pod: ledger.PodRef{Namespace: "team-a", Name: "p"}, Network: "team-a/data", Netns: ledger.Netns{Path: podNS}}
	if strings.Contains(conf, `"sriov"`) && !strings.Contains(conf, "fallback") {
		c.Device = vf0Addr
	} else {
		c.Uplinks = []string{"eth1"}
	}
	_, err = s.Prepare(t.Context(), c, list)
	return err
}

// security 2: a net-attach-def cannot name another pod's veth, the loopback interface or a
// port of a bridge as uplink, and no mode or program takes a link that the host uses.
func TestFloorsNeedNoPolicy(t *testing.T) {
	for _, tt := range []struct{ name, conf, want string }{
		{"macvlan on another pod's veth", `{"type": "macvlan", "master": "cali12345678901"}`, "it is a veth"},
		{"passthru on another pod's veth", `{"type": "macvlan", "master": "cali12345678901", "mode": "passthru"}`, "it is a veth"},
		{"ipvlan on another pod's veth", `{"type": "ipvlan", "master": "cali12345678901"}`, "it is a veth"},
		{"a fallback on another pod's veth", `{"type": "sriov", "fallback": ["macvlan"], "uplink": "cali12345678901"}`, "it is a veth"},
		{"the stock macvlan on another pod's veth", `{"type": "macvlan", "builtin": false, "master": "cali12345678901"}`, "it is a veth"},
		{"any program on another pod's veth", `{"type": "vlan", "master": "cali12345678901", "vlanId": 5}`, "it is a veth"},
		{"macvlan on lo", `{"type": "macvlan", "master": "lo"}`, "loopback"},
		{"ipvlan on a port", `{"type": "ipvlan", "master": "port"}`, "it is a port"},
		{"a bridge", `{"type": "macvlan", "master": "br0"}`, ""},
		{"the default route's NIC", `{"type": "macvlan"}`, ""},
		{"passthru, master omitted", `{"type": "macvlan", "mode": "passthru"}`, "passthru would take interface mgmt from the host"},
		{"passthru on the default route's NIC", `{"type": "macvlan", "mode": "passthru", "master": "mgmt"}`, "passthru would take interface mgmt"},
		{"the stock macvlan, passthru, master omitted", `{"type": "macvlan", "builtin": false, "mode": "passthru"}`, "passthru would take interface mgmt"},
		{"the stock macvlan, passthru", `{"type": "macvlan", "builtin": false, "mode": "passthru", "master": "mgmt"}`, "passthru would take interface mgmt"},
		{"an uplink inside the pod", `{"type": "macvlan", "builtin": false, "mode": "passthru", "master": "mgmt", "linkInContainer": true}`, ""},
		{"host-device by name", `{"type": "host-device", "device": "mgmt"}`, "the host itself uses it for a default route"},
		{"host-device by MAC", `{"type": "host-device", "hwaddr": "52:54:00:00:00:99"}`, "the host itself uses it for a default route"},
		{"host-device of another pod's veth", `{"type": "host-device", "device": "cali12345678901"}`, "it is a veth"},
		{"host-device by the directory of virtual devices", `{"type": "host-device", "kernelpath": "/sys/devices/virtual"}`, "loopback"},
		{"host-device by a path around", `{"type": "host-device", "kernelpath": "/sys/devices/../devices/virtual"}`, "shortest form"},
		{"host-device of a free NIC", `{"type": "host-device", "device": "br0"}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := prepareOn(t, tt.conf, nil)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// The default route's NIC counts as used by the host even if the table of uses does not
// know it, as with a route from router advertisements.
func TestPassthruOnTheDefaultRouteIsRefusedWhateverTheUse(t *testing.T) {
	err := prepareOn(t, `{"type": "macvlan", "mode": "passthru"}`, func(_ *fakeKernel, s *Set) {
		s.HostUse = func(string) (string, error) { return "", nil }
	})
	if err == nil || !strings.Contains(err.Error(), "for a default route") {
		t.Errorf("got %v", err)
	}
}

// security 2: the policy of a network is asked about an uplink that its config does not
// name, by all names that the link has.
func TestUnnamedUplinksAreAskedFor(t *testing.T) {
	for conf, want := range map[string]string{
		`{"type": "macvlan"}`:                                       "team-a/data [mgmt enp0s1]",
		`{"type": "ipvlan"}`:                                        "team-a/data [mgmt enp0s1]",
		`{"type": "macvlan", "builtin": false}`:                     "team-a/data [mgmt enp0s1]",
		`{"type": "sriov", "fallback": ["macvlan"]}`:                "team-a/data [eth1]",
		`{"type": "macvlan", "master": "br0"}`:                      "",
		`{"type": "sriov", "fallback": ["ipvlan"], "uplink":"br0"}`: "",
	} {
		asked := ""
		err := prepareOn(t, conf, func(_ *fakeKernel, s *Set) {
			s.MayUseUplink = func(network string, names []string) error {
				asked = fmt.Sprint(network, " ", names)
				return errors.New("the policy says no")
			}
		})
		if asked != want || (err == nil) != (want == "") {
			t.Errorf("%s: asked %q, want %q; error %v", conf, asked, want, err)
		}
	}
}

// security 2: the group of a VF is asked for each VF, whoever wrote the network and
// whatever plugin sets it.
func TestTheGroupOfAVFIsAsked(t *testing.T) {
	for _, conf := range []string{
		`{"type": "sriov", "vlan": 666, "trust": "on"}`,
		`{"type": "sriov", "builtin": false, "deviceID": "0000:01:10.0", "vlan": 666, "trust": "on"}`,
		`{"type": "host-device", "pciBusID": "0000:01:10.0", "vlan": 666, "trust": "on"}`,
	} {
		err := prepareOn(t, conf, func(_ *fakeKernel, s *Set) {
			s.MayHaveVF = func(c Call, vf pci.Address, asked device.Settings) error {
				return fmt.Errorf("%s %s vlan %d trust %t", c.Pod.Namespace, vf, *asked.VLAN, *asked.Trust)
			}
		})
		if err == nil || !strings.Contains(err.Error(), "team-a 0000:01:10.0 vlan 666 trust true") {
			t.Errorf("%s: %v", conf, err)
		}
	}
}
