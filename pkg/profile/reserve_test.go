package profile

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// diary is a Custody that records the calls, and whether anything had been changed when a
// reservation ended.
type diary struct {
	oracle
	k   *kernel
	log []string
}

func (d *diary) Change(_ context.Context, fns ...pci.Address) (end func(), err error) {
	before := d.k.state()
	d.log = append(d.log, fmt.Sprintf("reserve %d", len(fns)))
	return func() {
		if d.k.state() == before {
			d.log = append(d.log, "unchanged")
		}
		d.log = append(d.log, "end")
	}, nil
}

func (d *diary) Recheck(_ context.Context, fns ...pci.Address) (Uses, error) {
	d.log = append(d.log, fmt.Sprintf("look %d", len(fns)))
	return d, nil
}

// Devices B12: a VF is reserved before anything of it is changed, and looked at when
// nobody can get it any more. So is a PF.
func TestVFsAreReservedWhileTheyAreChanged(t *testing.T) {
	k := labNode(t)
	converge(t, k, applier(k), build(t, labProfile))
	on := Target{PF: pf0, Ifindex: k.index("ens1f0")}
	vf1 := VFTarget{Target: on, VF: 1}
	for _, tt := range []struct {
		step Step
		want string
	}{
		{knobStep(VFTarget{Target: on, VF: 2}, device.Settings{Driver: device.KernelDriver}), "reserve 1, look 1, end"},
		{knobStep(vf1, device.Settings{VLAN: ptr(7)}), "reserve 1, look 1, end"},
		{knobStep(vf1, device.Settings{MTU: ptr(1400)}), "reserve 1, look 1, end"},
		{SetPFMTU{Target: on, To: 8000, VFs: k.gather(nil)[0].VFs}, "reserve 4, look 4, end"},
		{SetNumVFs{Target: on, From: 3}, "reserve 4, look 4, end"},
		{SetNumVFs{Target: on, To: 2}, "reserve 1, reserve 1, look 1, end, end"},
	} {
		a := applier(k)
		d := &diary{k: k}
		a.Custody = d
		if f := a.Apply(t.Context(), []Step{tt.step}); len(f) > 0 {
			t.Fatal(f)
		}
		if diff := cmp.Diff(tt.want, strings.Join(d.log, ", ")); diff != "" {
			t.Errorf("%s: %s", tt.step, diff)
		}
	}
}

// Nobody gets a VF between the moment when it is made and the one when it is
// configured: the PF's reservation ends when the VFs are reserved themselves.
func TestNewVFsAreReservedUntilTheyAreConfigured(t *testing.T) {
	k := newKernel(t)
	k.AddPF(igb(pf0, "ens1f0", 0).PF)
	a := applier(k)
	d := &diary{k: k}
	a.Custody = d
	profiles := build(t, `{pf: {numVFs: 2}, vfGroups: [{vfs: '0', vlan: 5}, {vfs: '1', driver: vfio-pci}]}`)
	if f := a.Apply(t.Context(), Plan(profiles, k.gather(profiles))); len(f) > 0 {
		t.Fatal(f)
	}
	const want = "reserve 1, reserve 1, look 1, end, reserve 1, reserve 1, end, look 2, end, end"
	if diff := cmp.Diff(want, strings.Join(d.log, ", ")); diff != "" {
		t.Error(diff)
	}
}
