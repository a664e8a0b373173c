package device

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/pci"
)

// devices B4, lab E: the pools follow a PF whose netdev is renamed or gone.
func TestNamesFollowAPF(t *testing.T) {
	one, two := pci.MustParseAddress("0000:3b:00.0"), pci.MustParseAddress("0000:3b:00.1")
	pf := func(addr pci.Address, netdev string, altNames ...string) PF {
		linkType := "ether"
		if netdev == "" {
			linkType = ""
		}
		return PF{Address: addr, Netdev: netdev, AltNames: altNames, LinkType: linkType}
	}
	for name, tt := range map[string]struct {
		before, now []PF
		want        string // earlier names and link types
	}{
		"nothing changed": {
			[]PF{pf(one, "pf0"), pf(two, "pf1")}, []PF{pf(one, "pf0"), pf(two, "pf1")}, "ether | ether",
		},
		"renamed": {
			[]PF{pf(one, "pf0"), pf(two, "pf1")}, []PF{pf(one, "eth7"), pf(two, "pf1")}, "pf0 ether | ether",
		},
		"the old name became an altname": {
			[]PF{pf(one, "pf0")}, []PF{pf(one, "eth7", "pf0")}, "ether",
		},
		"the netdev is gone": {
			[]PF{pf(one, "pf0", "uplink-a")}, []PF{pf(one, "")}, "pf0 uplink-a ether",
		},
		"swapped: the names are others' now": {
			[]PF{pf(one, "pf0"), pf(two, "pf1")}, []PF{pf(one, "pf1"), pf(two, "pf0")}, "ether | ether",
		},
		"a PF that was not there": {
			nil, []PF{pf(one, "pf0")}, "ether",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var names Names
			names.Follow(tt.before)
			now := names.Follow(tt.now)
			var got []string
			for _, pf := range now {
				got = append(got, strings.TrimSpace(strings.Join(pf.EarlierNames, " ")+" "+pf.LinkType))
			}
			if text := strings.Join(got, " | "); text != tt.want {
				t.Errorf("got %q, want %q", text, tt.want)
			}
			for _, pf := range tt.now {
				if pf.EarlierNames != nil {
					t.Error("the caller's PFs were changed")
				}
			}
		})
	}
}

func TestSelectorsMatchEarlierNames(t *testing.T) {
	pf := testPF
	pf.Netdev, pf.AltNames, pf.EarlierNames = "eth7", nil, []string{"ens1f0"}
	for name, s := range map[string]Selector{
		"pfNames": {PFNames: pfRanges(t, "ens1f0#2")},
		"nics":    {NIC: &NICSelector{PFNames: []string{"ens1*"}}},
	} {
		if !s.Match(pf, testVF) {
			t.Errorf("%s: the selector has lost the PF", name)
		}
	}
}
