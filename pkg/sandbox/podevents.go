package sandbox

import (
	"fmt"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ledger"
)

// reportAdded writes one event that lists the pod's interfaces: an ADD costs the API
// server one status and one event, however many networks it makes.
func reportAdded(o Options, sandbox ledger.Sandbox, results []*types100.Result) {
	if o.EventPerInterface {
		reportEach(o.Cluster, sandbox, results)
		return
	}
	var added []string
	for i, a := range sandbox.Attachments {
		text := addedText(a, results[i])
		if f := fallbackOf(a); f != nil {
			text += fmt.Sprintf(" (%s in place of %s: %s)", f.To, f.From, f.Reason)
		}
		added = append(added, text)
	}
	o.Cluster.Event(sandbox.Pod, "Normal", "AddedInterface", "Add "+strings.Join(added, ", "))
}

// reportEach writes the events of today's meta-CNI: one for each interface.
func reportEach(cluster Cluster, sandbox ledger.Sandbox, results []*types100.Result) {
	for i, a := range sandbox.Attachments {
		cluster.Event(sandbox.Pod, "Normal", "AddedInterface", "Add "+addedText(a, results[i]))
		if f := fallbackOf(a); f != nil {
			cluster.Event(sandbox.Pod, "Normal", "Fallback",
				fmt.Sprintf("network %s (interface %s) is %s in place of %s: %s", a.Network, a.IfName, f.To, f.From, f.Reason))
		}
	}
}

// addedText has the form that scripts parse: net1 [10.1.0.5/24] from default/lan.
func addedText(a ledger.Attachment, r *types100.Result) string {
	return fmt.Sprintf("%s [%s] from %s", a.IfName, strings.Join(addresses(r), " "), a.Network)
}

func addresses(r *types100.Result) []string {
	var list []string
	if r != nil {
		for _, ip := range r.IPs {
			list = append(list, ip.Address.String())
		}
	}
	return list
}

// reportIgnored writes one Warning about all parts of the pod's annotation and of its
// networks' configs that have no effect.
func reportIgnored(cluster Cluster, pod ledger.PodRef, plan []planned) {
	var all []string
	for _, n := range plan {
		all = append(all, n.Ignored()...)
		for _, text := range n.ignored {
			all = append(all, fmt.Sprintf("network %s (%s): %s", n.Network, n.IfName, text))
		}
	}
	if len(all) > 0 && pod.Name != "" {
		cluster.Event(pod, "Warning", "FieldIgnored", "without effect: "+strings.Join(all, ". "))
	}
}
