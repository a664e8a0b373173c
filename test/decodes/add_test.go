//go:build root && decodes

package decodes

import "testing"

// The largest numbers of decodes in the agent. They may only go down.
const (
	addCeiling = 16
	delCeiling = 9
)

// An ADD and a DEL of a pod with one VF beside its primary network, a chain of two
// plugins that are programs. The node has had a pod before, and neither the network nor
// the primary's conf has changed since. The shim is a process of its own, so its decodes
// are left out.
func TestAddAndDelOfOneVF(t *testing.T) {
	n := newNode(t)
	n.call("ADD") // reads the primary's conf
	n.call("DEL")
	for _, verb := range []struct {
		command string
		ceiling int
	}{{"ADD", addCeiling}, {"DEL", delCeiling}} {
		counts, nested := Count("/cni/shim.", func() { n.call(verb.command) })
		t.Logf("%s: %d JSON decodes, and %d within those\n%s", verb.command, counts.Total(), nested, counts)
		if counts.Total() > verb.ceiling {
			t.Errorf("%s takes %d JSON decodes, at most %d", verb.command, counts.Total(), verb.ceiling)
		}
	}
}
