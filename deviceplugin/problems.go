package deviceplugin

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
)

// problem adds a problem of a declaration.
func (a *assigner) problem(p *device.Pool, reason problem.Reason, format string, args ...any) {
	a.problems = append(a.problems, ofPool(p, reason, fmt.Sprintf(format, args...)))
}

func ofPool(p *device.Pool, reason problem.Reason, text string) problem.Problem {
	about := fmt.Sprintf("%s (%s)", p.Resource, p.Source)
	return problem.Problem{Reason: reason, About: about, Text: about + ": " + text}
}

func (a *assigner) reportOverlaps() {
	for pair, vfs := range a.overlaps {
		has, would := a.pools[pair[0]], a.pools[pair[1]]
		a.problems = append(a.problems, problem.Problem{Reason: problem.PoolOverlaps, About: has.Resource + ", " + would.Resource,
			Text: fmt.Sprintf("%d VFs (%s) are selected by %s (%s) and by %s (%s); the first has them",
				len(vfs), addressList(vfs), has.Resource, has.Source, would.Resource, would.Source)})
	}
}

// addressList returns addresses as text. Of more than two, it names the first and the
// last.
func addressList(vfs []pci.Address) string {
	if len(vfs) <= 2 {
		var parts []string
		for _, vf := range vfs {
			parts = append(parts, vf.String())
		}
		return strings.Join(parts, ", ")
	}
	return fmt.Sprintf("%s to %s", vfs[0], vfs[len(vfs)-1])
}

// reportNames reports pools that select a PF by a name that it no longer has, and pools
// that are empty because no PF has the name that they select.
func (a *assigner) reportNames(s *inventory.Snapshot) {
	for i := range s.PFs {
		pf := &s.PFs[i]
		if len(pf.EarlierNames) == 0 {
			continue
		}
		now := *pf
		now.EarlierNames, now.VFs = nil, nil
		for j := range a.pools {
			p := a.pools[j : j+1]
			if device.On(p, *pf).Fulfilled(0) > device.On(p, now).Fulfilled(0) {
				a.problem(&a.pools[j], problem.PFRenamed, "PF %s was selected as %s and %s: its VFs stay in the pool until the configuration changes or the agent restarts; select it by its present name, an altname or its address",
					pf.Address, strings.Join(pf.EarlierNames, ", "), nowCalled(pf))
			}
		}
	}
	for i := range a.pools {
		if names := a.missingNames(s, &a.pools[i]); len(names) > 0 {
			a.problem(&a.pools[i], problem.PoolSelectsNothing, "selects nothing: no PF is called %s; the PFs here are %s", strings.Join(names, ", "), called(s.PFs))
		}
	}
}

func nowCalled(pf *device.PF) string {
	if pf.Netdev == "" {
		return "has no netdev now"
	}
	return "is called " + pf.Netdev + " now"
}

func called(pfs []device.PF) string {
	var parts []string
	for _, pf := range pfs {
		if pf.Netdev == "" {
			parts = append(parts, pf.Address.String()+" (no netdev)")
			continue
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", pf.Netdev, pf.Address))
	}
	return strings.Join(parts, ", ")
}

// missingNames lists the names by which an empty pool selects PFs, if no PF has any of
// them.
func (a *assigner) missingNames(s *inventory.Snapshot, p *device.Pool) []string {
	pool := a.byKey[key{p.Resource, p.Idle}]
	if pool == nil || len(pool.Devices) > 0 || len(s.PFs) == 0 {
		return nil
	}
	var names []string
	for i := range p.Selectors {
		names = append(names, p.Selectors[i].MissingNames(slices.Concat(s.PFs, s.NICs))...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// reportFunctions reports selectors that need a PF although the node is a virtual machine
// without PFs, and selectors that name the address of a PF with VFs. It also reports pools
// that would have a virtual machine's NICs if they named their addresses.
func (a *assigner) reportFunctions(s *inventory.Snapshot) {
	inVM := virtualMachine(s) && len(s.Lone) > 0
	for i := range a.pools {
		p := &a.pools[i]
		for j := range p.Selectors {
			if fields := p.Selectors[j].NeedsPF(); inVM && len(fields) > 0 && len(p.Selectors[j].PCIAddresses) == 0 {
				a.problem(p, problem.PoolSelectsNothing, "a selector selects nothing: %s names a PF, and a virtual machine has no PFs; select VFs by vendors, devices, drivers or pciAddresses", strings.Join(fields, ", "))
			}
			for _, pf := range s.PFs {
				if p.Selectors[j].PCIAddresses[pf.Address] && len(pf.VFs) > 0 {
					a.problem(p, problem.PoolUnsupported, "pciAddresses names PF %s, which has VFs: a PF is handed out only while it has none; select its VFs, or set their number to 0", pf.Address)
				}
			}
		}
		if virtualMachine(s) {
			a.reportUnaddressed(s, i)
		}
	}
}

// reportUnaddressed reports an empty pool that would have free NICs of a virtual machine if
// pciAddresses named them.
func (a *assigner) reportUnaddressed(s *inventory.Snapshot, i int) {
	p := &a.pools[i]
	if pool := a.byKey[key{p.Resource, p.Idle}]; pool == nil || len(pool.Devices) > 0 {
		return
	}
	var nics []pci.Address
	for _, nic := range s.NICs {
		if p.Match(nic, nic.Whole()) && a.used(nic.Address, p.Resource) == "" {
			nics = append(nics, nic.Address)
		}
	}
	if len(nics) > 0 {
		a.problem(p, problem.PoolSelectsNothing, "selects nothing: on a node without PFs, such as a virtual machine, NICs that are no known VFs count only if pciAddresses names them: %s", addressList(nics))
	}
}

// missingVhost returns the problems of pools that ask for nodes that the host does not have.
func missingVhost(opts *Options, pools []device.Pool) []problem.Problem {
	var out []problem.Problem
	for i := range pools {
		if !pools[i].NeedVhostNet {
			continue
		}
		for node, module := range map[string]string{vhostNet: "vhost_net", tun: "tun"} {
			if !opts.hasNode(node) {
				out = append(out, ofPool(&pools[i], problem.DeviceNodeMissing,
					fmt.Sprintf("needVhostNet is set, and the host has no %s: pods get their VFs without it; load the module %s", node, module)))
			}
		}
	}
	slices.SortFunc(out, func(x, y problem.Problem) int { return strings.Compare(x.Text, y.Text) })
	return out
}

// hasNode reports whether the host has a device node. It looks into the host's /dev first:
// the /dev of a privileged container has only the nodes from before the container started.
func (o *Options) hasNode(node string) bool {
	for _, dev := range []string{"proc/1/root", ""} {
		if _, err := os.Stat(filepath.Join(o.FS.Root(), dev, node)); err == nil {
			return true
		}
	}
	return false
}
