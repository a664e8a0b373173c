package profile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
)

// many is a node with one NIC of n VFs, for which the profile sets a driver, VLAN,
// trust and spoof check of each.
func many(t testing.TB, n int) *kernel {
	k := newKernel(t)
	pf := igb(pf0, "ens1f0", 0).PF
	pf.TotalVFs = 128
	k.AddPF(pf)
	k.LoadDriver("vfio-pci")
	if err := k.FS().SetNumVFs(pf0, n); err != nil {
		t.Fatal(err)
	}
	return k
}

const manySpec = `{pf: {}, vfGroups: [{driver: vfio-pci, vlan: 100, trust: "on", spoofCheck: "off"}]}`

// Devices B11: the VFs of a PF are read once before and once after a batch, and each
// gets one message, however many knobs it has.
func TestOneMessagePerVFAndTwoReadings(t *testing.T) {
	for name, tt := range map[string]struct {
		spec      string
		have, vfs int
	}{
		"VFs that are there": {manySpec, 125, 125},
		"new VFs":            {strings.Replace(manySpec, "pf: {}", "pf: {numVFs: 32}", 1), 0, 32},
		"VFs made again":     {strings.Replace(manySpec, "pf: {}", "pf: {numVFs: 32}", 1), 7, 32},
	} {
		t.Run(name, func(t *testing.T) {
			k, vfs := many(t, tt.have), tt.vfs
			index := k.index("ens1f0")
			a := applier(k)
			profiles := build(t, tt.spec)
			steps, _, err := a.plan(t.Context(), profiles, k.read)
			if err != nil {
				t.Fatal(err)
			}
			if f := a.Apply(t.Context(), steps); len(f) > 0 {
				t.Fatal(f)
			}
			if k.dumps[index] > 2 || k.messages != vfs {
				t.Errorf("%d readings of all VFs, %d messages", k.dumps[index], k.messages)
			}
			// Nothing is left: one reading says so.
			if got := statusText(a.Converge(t.Context(), profiles, k.read)); got != "a ready true on 1\n" || k.dumps[index] > 3 || k.messages != vfs {
				t.Errorf("then %d readings, %d messages, %s", k.dumps[index], k.messages, got)
			}
		})
	}
}

func BenchmarkConverge125VFs(b *testing.B) {
	profiles := build(b, manySpec)
	var dumps, messages int
	for b.Loop() {
		b.StopTimer()
		k := many(b, 125)
		a := applier(k)
		b.StartTimer()
		if got := statusText(a.Converge(b.Context(), profiles, k.read)); got != "a ready true on 1\n" {
			b.Fatal(got)
		}
		for _, n := range k.dumps {
			dumps += n
		}
		messages += k.messages
	}
	b.ReportMetric(float64(dumps)/float64(b.N), "dumps/op")
	b.ReportMetric(float64(messages)/float64(b.N), "messages/op")
}

// Devices B3: a knob that the driver lacks, or refuses for one VF, costs that knob
// of that VF. The failure names knob, driver and errno, and is not repeated.
func TestAnUnsupportedKnobStopsNothingElse(t *testing.T) {
	k := newKernel(t)
	k.AddPF(igb(pf0, "ens1f0", 2).PF)
	pf := k.index("ens1f0")
	for vf := range 2 {
		k.fail[fmt.Sprintf("%d vf %d link state enable", pf, vf)] = unix.EOPNOTSUPP
	}
	k.fail[fmt.Sprintf("%d vf 1 VLAN 5", pf)] = unix.EINVAL
	profiles := build(t, `{pf: {}, vfGroups: [{vlan: 5, trust: "on", spoofCheck: "off", linkState: enable, mtu: 1400}]}`)
	const want = `a ready false on 1
  ens1f0: VF 0-1: link state auto -> enable: set 2 vf 0 link state enable link: operation not supported (PF driver igb)
  ens1f0: VF 1: VLAN 0 -> 5: set 2 vf 1 VLAN 5 link: invalid argument (PF driver igb)
`
	const state = `ens1f0 mtu 1500 up true
  0 igbvf ens1f0v0 mtu 1400 vlan 5/0 trust true spoof false
  1 igbvf ens1f0v1 mtu 1400 vlan 0/0 trust true spoof false
`
	for range 2 { // the second run is the retry
		got := strings.ReplaceAll(statusText(converge(t, k, applier(k), profiles)), fmt.Sprintf("set %d vf", pf), "set 2 vf")
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
		if d := cmp.Diff(state, k.state()); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
	}
}

// Devices B3: nor does a step of the PF itself, except for what depends on it.
func TestARefusedMTUOfThePFStopsNothingElse(t *testing.T) {
	k := newKernel(t)
	k.AddPF(igb(pf0, "ens1f0", 0).PF)
	k.fail["mtu ens1f0 9000"] = unix.EOPNOTSUPP
	got := statusText(converge(t, k, applier(k), build(t, `{pf: {numVFs: 1, mtu: 9000}, vfGroups: [{vlan: 5, mtu: 9000}]}`)))
	const want = "a ready false on 1\n  ens1f0: MTU 1500 -> 9000: set mtu ens1f0 9000 link: operation not supported (PF driver igb)\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	const state = "ens1f0 mtu 1500 up true\n  0 igbvf ens1f0v0 mtu 1500 vlan 5/0 trust false spoof true\n"
	if d := cmp.Diff(state, k.state()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// Devices B3: a driver that refuses a VF costs that VF its netdev, which is not waited
// for, and no other VF anything.
func TestARefusedDriverStopsNothingElse(t *testing.T) {
	k := newKernel(t)
	nic := igb(pf0, "ens1f0", 2)
	k.AddPF(nic.PF)
	k.LoadDriver("iavf")
	k.RefuseDriver(nic.VFs[0].Address, "iavf")
	begin := time.Now()
	got := converge(t, k, applier(k), build(t, `{pf: {}, vfGroups: [{driver: iavf, mtu: 1400, vlan: 5}]}`))
	if f := got[0].Failures; len(f) != 1 || f[0].Step != "ens1f0: VF 0: driver igbvf -> iavf" || time.Since(begin) > 30*time.Second {
		t.Errorf("after %v: %s", time.Since(begin), statusText(got))
	}
	const state = `ens1f0 mtu 1500 up true
  0 igbvf ens1f0v0 mtu 1500 vlan 5/0 trust false spoof true
  1 iavf ens1f0v1 mtu 1400 vlan 5/0 trust false spoof true
`
	if d := cmp.Diff(state, k.state()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// A driver that cannot set a knob reports its default, as igb does for the link state. If a
// new VF already has the value, it is not set.
func TestADefaultIsNotSet(t *testing.T) {
	k := newKernel(t)
	k.AddPF(igb(pf0, "ens1f0", 0).PF)
	profiles := build(t, `{pf: {numVFs: 2}, vfGroups: [{linkState: auto, spoofCheck: "on", trust: "off", vlan: 0, maxTxRateMbps: 0}]}`)
	if got := statusText(converge(t, k, applier(k), profiles)); got != "a ready true on 1\n" || k.messages != 0 {
		t.Errorf("%d messages, %s", k.messages, got)
	}
}

// Every knob of a group is planned, set and verified by its row of device.Knobs.
func TestEveryKnobIsSet(t *testing.T) {
	k := newKernel(t)
	k.AddPF(igb(pf0, "ens1f0", 1).PF)
	k.up[k.index("ens1f0")] = true
	k.LoadDriver("iavf")
	profiles := build(t, `{pf: {}, vfGroups: [{driver: iavf, mtu: 1400, vlan: 5, vlanQoS: 2, vlanProto: 802.1ad, trust: "on", spoofCheck: "off",
  linkState: enable, minTxRateMbps: 10, maxTxRateMbps: 100}]}`)
	const want = `ens1f0: VF 0: VLAN 0 -> 5 QoS 2 802.1ad
ens1f0: VF 0: rate 0 to 0 Mbit/s -> 10 to 100 Mbit/s
ens1f0: VF 0: spoof check off
ens1f0: VF 0: trust on
ens1f0: VF 0: link state auto -> enable
ens1f0: VF 0: driver igbvf -> iavf
ens1f0: VF 0: MTU 1500 -> 1400
`
	nics := k.gather(profiles)
	if d := cmp.Diff(want, text(Plan(profiles, nics))); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if got := statusText(converge(t, k, applier(k), profiles)); got != "a ready true on 1\n" {
		t.Fatal(got)
	}
	nic := k.gather(profiles)[0]
	have := nic.settingsOf(nic.VFs[0])
	for _, knob := range device.Knobs {
		if knob.Group != "" && !knob.Same(profiles[0].Groups[0].Settings, have) {
			t.Errorf("%s is not as the group says", knob.Name)
		}
	}
}
