package deviceplugin

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
)

// reportNearMisses reports pools that are empty only because of one field of their selectors.
// On a node with other NICs it is normal that a pool is empty: no VF is near.
func (a *assigner) reportNearMisses(s *inventory.Snapshot) {
	pooled := map[pci.Address]bool{}
	for _, pool := range a.byKey {
		for i := range pool.Devices {
			pooled[pool.Devices[i].VF.Address] = true
		}
	}
	for i := range a.pools {
		p := &a.pools[i]
		if pool := a.byKey[key{p.Resource, p.Idle}]; pool == nil || len(pool.Devices) > 0 {
			continue
		}
		if near := fitting(s, pooled, p, func(sel *device.Selector) { sel.Drivers = nil }); len(near) > 0 {
			a.problem(p, problem.PoolSelectsNothing, "selects nothing: %d VFs fit except for their driver, which is %s: bind the driver that drivers names, or correct drivers",
				len(near), driversOf(near))
		} else if near := fitting(s, pooled, p, func(sel *device.Selector) { sel.RDMA = false }); len(near) > 0 {
			a.problem(p, problem.PoolSelectsNothing, "selects nothing: %d VFs fit, and have no RDMA device: load the NIC's RDMA driver, or take RDMA out of the selector", len(near))
		}
	}
}

// fitting lists the VFs in no pool that a pool would select with selectors that are relaxed. A
// selector that would then select everything does not count.
func fitting(s *inventory.Snapshot, pooled map[pci.Address]bool, p *device.Pool, relax func(*device.Selector)) []device.VF {
	relaxed := *p
	relaxed.Selectors = nil
	for _, sel := range p.Selectors {
		before := sel
		if relax(&sel); reflect.DeepEqual(before, sel) || reflect.DeepEqual(sel, device.Selector{}) {
			continue
		}
		relaxed.Selectors = append(relaxed.Selectors, sel)
	}
	var near []device.VF
	note := func(pf device.PF, vfs []device.VF) {
		claims := device.On([]device.Pool{relaxed}, pf)
		for _, vf := range vfs {
			if !pooled[vf.Address] && claims.Claim(vf) >= 0 {
				near = append(near, vf)
			}
		}
	}
	if len(relaxed.Selectors) == 0 {
		return nil
	}
	for _, pf := range s.PFs {
		note(pf, pf.VFs)
	}
	note(device.PF{}, s.Lone)
	return near
}

func driversOf(vfs []device.VF) string {
	var drivers []string
	for _, vf := range vfs {
		if vf.Driver == "" {
			drivers = append(drivers, "none")
			continue
		}
		drivers = append(drivers, fmt.Sprintf("%q", vf.Driver))
	}
	slices.Sort(drivers)
	return strings.Join(slices.Compact(drivers), " or ")
}
