package network

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChanges(t *testing.T) {
	for name, tc := range map[string]struct{ have, annotation, add, remove, err string }{
		"nothing changes":                        {have: "a@net1 b@net2", annotation: "a,b"},
		"one more":                               {have: "a@net1", annotation: "a,b", add: "b@net2"},
		"one more with a name":                   {have: "a@net1", annotation: "a,b@data0", add: "b@data0"},
		"all go":                                 {have: "a@net1 b@net2", annotation: "", remove: "a@net1 b@net2"},
		"the first goes, and the rest keeps":     {have: "a@net1 b@net2", annotation: "b", remove: "a@net1"},
		"the order changes":                      {have: "a@net1 b@net2", annotation: "b,a"},
		"a network twice":                        {have: "a@net1", annotation: "a,a", add: "a@net2"},
		"one of two goes":                        {have: "a@net1 a@net2", annotation: "a", remove: "a@net2"},
		"the named one of two stays":             {have: "a@net1 a@net2", annotation: "a@net2", remove: "a@net1"},
		"a name is spelled out":                  {have: "a@net1", annotation: "a@net1"},
		"a name goes first":                      {have: "a@net1 a@x", annotation: "a,a@net1"},
		"another name is another interface":      {have: "a@net1", annotation: "a@x", add: "a@x", remove: "a@net1"},
		"the place of a removed name":            {have: "a@x", annotation: "b@x", add: "b@x", remove: "a@x"},
		"the first free number":                  {have: "a@net1 b@net2", annotation: "c,b", add: "c@net1", remove: "a@net1"},
		"numbers in use are passed over":         {have: "b@net1 a@net2", annotation: "a,c", add: "c@net3", remove: "b@net1"},
		"a name that a new one without one gets": {have: "", annotation: "a,b@net1", add: "a@net2 b@net1"},
		"a name in use":                          {have: "a@net1", annotation: "a,b@net1", err: `"net1" of network ns/b is already the interface of network ns/a`},
		"the primary's name":                     {have: "", annotation: "a@eth0", err: "already the interface of another network of the pod"},
		"the loopback's":                         {have: "", annotation: "a@lo", err: "already the interface of the loopback device"},
	} {
		t.Run(name, func(t *testing.T) {
			selections, err := ParseSelections(tc.annotation, "ns")
			if err != nil {
				t.Fatal(err)
			}
			var have []Interface
			for _, text := range strings.Fields(tc.have) {
				network, name, _ := strings.Cut(text, "@")
				have = append(have, Interface{Network: "ns/" + network, Name: name})
			}
			add, remove, err := Changes(selections, have, []string{"eth0"})
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			var added, removed []string
			for _, s := range add {
				added = append(added, s.Name+"@"+s.Interface)
			}
			for _, i := range remove {
				removed = append(removed, strings.TrimPrefix(i.Network, "ns/")+"@"+i.Name)
			}
			if diff := cmp.Diff([]string{tc.add, tc.remove}, []string{strings.Join(added, " "), strings.Join(removed, " ")}); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}
