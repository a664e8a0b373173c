package attach

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

// A host-device network is an sriov network without settings: the same calls, the same
// record, and the same release, after which the device is as new.
func TestHostDeviceIsAnSRIOVNetworkWithoutSettings(t *testing.T) {
	run := func(conf string, device pci.Address) (calls, state string) {
		k := newNode(t, igb).withSysfs()
		s := k.set(t.TempDir())
		before := k.state()
		list, err := listOf("", conf)
		if err != nil {
			t.Fatal(err)
		}
		c, _, _ := chainCall(t, s, plain)
		c.Device = device
		att, err := s.Prepare(t.Context(), c, list)
		if err != nil {
			t.Fatalf("%s: %v", conf, err)
		}
		att = stored(t, att)
		if m := att.Members[0]; m.Plugin != PluginSRIOV || m.Device != vf0Addr || m.VF.Original.Netdev.Name != "eth3" {
			t.Errorf("%s: %+v", conf, m)
		}
		result, err := s.Add(t.Context(), c, &att)
		if err != nil {
			t.Fatalf("%s: %v", conf, err)
		}
		att.Result = []byte(asJSON(t, result))
		if err := s.Check(t.Context(), c, att); err != nil {
			t.Errorf("%s: %v", conf, err)
		}
		l := k.spaces[podNS].links["net1"]
		l.Promisc, l.Alias, l.AltNames = true, "mine", []string{"mine"}
		if err := s.Del(t.Context(), c, &att); err != nil {
			t.Errorf("%s: %v", conf, err)
		}
		if diff := cmp.Diff(before, k.state()); diff != "" {
			t.Errorf("%s: %s", conf, diff)
		}
		return strings.Join(k.calls, "\n"), before
	}
	want, _ := run(plain, vf0Addr)
	for _, conf := range []string{
		`{"type": "host-device", "device": "eth3"}`,
		`{"type": "host-device", "pciBusID": "0000:01:10.0"}`,
		`{"type": "host-device", "pciBusID": "01:10.0"}`,
		`{"type": "host-device", "deviceID": "0000:01:10.0"}`,
		`{"type": "host-device", "pciBusID": "0000:01:10.0", "deviceID": "0000:01:10.0"}`,
		`{"type": "host-device", "runtimeConfig": {"deviceID": "0000:01:10.0"}}`,
	} {
		if diff := cmp.Diff(want, first(run(conf, pci.Address{}))); diff != "" {
			t.Errorf("%s: %s", conf, diff)
		}
	}
}

func first(s, _ string) string { return s }

// A VF that a userspace driver has is given without an interface.
func TestHostDeviceForUserspace(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	c, att, err := chainCall(t, s, `{"type": "host-device", "pciBusID": "0000:01:10.2", `+hostLocal+`}`)
	if err != nil {
		t.Fatal(err)
	}
	result, err := s.Add(t.Context(), c, &att)
	if err != nil || att.Members[0].Plugin != PluginVFIO || len(k.calls) > 0 {
		t.Fatalf("%v, plugin %s, calls %s", err, att.Members[0].Plugin, k.calls)
	}
	if len(result.IPs) != 1 || result.Interfaces[0].Name != "net1" {
		t.Errorf("got %s", asJSON(t, result))
	}
	if err := s.Del(t.Context(), c, &att); err != nil {
		t.Error(err)
	}
}

// A PF comes back without a rebind, which would take its VFs away.
func TestAPFIsNotRebound(t *testing.T) {
	k := newNode(t, igb)
	k.pfs[pfAddr].NumVFs, k.pfs[pfAddr].VFs = 0, nil
	k.holdXDP(t)
	s := k.set(t.TempDir())
	rebinds := &rebinding{}
	s.Rebinder = rebinds
	c, att, err := chainCall(t, s, `{"type": "host-device", "device": "eth1"}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(t.Context(), c, &att); err != nil {
		t.Fatal(err)
	}
	k.spaces[podNS].links["net1"].XDP = true
	if err := s.Del(t.Context(), c, &att); err == nil || !strings.Contains(err.Error(), "detach xdp") {
		t.Errorf("got %v", err)
	}
	if len(rebinds.of) > 0 {
		t.Errorf("rebound: %v", rebinds.of)
	}
	if k.spaces[""].links["eth1"] == nil {
		t.Error("the PF is not back")
	}
}

// rebinding records rebinds.
type rebinding struct{ of []pci.Address }

func (r *rebinding) Rebind(addr pci.Address) error {
	r.of = append(r.of, addr)
	return nil
}

// holdXDP has the driver keep XDP programs.
func (k *fakeKernel) holdXDP(testing.TB) { k.driver.holdsXDP = true }

// Devices that are no PCI functions, or that are named in another way, are the program's.
func TestHostDevicesOfTheProgram(t *testing.T) {
	for _, conf := range []string{`"device": "bond7"`, `"hwaddr": "52:54:00:00:00:01"`, `"runtimeConfig": {"deviceID": "mlx5_core.sf.4"}`, `"device": "absent"`} {
		k := newNode(t, igb)
		k.addLink("", link.Link{Name: "bond7", Kind: "bond", MTU: 1500})
		_, att, err := chainCall(t, k.set(t.TempDir()), `{"type": "host-device", `+conf+`}`)
		if err != nil || att.Members[0].Plugin != PluginBinary {
			t.Errorf("%s: %v, %+v", conf, err, att.Members)
		}
	}
}

// A floor, for the program too: the pod would set MAC, VLAN and trust of other pods' VFs.
func TestAPFWithVFsIsNotMoved(t *testing.T) {
	for _, conf := range []string{`"device": "eth1"`, `"pciBusID": "0000:01:00.0"`, `"device": "eth1", "builtin": false`} {
		k := newNode(t, igb).withSysfs()
		_, _, err := chainCall(t, k.set(t.TempDir()), `{"type": "host-device", `+conf+`}`)
		if err == nil || !strings.Contains(err.Error(), "0000:01:00.0 is a PF with 2 VFs") {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

func TestHostDevicesThatAreRefused(t *testing.T) {
	for conf, want := range map[string]string{
		``:                             "names no device",
		`, "pciBusID": "0000:99:00.0"`: "device 0000:99:00.0 is not there",
		`, "pciBusID": 5`:              `field "pciBusID" cannot be a number`,
		`, "pciBusID": "0000:01:10.0"`: "has no driver bound",
	} {
		k := newNode(t, igb)
		k.rebind(vf0Addr, "")
		_, _, err := chainCall(t, k.set(t.TempDir()), `{"type": "host-device"`+conf+`}`)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", conf, err, want)
		}
	}
}
