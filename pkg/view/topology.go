package view

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/state"
)

// Options describe the output. The zero value is for a file or a pipe.
type Options struct {
	Width  int // columns of the terminal; 0: no limit
	Colour bool
}

// Topology draws the nodes. Below each node are its NUMA nodes and their PFs, and below a PF
// its VFs with the pods that hold them, and the pods with a macvlan or ipvlan on that uplink.
func Topology(states []state.State, o Options) string {
	t := newTree(o.Width, o.Colour)
	for i, s := range Merge(states) {
		if i > 0 {
			t.end()
		}
		t.root(drawNode(s))
	}
	return t.out.String()
}

// Merge sorts the states by node. If a node has several, the newest is used. The result is safe
// to print.
func Merge(states []state.State) []state.State {
	newest := map[string]state.State{}
	for _, s := range states {
		if have, ok := newest[s.Node]; !ok || s.Time.After(have.Time) {
			newest[s.Node] = s
		}
	}
	out := make([]state.State, 0, len(newest))
	for _, s := range newest {
		out = append(out, printable(s))
	}
	slices.SortFunc(out, func(a, b state.State) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

func drawNode(s state.State) *branch {
	root := &branch{parts: []segment{{s.Node, strong}, {count(len(s.PFs), "PF"), plain}, {count(vfCount(s), "VF"), plain}}}
	if s.Tombstones > 0 {
		root.parts = append(root.parts, segment{count(s.Tombstones, "tombstone"), warn})
	}
	pfs := slices.Concat(s.PFs, wholeNICs(s))
	for _, numa := range numaNodes(pfs) {
		below := root
		if numa >= 0 {
			below = root.add(segment{"NUMA " + strconv.Itoa(numa), faint})
		}
		for _, pf := range pfs {
			if max(pf.NUMANode, -1) == numa {
				drawPF(below, pf, s)
			}
		}
	}
	drawLone(root, s)
	drawOtherUplinks(root, s)
	for _, p := range s.Problems {
		root.add(segment{"! " + p.Text, bad})
	}
	return root
}

// wholeNICs returns the NICs without SR-IOV that pods can get.
func wholeNICs(s state.State) []state.PFReport {
	return slices.DeleteFunc(slices.Clone(s.NICs), func(nic state.PFReport) bool { return nic.Whole == nil })
}

// numaNodes lists the NUMA nodes in order. PFs without one (-1) come last, directly below the
// machine.
func numaNodes(pfs []state.PFReport) []int {
	var out []int
	for _, pf := range pfs {
		out = append(out, max(pf.NUMANode, -1))
	}
	slices.SortFunc(out, func(a, b int) int { return cmp.Compare(uint(a), uint(b)) }) // uint(-1) is the largest
	return slices.Compact(out)
}

func drawPF(below *branch, pf state.PFReport, s state.State) {
	line := below.add(segment{cmp.Or(pf.Netdev, "(no netdev)"), strong}, segment{pf.Address.String(), plain},
		segment{cmp.Or(pf.ProductName, pf.Vendor+":"+pf.Device), faint})
	line.parts = appendText(line.parts, pf.Driver, plain)
	line.parts = append(line.parts, carrier(pf))
	if pf.MTU != 0 {
		line.parts = append(line.parts, segment{"mtu " + strconv.Itoa(pf.MTU), plain})
	}
	if pf.TotalVFs > 0 {
		line.parts = append(line.parts, segment{strconv.Itoa(pf.NumVFs) + " of " + count(pf.TotalVFs, "VF"), plain})
	} else {
		line.parts = append(line.parts, segment{"no SR-IOV", faint})
	}
	if pf.Whole != nil {
		line.add(append([]segment{{"whole", plain}}, drawVFs([]state.VFReport{*pf.Whole}, s)...)...)
	}
	for i := 0; i < len(pf.VFs); {
		run := freeRun(pf.VFs[i:])
		line.add(drawVFs(pf.VFs[i:i+run], s)...)
		i += run
	}
	for _, child := range linksOn(s, func(uplink string) bool {
		return uplink == pf.Netdev && uplink != "" || slices.Contains(pf.AltNames, uplink)
	}) {
		line.add(child...)
	}
}

// drawLone lists the VFs that a virtual machine was given: the PF is the host's.
func drawLone(root *branch, s state.State) {
	if len(s.Lone) == 0 {
		return
	}
	line := root.add(segment{"no PF visible", faint}, segment{count(len(s.Lone), "VF"), plain})
	for _, vf := range s.Lone {
		line.add(drawVFs([]state.VFReport{vf}, s)...)
	}
}

func carrier(pf state.PFReport) segment {
	switch {
	case pf.Netdev == "":
		return segment{"no link", warn}
	case pf.Carrier:
		return segment{"up", good}
	}
	return segment{"no carrier", warn}
}

// freeRun returns how many of the first VFs differ only in their index. A PF has up to 256, and
// free ones need only one line. Two are shorter as two lines.
func freeRun(vfs []state.VFReport) int {
	n := 1
	for n < len(vfs) && alike(vfs[0], vfs[n]) && vfs[n].Index == vfs[n-1].Index+1 {
		n++
	}
	if n < 3 {
		return 1
	}
	return n
}

func alike(a, b state.VFReport) bool {
	return !a.Allocated && !b.Allocated && a.Pool == b.Pool && a.Driver == b.Driver && a.Healthy == b.Healthy && a.Reason == b.Reason &&
		slices.Equal(shared(a), shared(b))
}

// shared returns the parts of a line that are the same for several VFs.
func shared(vf state.VFReport) []segment {
	return knobs(vf, state.AttachmentReport{}, false)
}

func drawVFs(vfs []state.VFReport, s state.State) []segment {
	vf := vfs[0]
	if len(vfs) > 1 {
		last := vfs[len(vfs)-1]
		parts := []segment{{"vf" + strconv.Itoa(vf.Index) + "–vf" + strconv.Itoa(last.Index), plain}, poolPart(vf)}
		parts = append(parts, usePart(vf))
		return append(appendText(parts, vf.Driver, faint), shared(vf)...)
	}
	parts := []segment{{vf.Address.String(), plain}, poolPart(vf), usePart(vf)}
	if !vf.PF.IsZero() { // without a PF it has no index
		parts = slices.Insert(parts, 0, segment{"vf" + strconv.Itoa(vf.Index), plain})
	}
	var held state.AttachmentReport
	if vf.Holder != nil {
		held = attachmentOf(s, *vf.Holder)
		parts = append(parts, segment{vf.Holder.IfName, plain})
		for _, ip := range held.IPs {
			parts = append(parts, segment{ip, plain})
		}
	}
	parts = appendText(parts, vf.Driver, faint)
	return append(parts, knobs(vf, held, true)...)
}

func poolPart(vf state.VFReport) segment {
	if vf.Pool == "" {
		return segment{"no pool", faint}
	}
	return segment{vf.Pool, plain}
}

// usePart says who has the VF.
func usePart(vf state.VFReport) segment {
	switch {
	case vf.Holder != nil && vf.Holder.Phase == ledger.Bound:
		return segment{"→ " + vf.Holder.Pod.String(), strong}
	case vf.Holder != nil:
		return segment{"→ " + vf.Holder.Pod.String() + " (unfinished)", warn}
	case vf.AllocatedTo != nil:
		return segment{"→ " + vf.AllocatedTo.String() + " (no record)", warn}
	case vf.Allocated:
		return segment{"allocated, in no network", warn}
	case vf.Pool != "" && !vf.Healthy:
		return segment{"unhealthy: " + vf.Reason, bad}
	case vf.Pool != "":
		return segment{"free", good}
	}
	return segment{"unused", faint}
}

// knobs returns the settings of a VF that differ from a new VF's. The PF's report takes
// precedence over the network's request.
func knobs(vf state.VFReport, held state.AttachmentReport, address bool) []segment {
	var out []segment
	for _, k := range device.KnobsAt(device.AtPF) {
		if k.Name != device.KnobMAC {
			out = appendText(out, knobPart(k, vf), plain)
			continue
		}
		if address {
			out = appendText(out, macOf(vf, held), plain)
		}
		if mtu := cmp.Or(held.MTU, vf.MTU); mtu != 0 {
			out = append(out, segment{"mtu " + strconv.Itoa(mtu), plain})
		}
	}
	return out
}

// knobPart returns "" if the knob has the value of a new VF, or its value is unknown.
func knobPart(k device.Knob, vf state.VFReport) string {
	var fresh device.Settings
	if k.Default != nil {
		k.Default(&fresh)
	}
	s, known := known(k, vf)
	if !known || k.Same(fresh, s) {
		return ""
	}
	return strings.ToLower(k.Name) + " " + k.Text(s)
}

// known returns settings in which the knob has a value: the current ones, or else those that
// the network requested.
func known(k device.Knob, vf state.VFReport) (device.Settings, bool) {
	for _, s := range []*device.Settings{vf.Current, vf.Applied} {
		if s != nil && k.Has(*s) {
			return *s, true
		}
	}
	return device.Settings{}, false
}

// macOf prefers the MAC that the pod has. A userspace VF's MAC comes from the PF.
func macOf(vf state.VFReport, held state.AttachmentReport) string {
	mac := cmp.Or(held.MAC, vf.MAC)
	for _, s := range []*device.Settings{vf.Current, vf.Applied} {
		if mac == "" && s != nil && s.AdminMAC != nil && *s.AdminMAC != device.NoMAC {
			mac = *s.AdminMAC
		}
	}
	return mac
}

func attachmentOf(s state.State, h state.Holder) state.AttachmentReport {
	for _, sandbox := range s.Sandboxes {
		if sandbox.ID != h.Sandbox {
			continue
		}
		for _, a := range sandbox.Attachments {
			if a.IfName == h.IfName && a.Network == h.Network {
				return a
			}
		}
	}
	return state.AttachmentReport{}
}

// drawOtherUplinks lists pods on uplinks that are no PF: a bond, a plain NIC.
func drawOtherUplinks(root *branch, s state.State) {
	var names []string
	for _, sandbox := range s.Sandboxes {
		for _, a := range sandbox.Attachments {
			if a.Uplink != "" && a.Device.IsZero() && !isPF(s.PFs, a.Uplink) && !isPF(wholeNICs(s), a.Uplink) && a.Phase != ledger.Released {
				names = append(names, a.Uplink)
			}
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		line := root.add(segment{name, strong}, segment{"no SR-IOV", faint})
		for _, child := range linksOn(s, func(uplink string) bool { return uplink == name }) {
			line.add(child...)
		}
	}
}

func isPF(pfs []state.PFReport, netdev string) bool {
	return slices.ContainsFunc(pfs, func(pf state.PFReport) bool {
		return pf.Netdev == netdev || slices.Contains(pf.AltNames, netdev)
	})
}

// linksOn draws the attachments without a VF on the uplinks that match.
func linksOn(s state.State, match func(string) bool) [][]segment {
	var out [][]segment
	for _, sandbox := range s.Sandboxes {
		for _, a := range sandbox.Attachments {
			if a.Device.IsZero() && a.Phase != ledger.Released && match(a.Uplink) {
				out = append(out, drawLink(sandbox, a))
			}
		}
	}
	return out
}

func drawLink(sandbox state.SandboxReport, a state.AttachmentReport) []segment {
	parts := []segment{{a.Kind, plain}, {"→ " + sandbox.Pod.String(), strong}, {a.IfName, plain}}
	for _, ip := range a.IPs {
		parts = append(parts, segment{ip, plain})
	}
	if a.VLAN != 0 {
		parts = append(parts, segment{"vlan " + strconv.Itoa(a.VLAN), plain})
	}
	parts = appendText(parts, a.MAC, plain)
	if a.MTU != 0 {
		parts = append(parts, segment{"mtu " + strconv.Itoa(a.MTU), plain})
	}
	if a.FallbackFrom != "" {
		parts = append(parts, segment{"in place of " + a.FallbackFrom + ": " + a.FallbackReason, warn})
	}
	return parts
}

func appendText(parts []segment, text string, s style) []segment {
	if text == "" {
		return parts
	}
	return append(parts, segment{text, s})
}

func vfCount(s state.State) int {
	n := len(s.Lone)
	for _, pf := range s.PFs {
		n += len(pf.VFs)
	}
	return n
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
