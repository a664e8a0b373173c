//go:build root

package attach

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

// security 2: the real kernel would take macvlan on another pod's veth, in passthru too.
func TestARealVethIsNoUplink(t *testing.T) {
	n := newTestNode(t)
	n.veth("eth0cali", "net9")
	pod := netnstest.New(t)
	id, err := Identify(pod)
	if err != nil {
		t.Fatal(err)
	}
	for conf, want := range map[string]string{
		`{"type": "macvlan", "master": "eth0cali", "mode": "passthru"}`:            "it is a veth",
		`{"type": "ipvlan", "master": "eth0cali"}`:                                 "it is a veth",
		`{"type": "vlan", "master": "eth0cali", "vlanId": 5}`:                      "it is a veth",
		`{"type": "host-device", "device": "eth0cali"}`:                            "it is a veth",
		`{"type": "macvlan", "master": "up0port"}`:                                 "it is a veth",
		`{"type": "macvlan", "master": "lo"}`:                                      "loopback",
		`{"type": "macvlan", "master": "up0", "mode": "private"}`:                  "",
		`{"type": "macvlan", "builtin": false, "master": "up0", "mode": "bridge"}`: "",
		`{"type": "vlan", "master": "not-on-the-host", "linkInContainer": true}`:   "",
	} {
		list, err := listOf("", conf)
		if err != nil {
			t.Fatal(err)
		}
		_, err = n.set.Prepare(t.Context(), Call{SandboxID: "s1", IfName: "net1", Network: "team-a/x", Netns: ledger.Netns(id)}, list)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", conf, err, want)
		}
	}
}
