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

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// PAINS 12 (cni#349, cni#126, dp#685): whatever happens between ADD and DEL, and
// in whatever order, the VF is on the host afterwards as it was before.
func TestReleaseRestoresTheVF(t *testing.T) {
	tests := []struct {
		name      string
		driver    fakeDriver
		before    func(*fakeKernel)             // before Prepare
		meanwhile func(*fakeKernel, *fakeLink)  // between ADD and DEL; the VF's netdev
		netns     string                        // for Release; default podNS
		want      func(before string) string    // default: as before
		left      func(*testing.T, *fakeKernel) // further assertions
	}{
		{name: "the pod is alive"},
		{name: "the namespace is gone, the VF is net1 on the host", meanwhile: func(k *fakeKernel, _ *fakeLink) { k.endNetns(podNS, 0) }},
		{name: "the same, and the runtime passes no namespace", netns: "-", meanwhile: func(k *fakeKernel, _ *fakeLink) { k.endNetns(podNS, 0) }},
		{name: "the kernel is still cleaning up", meanwhile: func(k *fakeKernel, _ *fakeLink) { k.endNetns(podNS, 30) }},
		{name: "another net1 came home before", meanwhile: func(k *fakeKernel, _ *fakeLink) {
			k.addLink("", link.Link{Name: "net1", MAC: "02:00:00:00:00:99", MTU: 1500})
			k.endNetns(podNS, 0)
		}, want: func(b string) string {
			return b + "  net1 down mtu 1500 02:00:00:00:00:99\n"
		}},
		{name: "the pod renamed it", meanwhile: func(k *fakeKernel, l *fakeLink) {
			delete(k.spaces[podNS].links, l.Name)
			l.Name = "renamed"
			k.spaces[podNS].links["renamed"] = l
		}},
		{name: "the pod renamed it, and a link of its own has its name and MAC", meanwhile: impersonate,
			want: withImpostor},
		{name: "the same on a kernel that tells no parent device (before 5.14)", meanwhile: func(k *fakeKernel, l *fakeLink) {
			impersonate(k, l)
			l.MAC, k.hidesParents = vf0MAC, true
		}, want: withImpostor},
		{name: "the pod changed MAC and MTU", meanwhile: func(_ *fakeKernel, l *fakeLink) {
			l.MAC, l.MTU = "02:00:00:00:00:55", 1300
			l.vf.info.MAC = l.MAC
		}},
		{name: "the pod made it take in every frame", meanwhile: func(_ *fakeKernel, l *fakeLink) { l.Promisc, l.AllMulti = true, true }},
		{name: "the pod did so, and the namespace is gone", meanwhile: func(k *fakeKernel, l *fakeLink) {
			l.Promisc, l.AllMulti = true, true
			k.endNetns(podNS, 0)
		}},
		{name: "the pod undid so", before: func(k *fakeKernel) {
			k.spaces[""].links["eth3"].Promisc, k.spaces[""].links["eth3"].AllMulti = true, true
		}, meanwhile: func(_ *fakeKernel, l *fakeLink) { l.Promisc, l.AllMulti = false, false }},
		{name: "the PF was renamed", meanwhile: func(k *fakeKernel, _ *fakeLink) {
			host := k.spaces[""]
			pf := host.links["eth1"]
			delete(host.links, "eth1")
			pf.Name = "uplink0"
			host.links["uplink0"] = pf
			k.pfs[pfAddr].Netdev = "uplink0"
		}, want: func(b string) string {
			lines := strings.SplitAfter(strings.Replace(b, "eth1 ", "uplink0 ", 1), "\n")
			return lines[0] + lines[2] + lines[1] + lines[3]
		}},
		{name: "its old name is taken", meanwhile: func(k *fakeKernel, _ *fakeLink) {
			k.addLink("", link.Link{Name: "eth3", MAC: "02:00:00:00:00:99", MTU: 1500})
		}, want: func(b string) string {
			return strings.Replace(b, "  eth3 down mtu 1500 "+vf0MAC+"\n",
				"  eth3 down mtu 1500 02:00:00:00:00:99\n  vf001100 down mtu 1500 "+vf0MAC+"\n", 1)
		}},
		{name: "its old name is taken, and the namespace is gone", meanwhile: func(k *fakeKernel, _ *fakeLink) {
			k.addLink("", link.Link{Name: "eth3", MAC: "02:00:00:00:00:99", MTU: 1500})
			k.endNetns(podNS, 0)
		}, want: func(b string) string {
			return strings.Replace(b, "  eth3 down mtu 1500 "+vf0MAC+"\n",
				"  eth3 down mtu 1500 02:00:00:00:00:99\n  vf001100 down mtu 1500 "+vf0MAC+"\n", 1)
		}},
		{name: "it came home as net1, and udev made its old name an altname (cni#445)", meanwhile: func(k *fakeKernel, l *fakeLink) {
			k.endNetns(podNS, 0)
			l.AltNames = []string{"eth3"}
		}},
		{name: "the pod gave it the old name as an altname", meanwhile: func(_ *fakeKernel, l *fakeLink) { l.AltNames = []string{"eth3"} }},
		{name: "the pod gave it the name of a link on the host", meanwhile: func(_ *fakeKernel, l *fakeLink) { l.AltNames = []string{"fast0", "eth1"} }},
		{name: "its altname is what the pod calls it (cni#250)", before: func(k *fakeKernel) { k.spaces[""].links["eth3"].AltNames = []string{"net1"} }},
		{name: "the same, and the namespace is gone", before: func(k *fakeKernel) { k.spaces[""].links["eth3"].AltNames = []string{"net1"} },
			meanwhile: func(k *fakeKernel, _ *fakeLink) { k.endNetns(podNS, 0) }},
		{name: "its altname is the name of another interface of the pod", before: func(k *fakeKernel) {
			k.addLink(podNS, link.Link{Name: "eth0", Kind: "veth"})
			k.spaces[""].links["eth3"].AltNames = []string{"eth0"}
		}},
		{name: "another link has its altname by now", before: func(k *fakeKernel) { k.spaces[""].links["eth3"].AltNames = []string{"net1"} }, meanwhile: func(k *fakeKernel, _ *fakeLink) {
			k.addLink("", link.Link{Name: "net1", MAC: "02:00:00:00:00:99", MTU: 1500})
		}, want: func(b string) string {
			return strings.Replace(b, " altname net1\n", "\n  net1 down mtu 1500 02:00:00:00:00:99\n", 1)
		}},
		{name: "the VF is gone", meanwhile: func(k *fakeKernel, l *fakeLink) {
			delete(k.vfs, vf0Addr)
			delete(k.spaces[podNS].links, l.Name)
		}, want: func(string) string { return "" }},
		{name: "the PF is gone with its VFs", meanwhile: func(k *fakeKernel, l *fakeLink) {
			clear(k.vfs)
			clear(k.pfs)
			delete(k.spaces[podNS].links, l.Name)
			delete(k.spaces[""].links, "eth1")
		}, want: func(string) string { return "" }},
		{name: "the VF was rebound to vfio-pci (dp#685)", meanwhile: func(k *fakeKernel, _ *fakeLink) { k.rebind(vf0Addr, "vfio-pci") }, want: withoutNetdev},
		{name: "the VF lost its driver (dp#685)", meanwhile: func(k *fakeKernel, _ *fakeLink) { k.rebind(vf0Addr, "") }, want: withoutNetdev},
		{name: "the same, and the PF had no MAC for it before", before: func(k *fakeKernel) { k.vfs[vf0Addr].info.MAC = device.NoMAC },
			meanwhile: func(k *fakeKernel, _ *fakeLink) { k.rebind(vf0Addr, "") }, want: withoutNetdev},
		{name: "the VF was up", before: func(k *fakeKernel) { k.spaces[""].links["eth3"].Up = true }},
		{name: "the VF was up, and the namespace is gone", before: func(k *fakeKernel) { k.spaces[""].links["eth3"].Up = true },
			meanwhile: func(k *fakeKernel, _ *fakeLink) { k.endNetns(podNS, 0) }},
		{name: "the PF had set its MAC before", before: func(k *fakeKernel) { k.vfs[vf0Addr].setByPF = true }},
		{name: "the PF had another MAC for it than its own", before: func(k *fakeKernel) { k.vfs[vf0Addr].info.MAC = "02:00:00:00:00:77" }},
		{name: "the PF had none for it", before: func(k *fakeKernel) { k.vfs[vf0Addr].info.MAC = device.NoMAC },
			want: func(b string) string { return strings.Replace(b, "vf 0 "+device.NoMAC, "vf 0 "+vf0MAC, 1) }},
		{name: "the PF had none for it, and does not hear of the VF's", driver: fakeDriver{deafNetdev: true}, before: func(k *fakeKernel) { k.vfs[vf0Addr].info.MAC = device.NoMAC }},
		{name: "a VF whose success means nothing", driver: fakeDriver{deafNetdev: true}},
		{name: "a VF that follows its PF", driver: fakeDriver{followsPF: true}},
		{name: "it had a VLAN, trust and a rate", before: func(k *fakeKernel) {
			i, on := &k.vfs[vf0Addr].info, true
			i.VLAN, i.QoS, i.Trust, i.MaxTxRateMbps = 7, 1, &on, 800
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, tt.driver)
			if tt.before != nil {
				tt.before(k)
			}
			dir := t.TempDir()
			s := k.set(dir)
			before := k.state()
			att := prepared(t, s, "sriov", request(full, vf0Addr))
			if _, err := attacherOf(t, s, "sriov").Bind(context.Background(), env, &att, podNS); err != nil {
				t.Fatal(err)
			}
			att = stored(t, att)
			if tt.meanwhile != nil {
				tt.meanwhile(k, k.vfs[vf0Addr].netdev)
			}
			path := podNS
			if tt.netns == "-" {
				path = ""
			}
			for range 2 { // idempotent
				if err := attacherOf(t, s, att.Members[0].Plugin).Release(context.Background(), env, att, path); err != nil {
					t.Fatal(err)
				}
				want := before
				if tt.want != nil {
					want = tt.want(before)
				}
				if want = strings.Replace(want, "pod:\n", "", 1); want != "" {
					if diff := cmp.Diff(want, strings.Replace(k.state(), "pod:\n", "", 1)); diff != "" {
						t.Error(diff)
					}
				}
				if left := taken(t, dir); len(left) > 0 {
					t.Errorf("addresses leaked: %v", left)
				}
			}
		})
	}
}

func withoutNetdev(before string) string {
	host, _, _ := strings.Cut(before, "  eth3 ")
	return host
}

// The pod may change the MAC, as far as the PF, though its network asked for none.
func TestAMACOfThePodsOwnIsTakenFromThePFOfAReboundVF(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	before := k.state()
	att := prepared(t, s, "sriov", request(plain, vf0Addr))
	a := attacherOf(t, s, "sriov")
	if _, err := a.Bind(context.Background(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	k.vfs[vf0Addr].info.MAC = "02:00:00:00:00:55"
	k.rebind(vf0Addr, "vfio-pci")
	if err := a.Release(context.Background(), env, stored(t, att), podNS); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(withoutNetdev(before), strings.Replace(k.state(), "pod:\n", "", 1)); diff != "" {
		t.Error(diff)
	}
}

// impersonate does as a pod that puts a bridge on its VF.
func impersonate(k *fakeKernel, l *fakeLink) {
	pod := k.spaces[podNS]
	delete(pod.links, l.Name)
	bridge := link.Link{Name: l.Name, Kind: "bridge", MAC: l.MAC, MTU: 1500}
	l.Name, l.MAC = l.Name+"-nic", "02:00:00:00:00:aa"
	pod.links[l.Name] = l
	k.addLink(podNS, bridge)
}

// The same where an ADD was interrupted before the VF's index was on record.
func TestReleaseOfAnInterruptedADDIsNotTakenIn(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	before := k.state()
	att := prepared(t, s, "sriov", request(full, vf0Addr))
	a := attacherOf(t, s, "sriov")
	if _, err := a.Bind(context.Background(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	att.Members[0].VF.Ifindex = 0
	impersonate(k, k.vfs[vf0Addr].netdev)
	if err := a.Release(context.Background(), env, stored(t, att), podNS); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(withImpostor(before), k.state()); diff != "" {
		t.Error(diff)
	}
}

func withImpostor(before string) string {
	return before + "  net1 bridge down mtu 1500 02:00:00:cc:00:01\n"
}

// A failed undo keeps the record and is tried again; what else can be undone is.
func TestReleaseThatFailsAnywhereIsFinishedByTheNext(t *testing.T) {
	for _, gone := range []bool{false, true} {
		t.Run(fmt.Sprintf("namespace gone %t", gone), func(t *testing.T) {
			for call := 1; ; call++ {
				k := newNode(t, igb)
				dir := t.TempDir()
				s := k.set(dir)
				before := k.state()
				att := prepared(t, s, "sriov", request(full, vf0Addr))
				a := attacherOf(t, s, "sriov")
				if _, err := a.Bind(context.Background(), env, &att, podNS); err != nil {
					t.Fatal(err)
				}
				att = stored(t, att)
				l := k.vfs[vf0Addr].netdev
				l.AltNames, l.Promisc, l.AllMulti = []string{"eth3", "fast0"}, true, true // the pod's doing
				if gone {
					k.endNetns(podNS, 0)
					before = strings.Replace(before, "pod:\n", "", 1)
				}
				k.count, k.failCall, k.failErr = 0, call, unix.EIO
				err := a.Release(context.Background(), env, att, podNS)
				if k.count < call {
					return
				}
				if err != nil && !errors.Is(err, unix.EIO) {
					t.Errorf("call %d: error %v hides its cause", call, err)
				}
				if left := taken(t, dir); len(left) > 0 {
					t.Errorf("call %d: the failure kept addresses from being given back: %v", call, left)
				}
				if k.vfs[vf0Addr].netdev.Name == "net1" && k.spaces[""].links["net1"] == nil && err == nil {
					t.Errorf("call %d: the VF is not home, and there is no error", call)
				}
				if err := a.Release(context.Background(), env, att, podNS); err != nil {
					t.Errorf("call %d: the second Release: %v", call, err)
				}
				if diff := cmp.Diff(before, k.state()); diff != "" {
					t.Errorf("call %d: %s", call, diff)
				}
			}
		})
	}
}

// The same with the files of a real sysfs, where the netdev goes and comes.
func TestReleaseFindsTheVFThroughSysfs(t *testing.T) {
	k := newNode(t, igb).withSysfs()
	s := k.set(t.TempDir())
	before := k.state()
	a := attacherOf(t, s, "sriov")
	for _, gone := range []bool{false, true} {
		att := prepared(t, s, "sriov", request(full, vf0Addr))
		if _, err := a.Bind(context.Background(), env, &att, podNS); err != nil {
			t.Fatal(err)
		}
		if gone {
			k.endNetns(podNS, 3)
			before = strings.Replace(before, "pod:\n", "", 1)
		}
		if err := a.Release(context.Background(), env, stored(t, att), podNS); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, k.state()); diff != "" {
			t.Errorf("namespace gone %t: %s", gone, diff)
		}
	}
}

// Records of earlier versions do not have all that is restored now.
func TestReleaseLeavesAloneWhatTheRecordDoesNotKnow(t *testing.T) {
	k := newNode(t, igb)
	l := k.vfs[vf0Addr].netdev
	l.AltNames, l.Promisc, l.AllMulti = []string{"fast0"}, true, true
	s := k.set(t.TempDir())
	before := k.state()
	att := prepared(t, s, "sriov", request(full, vf0Addr))
	a := attacherOf(t, s, "sriov")
	if _, err := a.Bind(context.Background(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	att.Members[0].VF.Original.Netdev = &ledger.NetdevState{Name: "eth3", Promisc: true, AllMulti: true, Multicast: true}
	if err := a.Release(context.Background(), env, stored(t, att), podNS); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, k.state()); diff != "" {
		t.Error(diff)
	}
}

func TestReleaseOfWhatNeverBegan(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	att := prepared(t, s, "sriov", request(full, vf0Addr))
	if err := attacherOf(t, s, "sriov").Release(context.Background(), env, att, podNS); err != nil {
		t.Fatal(err)
	}
	if len(k.calls) > 0 {
		t.Errorf("it changed something: %v", k.calls)
	}
}

func TestReleaseErrors(t *testing.T) {
	tests := []struct {
		name      string
		meanwhile func(*fakeKernel, *fakeLink)
		want      string
	}{
		{"the VF lies in a namespace of the pod's own making", func(k *fakeKernel, l *fakeLink) { delete(k.spaces[podNS].links, l.Name) },
			"neither on the host nor in the pod"},
		{"a process holds the dead namespace", func(k *fakeKernel, _ *fakeLink) { k.endNetns(podNS, 1000) }, "a process still holds the namespace"},
		{"the PF lost its driver", func(k *fakeKernel, _ *fakeLink) { k.pfs[pfAddr].Netdev = "" }, "PF 0000:01:00.0 of VF 0000:01:10.0 has no interface on the host now"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, igb)
			dir := t.TempDir()
			s := k.set(dir)
			att := prepared(t, s, "sriov", request(full, vf0Addr))
			a := attacherOf(t, s, "sriov")
			if _, err := a.Bind(context.Background(), env, &att, podNS); err != nil {
				t.Fatal(err)
			}
			tt.meanwhile(k, k.vfs[vf0Addr].netdev)
			err := a.Release(context.Background(), env, att, podNS)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if left := taken(t, dir); len(left) > 0 {
				t.Errorf("addresses were kept: %v", left)
			}
		})
	}
}

// A record whose conf cannot be read still brings the VF home.
func TestReleaseNeedsNoReadableConf(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	before := k.state()
	att := prepared(t, s, "sriov", request(full, vf0Addr))
	a := attacherOf(t, s, "sriov")
	if _, err := a.Bind(context.Background(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	att.Members[0].Config = json.RawMessage(`{"plugins": []}`)
	if err := a.Release(context.Background(), env, att, podNS); err == nil || !strings.Contains(err.Error(), "cannot be given back") {
		t.Errorf("got %v: the addresses are lost and nobody says so", err)
	}
	if diff := cmp.Diff(before, k.state()); diff != "" {
		t.Error(diff)
	}
}
