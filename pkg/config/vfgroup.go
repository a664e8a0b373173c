package config

import (
	"cmp"
	"fmt"

	"fairlead.dev/fairlead/pkg/api/v1alpha1"
	"fairlead.dev/fairlead/pkg/device"
)

// vfGroup validates a group by itself and against its PF's part.
func vfGroup(g v1alpha1.VFGroup, pf v1alpha1.PFSpec, field string, problem *problems) VFGroup {
	out := VFGroup{Resource: g.ResourceName, VFs: groupVFs(g, pf, field, problem)}
	if g.ResourceName != "" {
		problem.add(field+".resourceName", checkResource(g.ResourceName))
	}
	if g.ResourceName == "" && (g.Idle || g.RDMA || g.NeedVhostNet || g.ExcludeTopology) {
		problem.addf(field, "idle, rdma, needVhostNet and excludeTopology say how a resource is handed out: set resourceName")
	}
	out.Settings, out.Rebind = groupSettings(g, field, problem), groupRebinds(g, field, problem)
	out.AllowUnsafeDMA = g.AllowUnsafeDMA
	checkUnsafeDMA(g, field, problem)
	out.Allow = vfAllow(g.Allow, field+".allow", problem)
	checkGroupMTU(g, pf, field, problem)
	checkVLAN(g, field, problem)
	checkRates(g, field, problem)
	return out
}

func groupVFs(g v1alpha1.VFGroup, pf v1alpha1.PFSpec, field string, problem *problems) []device.IndexRange {
	if g.VFs == "" {
		return nil
	}
	ranges, err := device.ParseIndexRanges(g.VFs)
	problem.add(field+".vfs", err)
	for i, r := range ranges {
		if pf.NumVFs != nil && r.Last >= *pf.NumVFs {
			problem.addf(field+".vfs", "VF %d is beyond spec.pf.numVFs: %d, which allows %s", r.Last, *pf.NumVFs, indexesOf(*pf.NumVFs))
		}
		if i > 0 {
			if at, shared := overlap(ranges[:i], ranges[i:i+1]); shared {
				problem.addf(field+".vfs", "VF %d is named twice", at)
			}
		}
	}
	return ranges
}

// groupSettings reads the fields that have a row in device.Knobs.
func groupSettings(g v1alpha1.VFGroup, field string, problem *problems) device.Settings {
	out := device.Settings{
		Driver: cmp.Or(g.Driver, device.KernelDriver), MTU: given(g.MTU),
		VLAN: g.VLAN, QoS: g.VLANQoS, VLANProto: given(g.VLANProto),
		LinkState: given(g.LinkState), MinTxRate: g.MinTxRateMbps, MaxTxRate: g.MaxTxRateMbps,
	}
	problem.add(field+".driver", checkDrivers([]string{out.Driver}))
	var err error
	out.Trust, err = parseOnOff(g.Trust)
	problem.add(field+".trust", err)
	out.SpoofCheck, err = parseOnOff(g.SpoofCheck)
	problem.add(field+".spoofCheck", err)
	if g.LinkState != "" {
		problem.add(field+".linkState", checkOneOf([]string{g.LinkState}, "auto", "enable", "disable"))
	}
	return out
}

// checkUnsafeDMA refuses uio drivers without consent. Whether VFIO has an IOMMU is known on the
// node only.
func checkUnsafeDMA(g v1alpha1.VFGroup, field string, problem *problems) {
	switch userspace := device.UserspaceDriver(g.Driver); {
	case userspace && !device.VFIODriver(g.Driver) && !g.AllowUnsafeDMA:
		problem.addf(field+".driver", "with %s, a pod can read and write all memory of the node: use vfio-pci with an IOMMU, or accept that with %s.allowUnsafeDMA: true", g.Driver, field)
	case !userspace && g.AllowUnsafeDMA:
		problem.addf(field+".allowUnsafeDMA", "it is about userspace drivers, and driver %s is none: remove it", cmp.Or(g.Driver, device.KernelDriver))
	}
}

// groupRebinds reads resetOnRelease.
func groupRebinds(g v1alpha1.VFGroup, field string, problem *problems) bool {
	if g.ResetOnRelease != "" {
		problem.add(field+".resetOnRelease", checkOneOf([]string{g.ResetOnRelease}, "restore", "rebind"))
	}
	return g.ResetOnRelease == "rebind"
}

// given returns nil for a field that is not set.
func given[T comparable](value T) *T {
	var unset T
	if value == unset {
		return nil
	}
	return &value
}

func checkGroupMTU(g v1alpha1.VFGroup, pf v1alpha1.PFSpec, field string, problem *problems) {
	if g.MTU == 0 {
		return
	}
	problem.add(field+".mtu", checkMTU(g.MTU))
	if pf.MTU != 0 && g.MTU > pf.MTU {
		problem.addf(field+".mtu", "%d is above the PF's: raise spec.pf.mtu (%d) or lower this one", g.MTU, pf.MTU)
	}
	if device.UserspaceDriver(g.Driver) {
		problem.addf(field+".mtu", "a VF bound to %s has no netdev to set it on: the program that drives the VF chooses its MTU", g.Driver)
	}
}

func checkVLAN(g v1alpha1.VFGroup, field string, problem *problems) {
	if g.VLAN != nil && (*g.VLAN < 0 || *g.VLAN > maxVLAN) {
		problem.addf(field+".vlan", "%d is out of range: 1 to %d, 0 for none, or unset", *g.VLAN, maxVLAN)
	}
	noVLAN := g.VLAN == nil || *g.VLAN == 0
	if g.VLANProto != "" {
		problem.add(field+".vlanProto", checkOneOf([]string{g.VLANProto}, device.Proto8021Q, device.Proto8021AD))
		if noVLAN {
			problem.addf(field+".vlanProto", "%s needs a VLAN: set %s.vlan", g.VLANProto, field)
		}
	}
	if g.VLANQoS == nil {
		return
	}
	if *g.VLANQoS < 0 || *g.VLANQoS > maxQoS {
		problem.addf(field+".vlanQoS", "%d is out of range: 0 to %d", *g.VLANQoS, maxQoS)
	}
	if *g.VLANQoS != 0 && noVLAN {
		problem.addf(field+".vlanQoS", "%d needs a VLAN: set %s.vlan", *g.VLANQoS, field)
	}
}

func checkRates(g v1alpha1.VFGroup, field string, problem *problems) {
	check := func(name string, rate *int) {
		if rate != nil && (*rate < 0 || *rate > maxRateMbps) {
			problem.addf(field+"."+name, "%d is out of range: 1 to %d Mbit/s, 0 for none, or unset", *rate, maxRateMbps)
		}
	}
	check("minTxRateMbps", g.MinTxRateMbps)
	check("maxTxRateMbps", g.MaxTxRateMbps)
	if g.MinTxRateMbps != nil && g.MaxTxRateMbps != nil && *g.MaxTxRateMbps != 0 && *g.MinTxRateMbps > *g.MaxTxRateMbps {
		problem.addf(field+".minTxRateMbps", "%d is above maxTxRateMbps: %d", *g.MinTxRateMbps, *g.MaxTxRateMbps)
	}
}

// indexesOf lists the VF indexes of a PF that has n VFs.
func indexesOf(n int) string {
	switch n {
	case 0:
		return "none"
	case 1:
		return "only 0"
	}
	return fmt.Sprintf("0 to %d", n-1)
}
