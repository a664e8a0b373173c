package attach

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

func TestBindGivesTheVFEverythingThatIsAsked(t *testing.T) {
	k := newNode(t, igb).withSysfs()
	s := k.set(t.TempDir())
	before := k.state()
	att := prepared(t, s, "sriov", request(full, vf0Addr))
	if diff := cmp.Diff(before, k.state()); diff != "" || len(k.calls) > 0 {
		t.Errorf("Prepare changed something: %s %v", diff, k.calls)
	}
	got, err := attacherOf(t, s, "sriov").Bind(context.Background(), env, &att, podNS)
	if err != nil {
		t.Fatal(err)
	}
	wantCalls := `host: mtu 9000
host: mac 02:00:00:cc:00:01
host: vf 0 vlan 100 qos 3 802.1q mac 02:00:00:cc:00:01 rate 0-50 spoofcheck off trust on
host: move to pod as net1
pod: up
pod: address 10.1.0.2/24
pod: route 10.9.0.0/16 via 10.1.0.1`
	if diff := cmp.Diff(wantCalls, strings.Join(k.calls, "\n")); diff != "" {
		t.Error(diff)
	}
	wantState := `host:
  eth1 up mtu 9000 52:54:00:00:00:01 vf 0 02:00:00:cc:00:01 vlan 100 qos 3 802.1q rate 0-50 spoofcheck off trust on link auto vf 1 12:e4:44:69:48:2b vlan 0 qos 0 802.1q rate 0-0 spoofcheck on trust off link auto
pod:
  net1 up mtu 9000 02:00:00:cc:00:01 10.1.0.2/24 route 10.9.0.0/16 via 10.1.0.1
`
	if diff := cmp.Diff(wantState, k.state()); diff != "" {
		t.Error(diff)
	}
	wantResult := `{"cniVersion":"1.1.0",` +
		`"interfaces":[{"mac":"02:00:00:cc:00:01","mtu":9000,"name":"net1","pciID":"0000:01:10.0","sandbox":"/run/netns/pod"}],` +
		`"ips":[{"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":0}],"routes":[{"dst":"10.9.0.0/16"}]}`
	if diff := cmp.Diff(wantResult, asJSON(t, got)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"10.1.0.2 is at 02:00:00:cc:00:01"}, k.spaces[podNS].told); diff != "" {
		t.Errorf("announced: %s", diff)
	}
	wantSysctls := map[string]string{"ipv4/conf/net1/arp_notify": "1", "ipv6/conf/net1/ndisc_notify": "1", "ipv6/conf/net1/optimistic_dad": "1", "ipv6/conf/net1/ra_defrtr_metric": "2048"}
	if diff := cmp.Diff(wantSysctls, k.spaces[podNS].sysctls); diff != "" {
		t.Error(diff)
	}
}

func TestBindTouchesNothingThatIsNotAsked(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	att := prepared(t, s, "sriov", request(plain, vf0Addr))
	if _, err := attacherOf(t, s, "sriov").Bind(context.Background(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("host: move to pod as net1\npod: up", strings.Join(k.calls, "\n")); diff != "" {
		t.Error(diff)
	}
}

// igb refuses a VF its MAC in the usual order of calls, and some VFs say success
// and mean nothing; whatever the VF went through before, it ends with its MAC.
func TestMACReachesTheVFWhateverHappenedToItBefore(t *testing.T) {
	tests := []struct {
		name   string
		driver fakeDriver
		before func(*fakeVF)
		calls  string
	}{
		{"a fresh VF", igb, func(*fakeVF) {}, "mac M, vf 0 mac M"},
		{"the PF had set a MAC before", igb, func(vf *fakeVF) { vf.setByPF = true }, "mac M, vf 0 mac 0, mac M, vf 0 mac M"},
		{"the VF says success and the PF does not know", fakeDriver{deafNetdev: true}, func(*fakeVF) {}, "mac M, vf 0 mac M"},
		{"the netdev follows the PF, after a reset", fakeDriver{followsPF: true}, func(*fakeVF) {},
			"mac M, vf 0 mac 0, mac M, vf 0 mac M, mac M, vf 0 mac M"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, tt.driver)
			tt.before(k.vfs[vf0Addr])
			s := k.set(t.TempDir())
			att := prepared(t, s, "sriov", request(`{"name": "fast", "type": "sriov", "mac": "02:00:00:cc:00:01"}`, vf0Addr))
			if _, err := attacherOf(t, s, "sriov").Bind(context.Background(), env, &att, podNS); err != nil {
				t.Fatal(err)
			}
			vf := k.vfs[vf0Addr]
			if vf.info.MAC != "02:00:00:cc:00:01" || vf.netdev.MAC != "02:00:00:cc:00:01" {
				t.Errorf("PF has %s, netdev %s", vf.info.MAC, vf.netdev.MAC)
			}
			var macs []string
			for _, c := range k.calls {
				if c = strings.TrimPrefix(c, "host: "); strings.Contains(c, "mac ") {
					macs = append(macs, strings.NewReplacer("02:00:00:cc:00:01", "M", device.NoMAC, "0").Replace(c))
				}
			}
			if diff := cmp.Diff(tt.calls, strings.Join(macs, ", ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// cni#115, cni#119, cni#212: an ADD that fails half-way leaves no trace, wherever
// it fails. Every single call to the kernel fails once, reads included.
func TestBindThatFailsAnywhereLeavesNoTrace(t *testing.T) {
	for _, tt := range []struct {
		name string
		conf string
		vf   pci.Address
		prep func(*fakeKernel)
		// least is how many calls can fail an Add. The PF's one message cannot: if it
		// fails, the knobs are set one by one.
		least int
	}{
		{"kernel VF", full, vf0Addr, func(k *fakeKernel) { k.spaces[""].links["eth3"].Up = true }, 8},
		{"kernel VF after an earlier pod", full, vf0Addr, func(k *fakeKernel) { k.vfs[vf0Addr].setByPF = true }, 8},
		{"kernel VF whose altnames are in the way", full, vf0Addr, func(k *fakeKernel) {
			k.addLink(podNS, link.Link{Name: "eth0", Kind: "veth"})
			k.spaces[""].links["eth3"].AltNames = []string{"net1", "eth0"}
		}, 8},
		{"vfio", strings.Replace(full, `"mtu": 9000, `, "", 1), vf1Addr, func(*fakeKernel) {}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			failures := 0
			for call := 1; ; call++ {
				k := newNode(t, igb)
				tt.prep(k)
				dir := t.TempDir()
				s := k.set(dir)
				before := k.state()
				att := prepared(t, s, "sriov", request(tt.conf, tt.vf))
				k.count, k.failCall, k.failErr = 0, call, unix.EIO
				_, err := attacherOf(t, s, "sriov").Bind(context.Background(), env, &att, podNS)
				if k.count < call {
					if failures < tt.least {
						t.Errorf("only %d calls could fail a Bind", failures)
					}
					return // every call has failed once
				}
				if err == nil {
					continue // the call had an alternative
				}
				failures++
				if !errors.Is(err, unix.EIO) {
					t.Errorf("call %d: error %v hides its cause", call, err)
				}
				if diff := cmp.Diff(before, k.state()); diff != "" {
					t.Errorf("call %d: %v\n%s\ncalls: %s", call, err, diff, strings.Join(k.calls, "\n"))
				}
				if left := taken(t, dir); len(left) > 0 {
					t.Errorf("call %d: addresses leaked: %v", call, left)
				}
			}
		})
	}
}

func TestPrepareRefuses(t *testing.T) {
	sriov := func(fields string) string { return `{"name": "fast", "type": "sriov", ` + fields + `}` }
	tests := []struct {
		name   string
		conf   string
		driver fakeDriver
		device pci.Address
		named  bool
		node   func(*fakeKernel)
		want   string
	}{
		{name: "MTU above the PF's (op#844)", conf: sriov(`"mtu": 9001`), want: `field "mtu": 9001 is above the MTU of PF eth1, 9000`},
		{name: "VLAN trunk", conf: sriov(`"vlanTrunk": [{"minID": 1, "maxID": 9}]`), want: `field "vlanTrunk": driver igbvf of VF 0000:01:10.0 has no VLAN trunks`},
		{name: "a VF that vanished", device: pci.MustParseAddress("0000:01:10.6"), conf: plain, want: "VF 0000:01:10.6 is not there any more"},
		{name: "a PF that has VFs", device: pfAddr, conf: plain, want: "PF 0000:01:00.0 has 2 VFs by now, and a pod gets a PF only while it has none"},
		{name: "a PF that the network names", device: pfAddr, named: true, conf: plain, want: "0000:01:00.0 is a PF; a pod gets one of its VFs"},
		{name: "another device in the conf than the kubelet gave (m#499)", conf: sriov(`"deviceID": "0000:01:10.2"`), want: "the conf names 0000:01:10.2, but the pod's device of fairlead.dev/fast is 0000:01:10.0"},
		{name: "no driver bound", conf: plain, node: func(k *fakeKernel) { k.vfs[vf0Addr].driver = "" }, want: "VF 0000:01:10.0 has no driver bound"},
		{name: "a netdev that another pod holds", conf: plain, node: func(k *fakeKernel) { delete(k.spaces[""].links, "eth3") }, want: "shows no interface on the host"},
		{name: "a knob where the driver tells nothing", driver: fakeDriver{noVFInfo: true}, conf: sriov(`"trust": "on"`), want: `field "trust": driver igb of PF eth1 does not tell`},
		{name: "a knob where the PF has no interface", conf: sriov(`"vlan": 5`), node: func(k *fakeKernel) { k.pfs[pfAddr].Netdev = "" }, want: `field "vlan": PF 0000:01:00.0 has no interface`},
		{name: "a minimum above the VF's maximum", conf: sriov(`"min_tx_rate": 900`), node: func(k *fakeKernel) { k.vfs[vf0Addr].info.MaxTxRateMbps = 800 }, want: "900 Mbit/s is above the VF's max_tx_rate, 800"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, tt.driver)
			if tt.node != nil {
				tt.node(k)
			}
			device := tt.device
			if device.IsZero() {
				device = vf0Addr
			}
			asked := request(tt.conf, device)
			asked.Named = tt.named
			_, err := attacherOf(t, k.set(t.TempDir()), "sriov").Prepare(context.Background(), asked)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if len(k.calls) > 0 {
				t.Errorf("Prepare changed something: %v", k.calls)
			}
		})
	}
}

// Asked for and refused is an error with the driver's name and the errno.
func TestBindRefusals(t *testing.T) {
	sriov := func(fields string) string { return `{"name": "fast", "type": "sriov", ` + fields + `}` }
	tests := []struct {
		name, conf string
		driver     fakeDriver
		node       func(*fakeKernel)
		want       []string
	}{
		{"link state", sriov(`"link_state": "enable"`), igb, nil, []string{"set the VF's link state", "driver igb of PF eth1", "EOPNOTSUPP", "leave the field out"}},
		{"802.1ad", sriov(`"vlan": 5, "vlanProto": "802.1AD"`), igb, nil, []string{"set the VF's VLAN", "driver igb", "EPROTONOSUPPORT"}},
		{"a minimum rate", sriov(`"min_tx_rate": 10, "max_tx_rate": 100`), igb, nil, []string{"set the VF's rate", "driver igb", "EINVAL"}},
		{"a rate with the PF down", sriov(`"max_tx_rate": 100`), igb, func(k *fakeKernel) {
			pf := k.spaces[""].links["eth1"]
			pf.Up, pf.Carrier = false, false
		}, []string{"EINVAL", "PF eth1 is down: bring it up"}},
		{"trust that is reported and not set", sriov(`"trust": "on"`), fakeDriver{ignoresTrust: true}, nil, []string{"driver igb of PF eth1 took trust on for VF 0, but reads back off"}},
		{"MTU that the VF does not take", sriov(`"mtu": 9000`), igb, func(k *fakeKernel) { k.spaces[""].links["eth3"].MaxMTU = 2000 }, []string{"driver igbvf of VF 0000:01:10.0", "EINVAL"}},
		{"a name that the pod has", plain, igb, func(k *fakeKernel) { k.addLink(podNS, link.Link{Name: "net1"}) }, []string{"the pod has an interface net1 already"}},
		{"a gateway out of reach", sriov(`"ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24"}], "routes": [{"dst": "10.9.0.0/16", "gw": "10.7.0.1"}]}`), igb, nil,
			[]string{"10.9.0.0/16 via 10.7.0.1", "ipam.routes"}},
		{"a move that ends half-way, with the VF in the pod under its old name", full, fakeDriver{halfMoves: true}, nil, []string{"move the VF into the pod", "cannot allocate memory"}},
		{"a namespace that is gone", plain, igb, func(k *fakeKernel) { k.endNetns(podNS, 0) }, []string{`network namespace "/run/netns/pod" is gone`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, tt.driver)
			if tt.node != nil {
				tt.node(k)
			}
			s := k.set(t.TempDir())
			att := prepared(t, s, "sriov", request(tt.conf, vf0Addr))
			before := k.state()
			_, err := attacherOf(t, s, "sriov").Bind(context.Background(), env, &att, podNS)
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q lacks %q", err, part)
				}
			}
			if diff := cmp.Diff(before, k.state()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBindStopsWhenItsContextHasEnded(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	before := k.state()
	att := prepared(t, s, "sriov", request(full, vf0Addr))
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errInjected)
	if _, err := attacherOf(t, s, "sriov").Bind(ctx, env, &att, podNS); !errors.Is(err, errInjected) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, k.state()); diff != "" {
		t.Error(diff)
	}
}
