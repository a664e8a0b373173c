package agent

import (
	"log/slog"
	"time"

	"fairlead.dev/fairlead/deviceplugin"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/state"
	"fairlead.dev/fairlead/pkg/sysfs"
)

func newManager(o Options, l *ledger.Ledger, c deviceplugin.Custody, log *slog.Logger) *deviceplugin.Manager {
	return deviceplugin.New(deviceplugin.Options{
		Dir: o.DevicePlugins, DeviceInfoDir: o.DevInfoDir, FS: sysfs.New(o.SysRoot), Ledger: l, Custody: c, Now: time.Now, Log: log,
	})
}

// members converts the manager's pools for the node's state.
func members(pools []deviceplugin.PoolState) []state.PoolMembers {
	var out []state.PoolMembers
	for _, p := range pools {
		m := state.PoolMembers{
			Resource: p.Resource, Type: p.Type, Source: p.Source, Idle: p.Idle,
			Devices: []pci.Address{}, Unhealthy: map[pci.Address]string{}, Incidental: map[pci.Address]bool{},
		}
		for _, d := range p.Devices {
			m.Devices = append(m.Devices, d.VF.Address)
			if !d.Healthy() {
				m.Unhealthy[d.VF.Address] = d.Reason
			}
			if d.Incidental() {
				m.Incidental[d.VF.Address] = true
			}
		}
		out = append(out, m)
	}
	return out
}
