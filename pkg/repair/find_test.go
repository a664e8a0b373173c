package repair

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

const fast = "fairlead.dev/fast"

var (
	pfAddr = pci.MustParseAddress("0000:3b:00.0")
	podX   = ledger.PodRef{Namespace: "default", Name: "x", UID: "u"}
	start  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

func vfAddr(i int) pci.Address { return pci.Address{Bus: 0x3b, Device: 0x10, Function: uint8(i)} }

// facts describes a node with one PF and three VFs, all in one pool.
func facts(change ...func(vfs []device.VF)) custody.Facts {
	p := device.PF{Address: pfAddr, Driver: "igb", Netdev: "ens1f0", Ifindex: 4, NumVFs: 3}
	pooled := map[pci.Address]string{}
	for i := range 3 {
		p.VFs = append(p.VFs, device.VF{Address: vfAddr(i), PF: pfAddr, Index: i, Driver: "igbvf", Netdev: fmt.Sprintf("eth%d", i), MTU: 1500, IOMMUGroup: -1})
		pooled[vfAddr(i)] = fast
	}
	for _, c := range change {
		c(p.VFs)
	}
	return custody.Facts{Devices: inventory.NewSnapshot([]device.PF{p}, nil), Pooled: pooled}
}

func away(vfs []device.VF)    { vfs[1].Netdev = "" }
func named(vfs []device.VF)   { vfs[1].Netdev = "net1" }
func unbound(vfs []device.VF) { vfs[1].Netdev, vfs[1].Driver = "", "" }
func on(b bool) *bool         { return &b }
func number(n int) *int       { return &n }
func text(s string) *string   { return &s }
func noPool(f *custody.Facts) { f.Pooled = nil }
func granted(f *custody.Facts) {
	f.Grants = []custody.Grant{{Resource: fast, DeviceID: vfAddr(1).String(), Pod: podX}}
}
func allocated(f *custody.Facts) {
	f.Allocations = []ledger.Allocation{{Resource: fast, Device: vfAddr(1), At: start}}
}
func held(f *custody.Facts) {
	f.Sandboxes = []ledger.Sandbox{{ID: "s", Pod: podX, Attachments: []ledger.Attachment{{
		IfName: "net1", Resource: fast, Phase: ledger.Bound, Members: []ledger.Member{{
			Type: "sriov", Plugin: "sriov", Device: vfAddr(1),
			VF: &ledger.VFMember{Original: ledger.VFState{PF: pfAddr, Index: 1, Settings: device.Settings{Driver: "igbvf"}}},
		}},
	}}}}
}

func clean(vlan int, trust bool) device.Settings {
	return device.Settings{Driver: "igbvf", MTU: number(1500), VLAN: number(vlan), Trust: on(trust), SpoofCheck: on(true), LinkState: text("auto")}
}

type look struct {
	after time.Duration
	facts custody.Facts
	new   bool // the ledger
	files map[pci.Address]bool
	with  func(*custody.Facts)
}

// Each case follows a node through several looks, and compares the repairs that are due
// after the last one.
func TestFind(t *testing.T) {
	profile := func(device.PF, int) (device.Settings, bool) {
		return device.Settings{Driver: device.KernelDriver, VLAN: number(5)}, true
	}
	longAway := []look{{facts: facts(away)}, {after: time.Minute, facts: facts(away)}, {after: time.Hour, facts: facts(named)}}
	const inNamespace = "(another network namespace had it, and no record named it)"
	cases := []struct {
		name   string
		looks  []look
		free   map[pci.Address]Clean
		wanted Wanted
		want   string
	}{
		{name: "lab F: a lost ledger, and no memory of the VF", looks: longAway,
			want: "0000:3b:10.1: rebind igbvf, VLAN 0, rate 0 to 0 Mbit/s, spoof check on, trust off, link state auto " + inNamespace},
		{name: "lab F: as it was when it was last free", looks: longAway,
			free: map[pci.Address]Clean{vfAddr(1): {Netdev: "eth1", Settings: clean(9, true)}},
			want: "0000:3b:10.1: rebind igbvf, name eth1, VLAN 9, rate 0 to 0 Mbit/s, spoof check on, trust on, link state auto, MTU 1500 " + inNamespace},
		{name: "an administrator has set all VFs alike", looks: longAway,
			free: map[pci.Address]Clean{vfAddr(0): {Settings: clean(3, true)}, vfAddr(2): {Settings: clean(3, true)}},
			want: "0000:3b:10.1: rebind igbvf, VLAN 3, rate 0 to 0 Mbit/s, spoof check on, trust on, link state auto " + inNamespace},
		{name: "an administrator has set each VF by itself", looks: longAway,
			free: map[pci.Address]Clean{vfAddr(0): {Settings: clean(3, false)}, vfAddr(2): {Settings: clean(4, false)}},
			want: "0000:3b:10.1: rebind igbvf, rate 0 to 0 Mbit/s, spoof check on, trust off, link state auto " + inNamespace},
		{name: "a profile has the last word", looks: longAway, wanted: profile,
			free: map[pci.Address]Clean{vfAddr(1): {Netdev: "eth1", Settings: clean(9, true)}},
			want: "0000:3b:10.1: rebind igbvf, name eth1, VLAN 5, rate 0 to 0 Mbit/s, spoof check on, trust on, link state auto, MTU 1500 " + inNamespace},
		{name: "an odd name alone is no evidence", looks: []look{{facts: facts(named)}, {after: time.Hour, facts: facts(named)}}},
		{name: "a netdev that was late", looks: []look{{facts: facts(away)}, {after: 3 * time.Second, facts: facts()}}},
		{name: "while the pod has it", looks: longAway[:2]},
		{name: "a VF of nobody's pool", looks: []look{
			{facts: facts(away), with: noPool}, {after: time.Minute, facts: facts(away), with: noPool}, {after: time.Hour, facts: facts(named), with: noPool}}},
		{name: "lab F: the kubelet names it and the ledger is new", looks: []look{
			{facts: facts(), new: true, with: granted}, {after: time.Minute, facts: facts()}},
			want: "0000:3b:10.1: rebind igbvf, VLAN 0, rate 0 to 0 Mbit/s, spoof check on, trust off, link state auto (the kubelet had given it to pod default/x, and no record names it)"},
		{name: "a grant that outlives the allocation of a pod of today", looks: []look{
			{facts: facts(), new: true, with: allocated}, {after: time.Second, facts: facts(), new: true, with: granted}, {after: time.Minute, facts: facts()}}},
		{name: "lab F: a device-info file names it and the ledger is new", looks: []look{
			{facts: facts(named), new: true, files: map[pci.Address]bool{vfAddr(1): true}}},
			want: "0000:3b:10.1: rebind igbvf, VLAN 0, rate 0 to 0 Mbit/s, spoof check on, trust off, link state auto (a device-info file names it, and no record does)"},
		{name: "a device-info file beside records is somebody's", looks: []look{{facts: facts(), files: map[pci.Address]bool{vfAddr(1): true}}}},
		{name: "a grant beside records may only be old", looks: []look{
			{facts: facts(), with: granted}, {after: time.Minute, facts: facts()}}},
		{name: "reports 21: a VF left without a driver", looks: []look{
			{facts: facts(away), with: held}, {after: time.Minute, facts: facts(unbound), with: held},
			{after: time.Minute, facts: facts(unbound)}, {after: time.Minute, facts: facts(unbound)}},
			want: "0000:3b:10.1: probe (pod default/x (net1) has left it without a driver)"},
		{name: "a driver that is just being changed", looks: []look{
			{facts: facts(away), with: held}, {after: time.Minute, facts: facts(unbound)}, {after: time.Second, facts: facts(unbound)}}},
		{name: "a profile binds the driver itself", wanted: profile, looks: []look{
			{facts: facts(away), with: held}, {after: time.Minute, facts: facts(unbound)}, {after: time.Minute, facts: facts(unbound)}}},
		{name: "an administrator has taken the driver away", looks: []look{{facts: facts()}, {after: time.Hour, facts: facts(unbound)}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w, now := newWatch(map[pci.Address]Stray{}), start
			var found []string
			for _, l := range c.looks {
				now = now.Add(l.after)
				if l.with != nil {
					l.with(&l.facts)
				}
				v := custody.NewView(l.facts)
				w.observe(Evidence{View: v, Wanted: c.wanted, NewLedger: l.new, Files: l.files, Now: now})
				found = nil
				for _, o := range Find(Facts{View: v, Strays: w.strays, Free: c.free, Wanted: c.wanted, Now: now}) {
					found = append(found, o.String())
				}
			}
			if diff := cmp.Diff(c.want, strings.Join(found, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A VF that is made again has nothing of before.
func TestStraysEndWithTheirVF(t *testing.T) {
	w := newWatch(map[pci.Address]Stray{vfAddr(1): {Evidence: "e"}})
	if changed := w.observe(Evidence{View: custody.NewView(custody.Facts{Devices: inventory.NewSnapshot(nil, nil)}), Now: start}); !changed || len(w.strays) > 0 {
		t.Errorf("changed %v, strays %v", changed, w.strays)
	}
}
