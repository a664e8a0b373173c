package scenario

import (
	"strings"
	"testing"
)

// The text is a lab node's, shortened.
const nodeOutput = `[{"ifname":"pf0","address":"02:00:00:00:01:01","mtu":9000,"vfinfo_list":[{"vf":0,"address":"ea:6a:18:78:2d:6a","vlan_list":[{}],"spoofchk":true,"trust":false},{"vf":1,"address":"02:00:00:00:01:0a","vlan_list":[{"vlan":100}],"spoofchk":false,"trust":true}]},{"ifname":"eth0","address":"ea:6a:18:78:2d:6a","mtu":1500}]
pf0 1 0000:01:10.2 igbvf 21
pf0 0 0000:01:10.0 igbvf 20 eth0
`

func TestVFsAreReadFromANode(t *testing.T) {
	all, err := parseVFs(nodeOutput)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, v := range all {
		lines = append(lines, v.String())
	}
	want := `pf0 vf 0 0000:01:10.0 driver igbvf netdev eth0 mac ea:6a:18:78:2d:6a mtu 1500; at the PF: mac ea:6a:18:78:2d:6a vlan 0 trust false spoofcheck true
pf0 vf 1 0000:01:10.2 driver igbvf netdev  mac  mtu 0; at the PF: mac 02:00:00:00:01:0a vlan 100 trust true spoofcheck false`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestVFWithoutKnobsIsAnError(t *testing.T) {
	_, err := parseVFs("[{\"ifname\":\"pf0\"}]\npf0 0 0000:01:10.0 igbvf 20\n")
	if err == nil || !strings.Contains(err.Error(), "pf0 does not list its VF 0") {
		t.Errorf("err = %v, want one that names PF and VF", err)
	}
}

func TestDifferenceNamesBothSides(t *testing.T) {
	if err := difference([]string{"a", "b"}, []string{"b", "a"}); err != nil {
		t.Errorf("the same lines in another order differ: %v", err)
	}
	err := difference([]string{"a"}, []string{"b"})
	if err == nil || err.Error() != "before (-) and after (+):\n- a\n+ b" {
		t.Errorf("err = %v", err)
	}
}

func TestExamplesAreAdaptedToTheLab(t *testing.T) {
	for _, a := range everydayFiles() {
		text, err := example(a.file, change{namespace: a.namespace, node: "1"})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{labImage, "namespace: " + a.namespace, "fairlead.dev/lab-node: \"1\"", "terminationGracePeriodSeconds: 1"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", a.file, want, text)
			}
		}
	}
}
