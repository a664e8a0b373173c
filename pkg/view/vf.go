package view

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/state"
)

// VFs draws a table of all VFs: node, pool, driver, holder. In a narrow one, columns are
// left out that `vf NAME` shows.
func VFs(states []state.State, o Options) string {
	return vfTable(Merge(states), o, func(state.PFReport, state.VFReport) bool { return true })
}

// vfTable draws the VFs that are wanted.
func vfTable(merged []state.State, o Options, wanted func(state.PFReport, state.VFReport) bool) string {
	rows := [][]string{{"NODE", "PF", "VF", "ADDRESS", "POOL", "DRIVER", "NETDEV", "MTU", "HELD BY", "INTERFACE", "HEALTH"}}
	for _, s := range merged {
		eachVF(s, func(pf state.PFReport, vf state.VFReport) {
			if !wanted(pf, vf) {
				return
			}
			name, index := "", ""
			switch {
			case vf.Whole:
				name, index = pfName(pf), "whole"
			case !vf.PF.IsZero():
				name, index = pfName(pf), strconv.Itoa(vf.Index)
			}
			holder, ifname := holderCells(vf)
			rows = append(rows, []string{s.Node, name, index,
				vf.Address.String(), vf.Pool, vf.Driver, vf.Netdev, positive(vf.MTU), holder, ifname, health(vf)})
		})
	}
	var out strings.Builder
	leaveOut := []string{"INTERFACE", "MTU", "NETDEV", "DRIVER"}
	if len(merged) == 1 {
		leaveOut = append(leaveOut, "NODE")
	}
	table(&out, fit(rows, o.Width, leaveOut...))
	return out.String()
}

// eachVF visits all VFs, and the whole functions that pods can get; pf is the zero value if a
// VF's PF is not visible.
func eachVF(s state.State, visit func(pf state.PFReport, vf state.VFReport)) {
	for _, pf := range slices.Concat(s.PFs, s.NICs) {
		if pf.Whole != nil {
			visit(pf, *pf.Whole)
		}
		for _, vf := range pf.VFs {
			visit(pf, vf)
		}
	}
	for _, vf := range s.Lone {
		visit(state.PFReport{}, vf)
	}
}

func pfName(pf state.PFReport) string { return cmp.Or(pf.Netdev, pf.Address.String()) }

// health returns the health of a VF in a pool. For other VFs, which are never handed out, it
// returns "".
func health(vf state.VFReport) string {
	switch {
	case vf.Pool == "":
		return ""
	case vf.Healthy:
		return "ok"
	}
	return vf.Reason
}

func holderCells(vf state.VFReport) (holder, ifname string) {
	switch {
	case vf.Holder != nil:
		return vf.Holder.Pod.String(), vf.Holder.IfName
	case vf.AllocatedTo != nil:
		return vf.AllocatedTo.String(), ""
	case vf.Allocated:
		return "(allocated)", ""
	}
	return "", ""
}

func describeVF(s state.State, pf state.PFReport, vf state.VFReport) string {
	var out strings.Builder
	switch {
	case vf.Whole:
		fmt.Fprintf(&out, "%s %s: %s as a whole\n", s.Node, vf.Address, pfName(pf))
	case vf.PF.IsZero():
		fmt.Fprintf(&out, "%s %s: VF whose PF is not visible here\n", s.Node, vf.Address)
	default:
		fmt.Fprintf(&out, "%s %s: VF %d of %s\n", s.Node, vf.Address, vf.Index, pfName(pf))
	}
	facts := [][2]string{
		{"pool", cmp.Or(vf.Pool, "none")},
		{"health", health(vf)},
		{"driver", cmp.Or(vf.Driver, "none")},
		{"netdev", cmp.Or(vf.Netdev, "none on the host")},
		{"NUMA node", number(vf.NUMANode)},
		{"IOMMU group", number(vf.IOMMUGroup)},
		{"RDMA devices", strings.Join(vf.RDMADevices, ", ")},
		{"held by", heldBy(vf)},
	}
	for _, f := range facts {
		if f[1] != "" {
			fmt.Fprintf(&out, "  %-13s %s\n", f[0], f[1])
		}
	}
	if rows := knobRows(vf); len(rows) > 1 {
		out.WriteByte('\n')
		var inner strings.Builder
		table(&inner, rows)
		for line := range strings.Lines(inner.String()) {
			out.WriteString("  " + line)
		}
	}
	return out.String()
}

func heldBy(vf state.VFReport) string {
	h := vf.Holder
	switch {
	case h != nil:
		return fmt.Sprintf("pod %s, interface %s, network %s (%s since %s)", h.Pod, h.IfName, h.Network, h.Phase, h.Since.UTC().Format(time.RFC3339))
	case vf.AllocatedTo != nil:
		return fmt.Sprintf("pod %s, says the kubelet (there is no record of it here, and no network has it)", vf.AllocatedTo)
	case vf.Allocated:
		return "a container (the kubelet handed it out; no network of the pod has it)"
	}
	return "nobody"
}

// knobRows returns a row for each knob with a known value: before the pod got the VF, as the
// pod's network requested it, and now.
func knobRows(vf state.VFReport) [][]string {
	rows := [][]string{{"KNOB", "ORIGINAL", "ASKED FOR", "NOW"}}
	add := func(name string, cells ...string) {
		if slices.ContainsFunc(cells, func(cell string) bool { return cell != "" }) {
			rows = append(rows, append([]string{name}, cells...))
		}
	}
	columns := []device.Settings{orNone(vf.Original), orNone(vf.Applied), orNone(vf.Current)}
	if vf.OriginalNetdev != "" {
		add("netdev", vf.OriginalNetdev, "", vf.Netdev)
	}
	add("MAC", columns[0].MAC, columns[1].MAC, columns[2].MAC)
	for _, k := range device.Knobs {
		var cells []string
		for _, s := range columns {
			cells = append(cells, knobText(k, s))
		}
		add(knobName(k), cells...)
	}
	return rows
}

func orNone(s *device.Settings) device.Settings {
	if s == nil {
		return device.Settings{}
	}
	return *s
}

func knobText(k device.Knob, s device.Settings) string {
	if !k.Has(s) {
		return ""
	}
	return k.Text(s)
}

// knobName distinguishes the MAC at the PF from that of the netdev.
func knobName(k device.Knob) string {
	if k.Name == device.KnobMAC {
		return "MAC at the PF"
	}
	return k.Name
}

func positive(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func number(n int) string {
	if n < 0 {
		return "none"
	}
	return strconv.Itoa(n)
}
