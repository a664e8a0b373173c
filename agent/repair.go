package agent

import (
	"context"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/host"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/profile"
	"fairlead.dev/fairlead/pkg/repair"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// newRepairer creates the repairer of VFs that pods have left behind without a record.
func (p *parts) newRepairer() {
	boot, _ := host.BootID(p.o.SysRoot) // noteBoot has reported the error
	p.repairs = repair.New(repair.Options{
		Custody: p.custody, FS: sysfs.New(p.o.SysRoot), Links: p.links, Wanted: p.wantedByProfile,
		Withhold: func(_ context.Context, vf pci.Address) (end func(), err error) {
			return p.plugin.Withhold([]pci.Address{vf}, func(pci.Address) error { return nil })
		},
		Event: p.cluster.NodeEvent, Path: p.o.cleanPath(), Boot: boot, NewLedger: p.ledgerIsNew(), Now: time.Now, Log: p.log,
	})
}

// wantedByProfile returns the settings of the VF group that a VF is in.
func (p *parts) wantedByProfile(pf device.PF, index int) (device.Settings, bool) {
	profiles := p.node.currentModel().Profiles
	if len(profiles) == 0 {
		return device.Settings{}, false
	}
	for _, followed := range p.node.follow(p.inv.Snapshot().PFs) { // a profile may name the PF as it was called
		if followed.Address != pf.Address {
			continue
		}
		if g := profile.Group(profiles, followed, index); g != nil {
			return g.Settings, true
		}
	}
	return device.Settings{}, false
}

func (p *parts) ledgerIsNew() bool {
	allocations, err := p.ledger.Allocations()
	return err == nil && len(allocations) == 0 && len(p.ledger.Entries()) == 0
}
