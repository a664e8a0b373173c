package attach

import (
	"fmt"
	"testing"

	"fairlead.dev/fairlead/pkg/ledger"
)

// meta-cni B5, reports 5: links that a member or an IPAM program still needs are not
// deleted before its DEL.
func TestTheGroupDeleteKeepsTheOrderOfChains(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	exec := newPrograms()
	var atts []ledger.Attachment
	for i, confs := range [][]string{
		{onEth1}, {onEth1}, {onEth1, sbr}, {`{"type": "macvlan", "master": "eth1", "ipam": {"type": "whereabouts"}}`}, {onEth1, `{"type": "tuning"}`},
	} {
		list, err := listOf("", confs...)
		if err != nil {
			t.Fatal(err)
		}
		c := Call{SandboxID: "s1", IfName: fmt.Sprintf("net%d", i+1), Netns: ledger.Netns{Path: podNS, Inode: 7}, Exec: exec}
		k.spaces[podNS].inode = 7
		att, err := s.Prepare(t.Context(), c, list)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Add(t.Context(), c, &att); err != nil {
			t.Fatal(err)
		}
		atts = append(atts, att)
	}
	left := func() (names string) {
		for i := range 9 {
			if name := fmt.Sprintf("net%d", i); k.spaces[podNS].links[name] != nil {
				names += name + " "
			}
		}
		return names
	}
	if err := s.DeleteLinks(t.Context(), atts, ledger.Netns{Path: podNS, Inode: 8}); err != nil || left() != "net1 net2 net3 net4 net5 " {
		t.Errorf("in another pod's namespace: %v, left %s", err, left())
	}
	if err := s.DeleteLinks(t.Context(), atts, ledger.Netns{Path: podNS}); err != nil || left() != "net1 net2 net3 net4 net5 " {
		t.Errorf("of a record of format 1: %v, left %s", err, left())
	}
	if err := s.DeleteLinks(t.Context(), atts, ledger.Netns{Path: podNS, Inode: 7}); err != nil || left() != "net3 net4 net5 " {
		t.Errorf("got %v, left %s", err, left())
	}
}
