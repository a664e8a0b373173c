package agent

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/host"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/profile"
	"fairlead.dev/fairlead/pkg/repair"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// newRepairer creates the repairer of VFs that pods have left behind without a record.
func newRepairer(p *parts) *repair.Repairer {
	boot, _ := host.BootID(p.o.SysRoot) // noteBoot has reported the error
	return repair.New(repair.Options{
		Custody: p.custody, FS: sysfs.New(p.o.SysRoot), Links: p.links, Wanted: wantedByProfile(p.node),
		Withhold: func(_ context.Context, vf pci.Address) (end func(), err error) {
			return p.plugin.Withhold([]pci.Address{vf}, func(pci.Address) error { return nil })
		},
		Event: p.cluster.NodeEvent, Path: p.o.cleanPath(), Boot: boot, NewLedger: isNew(p.ledger), Files: namedByFiles(p.o.DevInfoDir), Now: time.Now, Log: p.log,
	})
}

// wantedByProfile returns the settings of the VF group that a VF is in.
func wantedByProfile(n *node) repair.Wanted {
	return func(pf device.PF, index int) (device.Settings, bool) {
		profiles := n.currentModel().Profiles
		if len(profiles) == 0 {
			return device.Settings{}, false
		}
		for _, followed := range n.follow(n.inv.Snapshot().PFs) { // a profile may name the PF as it was called
			if followed.Address != pf.Address {
				continue
			}
			if g := profile.Group(profiles, followed, index); g != nil {
				return g.Settings, true
			}
		}
		return device.Settings{}, false
	}
}

// isNew reports whether the ledger has no record.
func isNew(l *ledger.Ledger) bool {
	allocations, err := l.Allocations()
	return err == nil && len(allocations) == 0 && len(l.Entries()) == 0
}

// namedByFiles lists the PCI functions that the device-info files of attachments name.
func namedByFiles(devInfoDir string) map[pci.Address]bool {
	named := map[pci.Address]bool{}
	files, _ := filepath.Glob(filepath.Join(devInfoDir, "cni", "*")) // its only error is a bad pattern
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue // evidence that cannot be read is no evidence
		}
		var info struct {
			PCI struct {
				Address pci.Address `json:"pci-address"`
			} `json:"pci"`
		}
		if json.Unmarshal(raw, &info) == nil && !info.PCI.Address.IsZero() {
			named[info.PCI.Address] = true
		}
	}
	return named
}
