package scenario

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// vf is a VF as the node's kernel shows it: its place in sysfs, its netdev if that is
// on the host, and its knobs at the PF.
type vf struct {
	PF      string
	Index   int
	Address string
	Driver  string
	Group   string // IOMMU group
	Netdev  string // empty: none on the host
	MAC     string // of the netdev
	MTU     int    // of the netdev
	Knobs   knobs
}

// knobs are the settings of a VF that `ip link show PF` prints.
type knobs struct {
	MAC        string
	VLAN       int
	Trust      bool
	SpoofCheck bool
}

// String returns a line. The lines of two moments can be compared.
func (v vf) String() string {
	return fmt.Sprintf("%s vf %d %s driver %s netdev %s mac %s mtu %d; at the PF: mac %s vlan %d trust %t spoofcheck %t",
		v.PF, v.Index, v.Address, v.Driver, v.Netdev, v.MAC, v.MTU, v.Knobs.MAC, v.Knobs.VLAN, v.Knobs.Trust, v.Knobs.SpoofCheck)
}

// ipLink has the fields of `ip -j link` that count here.
type ipLink struct {
	Name string `json:"ifname"`
	MAC  string `json:"address"`
	MTU  int    `json:"mtu"`
	VFs  []struct {
		VF    int    `json:"vf"`
		MAC   string `json:"address"`
		VLANs []struct {
			VLAN int `json:"vlan"`
		} `json:"vlan_list"`
		SpoofCheck bool `json:"spoofchk"`
		Trust      bool `json:"trust"`
	} `json:"vfinfo_list"`
}

// readVFs prints the links as JSON, then a line per VF.
const readVFs = `ip -j link show | tr -d '\n'; echo
for f in /sys/class/net/*/device/virtfn*; do
  [ -e "$f" ] || continue
  d=$(readlink -f "$f"); p=${f#/sys/class/net/}
  echo "${p%%/*} ${f##*virtfn} ${d##*/} $(basename "$(readlink "$d/driver" || echo none)")" \
    "$(basename "$(readlink "$d/iommu_group" || echo none)") $(ls "$d/net" 2>/dev/null | head -n 1)"
done`

// vfs reads all VFs of a node.
func (k nodes) vfs(ctx context.Context, node string) ([]vf, error) {
	out, err := k.c.Lab.Exec(ctx, node, readVFs)
	if err != nil {
		return nil, err
	}
	return parseVFs(out)
}

func parseVFs(out string) ([]vf, error) {
	first, rest, _ := strings.Cut(out, "\n")
	var links []ipLink
	if err := json.Unmarshal([]byte(first), &links); err != nil {
		return nil, fmt.Errorf("ip -j link: %w", err)
	}
	byName := map[string]ipLink{}
	for _, link := range links {
		byName[link.Name] = link
	}
	var all []vf
	lines := bufio.NewScanner(strings.NewReader(rest))
	for lines.Scan() {
		v, err := parseVF(strings.Fields(lines.Text()), byName)
		if err != nil {
			return nil, fmt.Errorf("VF line %q: %w", lines.Text(), err)
		}
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b vf) int { return strings.Compare(a.Address, b.Address) })
	return all, lines.Err()
}

func parseVF(fields []string, links map[string]ipLink) (vf, error) {
	if len(fields) < 5 {
		return vf{}, fmt.Errorf("%d fields", len(fields))
	}
	index, err := strconv.Atoi(fields[1])
	if err != nil {
		return vf{}, err
	}
	v := vf{PF: fields[0], Index: index, Address: fields[2], Driver: fields[3], Group: fields[4]}
	if len(fields) > 5 {
		v.Netdev = fields[5]
		v.MAC, v.MTU = links[v.Netdev].MAC, links[v.Netdev].MTU
	}
	for _, info := range links[v.PF].VFs {
		if info.VF == index {
			v.Knobs = knobs{MAC: info.MAC, Trust: info.Trust, SpoofCheck: info.SpoofCheck}
			if len(info.VLANs) > 0 {
				v.Knobs.VLAN = info.VLANs[0].VLAN
			}
			return v, nil
		}
	}
	return v, fmt.Errorf("%s does not list its VF %d", v.PF, index)
}

// vfOf returns the VF behind an interface of a pod. It finds the VF by the pod's
// network-status, and reads it on the pod's node.
func (k nodes) vfOf(ctx context.Context, namespace, pod, ifname string) (vf, error) {
	entry, err := k.c.statusOf(ctx, namespace, pod, ifname)
	if err != nil {
		return vf{}, err
	}
	if entry.DeviceInfo == nil || entry.DeviceInfo.Pci == nil {
		return vf{}, fmt.Errorf("network-status of %s/%s, %s, has no device-info of a PCI device", namespace, pod, ifname)
	}
	p, err := k.c.Pod(ctx, namespace, pod)
	if err != nil {
		return vf{}, err
	}
	all, err := k.vfs(ctx, p.Spec.NodeName)
	if err != nil {
		return vf{}, err
	}
	for _, v := range all {
		if v.Address == entry.DeviceInfo.Pci.PciAddress {
			return v, nil
		}
	}
	return vf{}, fmt.Errorf("%s has no VF %s", p.Spec.NodeName, entry.DeviceInfo.Pci.PciAddress)
}

// snapshot returns all VFs of all nodes, a line each. They must be the same again when
// the pods are gone.
func (k nodes) snapshot(ctx context.Context) ([]string, error) {
	var lines []string
	for _, node := range k.c.Lab.Nodes() {
		all, err := k.vfs(ctx, node)
		if err != nil {
			return nil, err
		}
		for _, v := range all {
			lines = append(lines, node+" "+v.String())
		}
	}
	return lines, nil
}

// difference names the lines that are not in both.
func difference(before, after []string) error {
	var lines []string
	for _, line := range before {
		if !slices.Contains(after, line) {
			lines = append(lines, "- "+line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			lines = append(lines, "+ "+line)
		}
	}
	if lines == nil {
		return nil
	}
	return fmt.Errorf("before (-) and after (+):\n%s", strings.Join(lines, "\n"))
}
