package custody

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/pkg/device"
)

// meta-cni A6, security S3: one of an Allocate and of a pod that names the VF comes
// first, and the other sees it.
func TestGuardedWritesSeeEachOther(t *testing.T) {
	for range 50 {
		n := newNode()
		o := New(Sources{Ledger: n, Devices: nodeDevices{n}, Functions: n})
		var won [2]bool
		var wg sync.WaitGroup
		wg.Go(func() {
			v, release, err := o.Guard(t.Context(), vf0)
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			if _, used := v.ToAllocate(vf0, fast); !used {
				n.set(func() { n.allocations[vf0] = gave(fast, vf0) })
				o.AllocationsChanged(vf0)
				won[0] = true
			}
		})
		wg.Go(func() {
			v, release, err := o.Guard(t.Context(), vf0)
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			if _, used := v.ToAttach(vf0, "1", podA, false); !used {
				n.set(func() { n.sandboxes["1"] = holds("1", podA, fast, vf0) })
				o.SandboxChanged("1")
				won[1] = true
			}
		})
		wg.Wait()
		if won[0] == won[1] {
			t.Fatalf("allocated %v, attached %v", won[0], won[1])
		}
	}
}

// Who waits for whom: a Guard holds its functions, and with them their IOMMU group.
func TestGuardsWait(t *testing.T) {
	for _, tt := range []struct {
		first, second []pciAddress
		change        bool // the second is a Change
		waits         bool
	}{
		{[]pciAddress{vf0}, []pciAddress{vf0}, false, true},
		{[]pciAddress{vf0, vf1}, []pciAddress{vf1, vf0, vf0}, false, true},
		{[]pciAddress{vf0}, []pciAddress{vf1}, false, false},
		{[]pciAddress{vf4}, []pciAddress{vf5}, false, true}, // devices A7: one group
		{[]pciAddress{vf0}, []pciAddress{vf0}, true, true},
		{[]pciAddress{vf0}, []pciAddress{pf}, true, true}, // a PF stands for its VFs
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode()
				o := New(Sources{Ledger: n, Devices: nodeDevices{n}, Functions: n})
				_, release, err := o.Guard(t.Context(), tt.first...)
				if err != nil {
					t.Fatal(err)
				}
				second := func(ctx context.Context) (func(), error) {
					if tt.change {
						return o.Change(ctx, tt.second...)
					}
					_, release, err := o.Guard(ctx, tt.second...)
					return release, err
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				end, err := second(ctx)
				if waited := errors.Is(err, context.DeadlineExceeded); waited != tt.waits {
					t.Fatalf("waited: %v (%v), want %v", waited, err, tt.waits)
				}
				if err == nil {
					end()
				}
				release()
				if end, err = second(t.Context()); err != nil {
					t.Fatal(err)
				}
				end()
				if len(o.locks.byAddr) > 0 {
					t.Errorf("locks are left: %v", o.locks.byAddr)
				}
			})
		})
	}
}

// devices A3: VFs that a profile changes are used by it, those included that it makes.
func TestChange(t *testing.T) {
	n := newNode()
	few := func(p *device.PF) { p.VFs = p.VFs[:1] }
	n.snapshot = snapshot(few)
	o := New(Sources{Ledger: n, Devices: nodeDevices{n}, Functions: n})
	endPF, err := o.Change(t.Context(), pf)
	if err != nil {
		t.Fatal(err)
	}
	endVF, err := o.Change(t.Context(), vf0)
	if err != nil {
		t.Fatal(err)
	}
	n.snapshot = snapshot()
	wantConfirmed := func(when, want string, fn pciAddress) {
		t.Helper()
		v, err := o.Confirm(t.Context(), fn)
		if err != nil {
			t.Fatal(err)
		}
		wantUses(t, v, when, want, fn)
	}
	wantConfirmed("made, and not yet in the devices", "change", vf1)
	o.sightings.setDevices(n.snapshot)
	wantUses(t, o.View(), "the PF is being changed", "change", vf1)
	if uses := o.View().ToChange(pf); len(uses) > 0 {
		t.Errorf("the change is in its own way: %v", uses)
	}
	endPF()
	endPF()
	wantUses(t, o.View(), "the PF is done", "", vf1)
	wantUses(t, o.View(), "the VF is not", "change", vf0)
	endVF()
	wantUses(t, o.View(), "the VF is done", "", vf0)
}
