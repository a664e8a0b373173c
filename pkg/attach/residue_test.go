package attach

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

// tenant changes a VF in every way that a pod with NET_ADMIN can.
func tenant(_ *fakeKernel, l *fakeLink) {
	l.XDP, l.NoARP, l.Multicast, l.Promisc, l.AllMulti = true, true, false, true, true
	l.Group, l.TxQLen, l.GSOMaxSize, l.Alias = 77, 7, 4096, "tenant A was here"
	l.AltNames = []string{"a", "b"}
	l.features = []string{"rx-all", "tx-tcp-segmentation"}
}

// meta-cni A3, S9: a VF comes back as new, whatever the pod did to it, and however the
// pod ended.
func TestTheNextTenantFindsNothingOfTheLast(t *testing.T) {
	for _, conf := range []string{plain, full} {
		for _, gone := range []bool{false, true} {
			k := newNode(t, igb)
			vf := k.vfs[vf0Addr].netdev
			vf.Alias, vf.Up = "uplink of rack 7", true // the administrator's stays
			s := k.set(t.TempDir())
			before := k.state()
			att := prepared(t, s, "sriov", request(conf, vf0Addr))
			a := attacherOf(t, s, "sriov")
			if _, err := a.Bind(t.Context(), env, &att, podNS); err != nil {
				t.Fatal(err)
			}
			tenant(k, vf)
			if gone {
				k.endNetns(podNS, 1)
				before = strings.Replace(before, "pod:\n", "", 1)
			}
			for range 2 {
				if err := a.Release(t.Context(), env, stored(t, att), podNS); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(before, k.state()); diff != "" {
					t.Errorf("namespace gone %t: %s", gone, diff)
				}
			}
		}
	}
}

// Every call fails once; the next Del finishes.
func TestResidueWhoseRemovalFailsAnywhereIsRemovedByTheNextDEL(t *testing.T) {
	for call := 1; ; call++ {
		k := newNode(t, igb)
		s := k.set(t.TempDir())
		before := k.state()
		att := prepared(t, s, "sriov", request(plain, vf0Addr))
		a := attacherOf(t, s, "sriov")
		if _, err := a.Bind(t.Context(), env, &att, podNS); err != nil {
			t.Fatal(err)
		}
		tenant(k, k.vfs[vf0Addr].netdev)
		k.count, k.failCall, k.failErr = 0, call, unix.EIO
		err := a.Release(t.Context(), env, att, podNS)
		if k.count < call {
			return
		}
		if err == nil {
			if diff := cmp.Diff(before, k.state()); diff != "" {
				t.Errorf("call %d: no error, and left %s", call, diff)
			}
		}
		if err := a.Release(t.Context(), env, att, podNS); err != nil {
			t.Errorf("call %d: the second Del: %v", call, err)
		}
		if diff := cmp.Diff(before, k.state()); diff != "" {
			t.Errorf("call %d: %s", call, diff)
		}
	}
}

// rebinder gives a VF a new netdev.
type rebinder struct {
	*fakeKernel
	rebound int
	err     error
}

func (r *rebinder) Rebind(addr pci.Address) error {
	if r.rebound++; r.err != nil {
		return r.err
	}
	vf, host := r.vfs[addr], r.spaces[""]
	old := vf.netdev
	delete(host.links, old.Name)
	r.pending = append(r.pending, func() { // udev and the kernel take a moment
		vf.netdev = r.addLink("", link.Link{Name: "eth9", Type: "ether", MAC: "02:99:99:99:99:99", MTU: 1500, MaxMTU: 9216, ParentDev: addr.String(), Multicast: true, TxQLen: 1000, GSOMaxSize: 65536})
		vf.netdev.vf, vf.netdev.features = vf, []string{"rx-checksum", "tx-tcp-segmentation"}
	})
	return nil
}

func TestAVFIsReboundIfSomethingIsLeft(t *testing.T) {
	tests := []struct {
		name    string
		driver  fakeDriver
		policy  ResetPolicy
		clean   bool // the pod left nothing
		err     error
		rebound int
		want    string // of the error
	}{
		{name: "everything could be restored"},
		{name: "a program that a bpf_link holds", driver: fakeDriver{holdsXDP: true}, rebound: 1},
		{name: "features that the driver keeps", driver: fakeDriver{keepsFeatures: true}, rebound: 1},
		{name: "features that come back with the VLAN's end", driver: fakeDriver{vlanCosts: true}, clean: true},
		{name: "always, as the policy says", policy: ResetRebind, clean: true, rebound: 1},
		{name: "the driver refuses", driver: fakeDriver{holdsXDP: true}, err: errInjected, rebound: 1, want: "rebind VF 0000:01:10.0: injected"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, tt.driver)
			s := k.set(t.TempDir())
			r := &rebinder{fakeKernel: k, err: tt.err}
			s.Rebinder, s.Reset = r, func(pci.Address) ResetPolicy { return tt.policy }
			before := k.state()
			att := prepared(t, s, "sriov", request(full, vf0Addr))
			a := attacherOf(t, s, "sriov")
			if _, err := a.Bind(t.Context(), env, &att, podNS); err != nil {
				t.Fatal(err)
			}
			if !tt.clean {
				tenant(k, k.vfs[vf0Addr].netdev)
			}
			err := a.Release(t.Context(), env, stored(t, att), podNS)
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if r.rebound != tt.rebound {
				t.Errorf("rebound %d times, want %d", r.rebound, tt.rebound)
			}
			if diff := cmp.Diff(before, k.state()); diff != "" && tt.want == "" {
				t.Error(diff)
			}
		})
	}
}

// Without anybody to rebind it, a VF with a program on it is not given to the next pod.
func TestAVFWithAProgramIsNotReturned(t *testing.T) {
	k := newNode(t, fakeDriver{holdsXDP: true})
	s := k.set(t.TempDir())
	att := prepared(t, s, "sriov", request(plain, vf0Addr))
	if _, err := attacherOf(t, s, "sriov").Bind(t.Context(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	k.vfs[vf0Addr].netdev.XDP = true
	err := s.Del(t.Context(), env.call(podNS), &att)
	if !errors.Is(err, unix.EBUSY) || att.Members[0].DeviceReturned || att.Members[0].Released {
		t.Errorf("got %v; returned %t, released %t", err, att.Members[0].DeviceReturned, att.Members[0].Released)
	}
}

// S8: as many altnames as the kernel takes cost a DEL no look-up each.
func TestManyAltnamesAreRemovedAtOnce(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	before := k.state()
	att := prepared(t, s, "sriov", request(plain, vf0Addr))
	a := attacherOf(t, s, "sriov")
	if _, err := a.Bind(t.Context(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	for i := range 496 {
		k.vfs[vf0Addr].netdev.AltNames = append(k.vfs[vf0Addr].netdev.AltNames, fmt.Sprintf("%0127d", i))
	}
	k.messages, k.calls = 0, nil
	if err := a.Release(t.Context(), env, att, podNS); err != nil {
		t.Fatal(err)
	}
	if len(k.calls) < 2 || !strings.HasPrefix(k.calls[0], "pod: delete altnames") || k.calls[1] != "pod: move to host as eth3" {
		t.Error("the host's namespace had names of the pod's choice")
	}
	if diff := cmp.Diff(before, k.state()); diff != "" {
		t.Error(diff)
	}
	if k.messages > 15 {
		t.Errorf("DEL took %d messages", k.messages)
	}
}

// meta-cni A7: a setting that the driver does not report is the default again.
func TestSettingsThatTheDriverDoesNotReport(t *testing.T) {
	k := newNode(t, fakeDriver{mute: true})
	s := k.set(t.TempDir())
	before := k.state()
	att := prepared(t, s, "sriov", request(full, vf0Addr))
	a := attacherOf(t, s, "sriov")
	if _, err := a.Bind(t.Context(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	if info := k.vfs[vf0Addr].info; !*info.Trust || *info.SpoofCheck {
		t.Error("trust and spoof check were not set")
	}
	if err := a.Release(t.Context(), env, stored(t, att), podNS); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, k.state()); diff != "" {
		t.Error(diff)
	}
}

// Such a setting is written even if it is the kernel's default.
func TestADefaultThatTheDriverDoesNotReportIsSet(t *testing.T) {
	k := newNode(t, fakeDriver{mute: true})
	off, on := false, true
	k.vfs[vf0Addr].info.SpoofCheck, k.vfs[vf0Addr].info.Trust = &off, &on // by the administrator
	s := k.set(t.TempDir())
	att := prepared(t, s, "sriov", request(`{"type": "sriov", "spoofchk": "on", "trust": "off"}`, vf0Addr))
	if _, err := attacherOf(t, s, "sriov").Bind(t.Context(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	if info := k.vfs[vf0Addr].info; !*info.SpoofCheck || *info.Trust {
		t.Errorf("spoof check %t, trust %t", *info.SpoofCheck, *info.Trust)
	}
}
