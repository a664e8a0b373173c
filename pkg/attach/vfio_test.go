package attach

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

func TestVFIOGetsItsKnobsAndReportsItsAddress(t *testing.T) {
	k := newNode(t, igb)
	dir := t.TempDir()
	s := k.set(dir)
	before := k.state()
	att := prepared(t, s, "sriov", request(full, vf1Addr))
	if att.Members[0].Plugin != PluginVFIO {
		t.Errorf("kind %s", att.Members[0].Plugin)
	}
	got, err := attacherOf(t, s, "sriov").Bind(context.Background(), env, &att, podNS)
	if err != nil {
		t.Fatal(err)
	}
	wantCalls := `host: vf 1 vlan 100 qos 3 802.1q mac 02:00:00:cc:00:01 rate 0-50 spoofcheck off trust on`
	if diff := cmp.Diff(wantCalls, strings.Join(k.calls, "\n")); diff != "" {
		t.Error(diff)
	}
	want := `{"cniVersion":"1.1.0",` +
		`"interfaces":[{"mac":"02:00:00:cc:00:01","name":"net1","pciID":"0000:01:10.2","sandbox":"/run/netns/pod"}],` +
		`"ips":[{"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":0}],"routes":[{"dst":"10.9.0.0/16"}]}`
	if diff := cmp.Diff(want, asJSON(t, got)); diff != "" {
		t.Error(diff)
	}
	if err := attacherOf(t, s, "vfio").Check(context.Background(), env, att, podNS); err != nil {
		t.Errorf("Check: %v", err)
	}
	k.endNetns(podNS, 0)
	if err := attacherOf(t, s, "vfio").Release(context.Background(), env, stored(t, att), podNS); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Replace(before, "pod:\n", "", 1), k.state()); diff != "" {
		t.Error(diff)
	}
	if left := taken(t, dir); len(left) > 0 {
		t.Errorf("addresses leaked: %v", left)
	}
}

// cni#121: a VF inside a virtual machine has no PF; it is moved like any device. So are
// whole functions (reports 8 and 9): a PF without VFs, and virtio NICs, whose netdevs
// belong to a device of another bus.
func TestFunctionWithoutAPF(t *testing.T) {
	addr := pci.MustParseAddress("0000:05:00.0")
	with := func(t *testing.T, driver, parent string) *fakeKernel {
		k := newNode(t, igb)
		l := k.addLink("", link.Link{Name: "ens5", Type: "ether", MAC: "02:00:00:00:05:00", MTU: 1500, ParentDev: parent})
		l.vf = &fakeVF{addr: addr, driver: driver, netdev: l}
		k.vfs[addr] = l.vf
		return k
	}
	for name, node := range map[string]func(*testing.T) *fakeKernel{
		"a VF in a virtual machine": func(t *testing.T) *fakeKernel { return with(t, "igbvf", addr.String()) },
		"a PF without VFs": func(t *testing.T) *fakeKernel {
			k := with(t, "igb", addr.String())
			k.pfs[addr] = &device.PF{Address: addr, Driver: "igb", Netdev: "ens5", TotalVFs: 7}
			return k
		},
		"a virtio NIC": func(t *testing.T) *fakeKernel {
			k := with(t, "virtio-pci", "virtio3")
			k.virtio = map[pci.Address]string{addr: "virtio3"}
			return k
		},
	} {
		t.Run(name, func(t *testing.T) { testWithoutAPF(t, node, addr) })
	}
}

func testWithoutAPF(t *testing.T, node func(*testing.T) *fakeKernel, addr pci.Address) {
	t.Run("MAC and MTU are its own", func(t *testing.T) {
		k := node(t)
		s := k.set(t.TempDir())
		before := k.state()
		att := prepared(t, s, "sriov", request(`{"name": "fast", "type": "sriov", "mac": "02:00:00:cc:00:01", "mtu": 1400, "vlan": 0, "vlanQoS": 0, "min_tx_rate": 0, "max_tx_rate": 0}`, addr))
		a := attacherOf(t, s, "sriov")
		if _, err := a.Bind(context.Background(), env, &att, podNS); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("host: mtu 1400\nhost: mac 02:00:00:cc:00:01\nhost: move to pod as net1\npod: up", strings.Join(k.calls, "\n")); diff != "" {
			t.Error(diff)
		}
		if err := a.Check(context.Background(), env, att, podNS); err != nil {
			t.Errorf("Check: %v", err)
		}
		if err := a.Release(context.Background(), env, att, podNS); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, k.state()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("the rest is refused", func(t *testing.T) {
		s := node(t).set(t.TempDir())
		_, err := attacherOf(t, s, "sriov").Prepare(context.Background(), request(strings.Replace(full, `"auto"`, `"enable"`, 1), addr))
		for _, field := range []string{"vlan", "spoofchk", "trust", "link_state", "max_tx_rate", "no PF of 0000:05:00.0 is visible here"} {
			if err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("error %v lacks %s", err, field)
			}
		}
	})
}

// reports 43: networks that spell the kernel's defaults out work on a PF that reports nothing
// about its VFs. Whatever else is asked for is refused, and so are the defaults that keep a pod from
// something.
func TestDefaultsOfAPFThatTellsNothing(t *testing.T) {
	nodes := map[string]func() *fakeKernel{
		"a driver without VF info": func() *fakeKernel { return newNode(t, fakeDriver{noVFInfo: true}) },
		"a PF on vfio-pci": func() *fakeKernel {
			k := newNode(t, igb)
			k.pfs[pfAddr].Netdev, k.pfs[pfAddr].Driver = "", "vfio-pci"
			return k
		},
		"in a virtual machine": func() *fakeKernel {
			k := newNode(t, igb)
			k.vfs[vf0Addr].pf = pci.Address{}
			return k
		},
	}
	for name, node := range nodes {
		for fields, refused := range map[string]string{
			`"vlan": 0, "vlanQoS": 0, "vlanProto": "802.1q", "min_tx_rate": 0, "max_tx_rate": 0, "link_state": "auto"`: "",
			`"vlan": 5`:                 "vlan",
			`"vlan": 0, "trust": "off"`: "trust",
			`"spoofchk": "on"`:          "spoofchk",
			`"max_tx_rate": 1`:          "max_tx_rate",
			`"link_state": "disable"`:   "link_state",
		} {
			t.Run(name+" "+fields, func(t *testing.T) {
				k := node()
				s := k.set(t.TempDir())
				att, err := attacherOf(t, s, "sriov").Prepare(t.Context(), request(`{"name": "fast", "type": "sriov", `+fields+`}`, vf0Addr))
				if refused != "" {
					if err == nil || !strings.Contains(err.Error(), refused) || strings.Contains(err.Error(), `"vlan": `) && refused != "vlan" {
						t.Errorf("got %v, want an error about %s", err, refused)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, err := attacherOf(t, s, "sriov").Bind(t.Context(), env, &att, podNS); err != nil {
					t.Fatal(err)
				}
				for _, call := range k.calls {
					if strings.Contains(call, "vf 0") {
						t.Errorf("the PF got %q", call)
					}
				}
			})
		}
	}
}
