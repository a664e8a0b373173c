package cni

import (
	"strings"
	"testing"
)

// S1: a plugin that has Fairlead as its IPAM plugin or delegate passes its own conf.
func TestForeignCallsAreRefused(t *testing.T) {
	n := newNode(t)
	n.pod("p", "")
	for _, command := range []string{"ADD", "CHECK", "DEL"} {
		r := n.request(command, "c1", "p")
		r.Stdin = []byte(`{"cniVersion":"1.0.0","name":"tenants","type":"macvlan","ipam":{"type":"fairlead"}}`)
		if _, err := n.serve(t.Context(), r); err == nil || !strings.Contains(err.Error(), `"code":7,`) || !strings.Contains(err.Error(), "not Fairlead's own") {
			t.Errorf("%s: %v", command, err)
		}
	}
	for _, plugin := range []string{"fairlead", "multus"} {
		if file, err := (&conversation{}).FindInPath(plugin, nil); err == nil {
			t.Errorf("%s is run as %s", plugin, file)
		}
	}
}
