package attach

import (
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
)

// state is the node as text. A failed or finished attachment must leave it unchanged.
func (k *fakeKernel) state() string {
	var b strings.Builder
	for _, name := range []string{"", podNS} {
		s := k.spaces[name]
		if s == nil || s.gone {
			continue
		}
		fmt.Fprintf(&b, "%s:\n", map[bool]string{true: "host", false: "pod"}[name == ""])
		var names []string
		for n := range s.links {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			if n == "lo" {
				continue
			}
			b.WriteString("  " + s.links[n].text() + "\n")
		}
		for _, r := range s.rules {
			fmt.Fprintf(&b, "  rule %s\n", r)
		}
	}
	return b.String()
}

func (l *fakeLink) text() string {
	words := []string{l.Name}
	if l.Kind != "" {
		words = append(words, l.Kind, l.Mode)
	}
	words = append(words, map[bool]string{true: "up", false: "down"}[l.Up], fmt.Sprint("mtu ", l.MTU), l.MAC)
	words = append(append(words, l.residue()...), l.shape...)
	if l.Promisc {
		words = append(words, "promisc")
	}
	if l.AllMulti {
		words = append(words, "allmulti")
	}
	for _, alt := range slices.Sorted(slices.Values(l.AltNames)) {
		words = append(words, "altname "+alt)
	}
	for _, a := range l.addrs {
		words = append(words, a.IPNet.String())
	}
	for _, r := range l.routes {
		words = append(words, "route "+r.String())
		if r.Table != 0 {
			words = append(words, fmt.Sprint("table ", r.Table))
		}
	}
	for _, vf := range l.vfs {
		i := vf.info
		words = append(words, fmt.Sprintf("\n    vf %d %s vlan %d qos %d %s rate %d-%d spoofcheck %s trust %s link %s", i.Index, i.MAC, i.VLAN, i.QoS, i.VLANProto,
			i.MinTxRateMbps, i.MaxTxRateMbps, device.OnOff(*i.SpoofCheck), device.OnOff(*i.Trust), i.LinkState))
	}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}
