package attach

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/device"
)

func TestCheckFindsEveryDifference(t *testing.T) {
	tests := []struct {
		name   string
		change func(*fakeKernel, *fakeLink)
		want   []string
	}{
		{"nothing", func(*fakeKernel, *fakeLink) {}, nil},
		{"MAC, MTU, address, route, admin state", func(_ *fakeKernel, l *fakeLink) {
			l.MAC, l.MTU, l.addrs, l.routes, l.Up = "02:00:00:00:00:55", 1500, nil, nil, false
		}, []string{"has MAC 02:00:00:00:00:55", "has MTU 1500", "address 10.1.0.2/24 on net1 is missing", "route to 10.9.0.0/16", "net1 is down"}},
		{"knobs at the PF", func(k *fakeKernel, _ *fakeLink) {
			i, off := &k.vfs[vf0Addr].info, false
			i.VLAN, i.Trust, i.MAC = 5, &off, device.NoMAC
		}, []string{"VLAN of VF 0 at PF eth1 is 5 QoS 3, and was set to 100 QoS 3", "trust of VF 0 at PF eth1 is off", "MAC of VF 0"}},
		{"the interface", func(k *fakeKernel, l *fakeLink) { delete(k.spaces[podNS].links, l.Name) }, []string{"interface net1 is missing"}},
		{"another device in its place", func(_ *fakeKernel, l *fakeLink) { l.ParentDev = "0000:09:00.0" }, []string{"belongs to device 0000:09:00.0"}},
		{"a duplicate address", func(_ *fakeKernel, l *fakeLink) { l.addrs[0].Duplicate = true }, []string{"10.1.0.2 on net1 is a duplicate"}},
		{"the prefix length", func(_ *fakeKernel, l *fakeLink) { l.addrs[0].IPNet.Mask = []byte{255, 0, 0, 0} }, []string{"prefix"}},
		{"the namespace", func(k *fakeKernel, _ *fakeLink) { k.endNetns(podNS, 0) }, []string{"is gone"}},
		{"the VF", func(k *fakeKernel, _ *fakeLink) { delete(k.vfs, vf0Addr) }, []string{"0000:01:10.0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, igb)
			s := k.set(t.TempDir())
			att := prepared(t, s, "sriov", request(full, vf0Addr))
			a := attacherOf(t, s, "sriov")
			result, err := a.Bind(context.Background(), env, &att, podNS)
			if err != nil {
				t.Fatal(err)
			}
			att.Result, _ = json.Marshal(result)
			tt.change(k, k.vfs[vf0Addr].netdev)
			err = a.Check(context.Background(), env, stored(t, att), podNS)
			if len(tt.want) == 0 && err != nil {
				t.Errorf("got %v", err)
			}
			for _, part := range tt.want {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("error %v lacks %q", err, part)
				}
			}
		})
	}
}

// A driver that takes trust and spoof check but reports neither: there is nothing
// to compare with, and the rest is compared all the same.
func TestCheckOfKnobsThatTheDriverDoesNotTell(t *testing.T) {
	k := newNode(t, fakeDriver{mute: true})
	s := k.set(t.TempDir())
	att := prepared(t, s, "sriov", request(full, vf0Addr))
	a := attacherOf(t, s, "sriov")
	if _, err := a.Bind(context.Background(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	if err := a.Check(context.Background(), env, stored(t, att), podNS); err != nil {
		t.Errorf("got %v", err)
	}
	k.vfs[vf0Addr].info.VLAN = 5
	if err := a.Check(context.Background(), env, stored(t, att), podNS); err == nil || !strings.Contains(err.Error(), "VLAN of VF 0 at PF eth1 is 5") {
		t.Errorf("got %v", err)
	}
}
