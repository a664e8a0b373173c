package view

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/pkg/nearest"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/state"
)

// VF describes the VFs that name names: by PCI address, PF/INDEX (ens1f0/3,
// 0000:3b:00.0/3), netdev, or the pod that holds them (namespace/name). Of a PF it draws
// the table. One name may stand for VFs on several nodes.
func VF(states []state.State, name string, o Options) (string, error) {
	merged := Merge(states)
	var found []string
	for _, s := range merged {
		eachVF(s, func(pf state.PFReport, vf state.VFReport) {
			if isAddress(vf.Address, name) || isIndexed(pf, vf, name) || isNetdev(vf, name) || isHolder(vf, name) {
				found = append(found, describeVF(s, pf, vf))
			}
		})
	}
	if len(found) > 0 {
		return strings.Join(found, "\n"), nil
	}
	ofPF := func(pf state.PFReport, _ state.VFReport) bool { return isPFName(pf, name) }
	if slices.ContainsFunc(merged, func(s state.State) bool {
		return slices.ContainsFunc(s.PFs, func(pf state.PFReport) bool { return isPFName(pf, name) })
	}) {
		return vfTable(merged, o, ofPF), nil
	}
	return "", unknownVF(merged, name)
}

// isAddress: people leave the domain out, which is 0000 on most machines.
func isAddress(a pci.Address, text string) bool {
	return !a.IsZero() && (a.String() == text || a.String() == "0000:"+text)
}

func isPFName(pf state.PFReport, name string) bool {
	return name != "" && (name == pf.Netdev || slices.Contains(pf.AltNames, name) || isAddress(pf.Address, name))
}

func isIndexed(pf state.PFReport, vf state.VFReport, name string) bool {
	uplink, index, ok := strings.Cut(name, "/")
	return ok && index == strconv.Itoa(vf.Index) && isPFName(pf, uplink)
}

// isNetdev: a VF in a pod is found by the name that it had on the host, too.
func isNetdev(vf state.VFReport, name string) bool {
	return name != "" && (name == vf.Netdev || name == vf.OriginalNetdev)
}

func isHolder(vf state.VFReport, name string) bool {
	pod := vf.AllocatedTo
	if vf.Holder != nil {
		pod = &vf.Holder.Pod
	}
	return pod != nil && (name == pod.String() || name == pod.Name)
}

// namesOf lists the names by which VFs are found, PCI addresses left out: each is near another.
func namesOf(merged []state.State) []string {
	var names []string
	for _, s := range merged {
		eachVF(s, func(pf state.PFReport, vf state.VFReport) {
			names = append(names, pf.Netdev, vf.Netdev, vf.OriginalNetdev)
			switch {
			case vf.Holder != nil:
				names = append(names, vf.Holder.Pod.String())
			case vf.AllocatedTo != nil:
				names = append(names, vf.AllocatedTo.String())
			}
		})
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// unknownVF says which part of a name is unknown.
func unknownVF(merged []state.State, name string) error {
	uplink, _, _ := strings.Cut(name, "/")
	for _, s := range merged {
		for _, pf := range s.PFs {
			if isPFName(pf, uplink) && len(pf.VFs) > 0 {
				return fmt.Errorf("no VF %q: %s has VF %d to %d", name, uplink, pf.VFs[0].Index, pf.VFs[len(pf.VFs)-1].Index)
			}
			if isPFName(pf, uplink) {
				return fmt.Errorf("no VF %q: %s has no VFs", name, uplink)
			}
		}
	}
	const short = 6 // such names are all near each other
	if near := nearest.Name(name, namesOf(merged)); near != "" && len(name) > short {
		return fmt.Errorf("no VF %q: did you mean %s? `fairleadctl vf` lists all", name, near)
	}
	return fmt.Errorf("no VF %q: give a PCI address (0000:3b:02.1), PF/INDEX (ens1f0/3), a netdev, a PF, or a pod that holds one (namespace/name); `fairleadctl vf` lists them", name)
}
