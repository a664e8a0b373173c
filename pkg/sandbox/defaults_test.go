package sandbox

import (
	"fmt"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

// withDefaultNetworks starts an agent whose pods get two default networks.
func withDefaultNetworks(t *testing.T) *node {
	t.Helper()
	n := newNode(t)
	defaults, err := network.ParseDefaultNetworks([]string{"bridge-conf", "default/macvlan-conf"})
	if err != nil {
		t.Fatal(err)
	}
	d := n.cluster.NADs["default/bridge-conf"]
	d.Namespace = "kube-system"
	n.cluster.NADs["kube-system/bridge-conf"] = d
	n.restart(func(o *Options) {
		o.DefaultNetworks, o.DefaultNetworkNamespace, o.SystemNamespaces = defaults, "kube-system", []string{"kube-system"}
	})
	return n
}

func attached(s ledger.Sandbox) string {
	var all []string
	for _, a := range s.Attachments {
		all = append(all, fmt.Sprint(a.IfName, "=", a.Network))
	}
	return strings.Join(all, " ")
}

// reports 19: default networks come before the annotation's, in order, and take the first
// numbers, as Multus has it. They are not the pod's choice: isolation does not apply.
func TestDefaultNetworks(t *testing.T) {
	n := withDefaultNetworks(t)
	n.restart(func(o *Options) { o.NamespaceIsolation = true })
	n.pod("p", "")
	n.pod("q", "tuned,macvlan-conf@data")
	n.pod("r", "")
	n.cluster.Pods["default/r"].Annotations[network.DefaultNetworkAnnotation] = "default/macvlan-conf"
	for pod, want := range map[string]string{
		"p": "eth0=cluster net1=kube-system/bridge-conf net2=default/macvlan-conf",
		"q": "eth0=cluster net1=kube-system/bridge-conf net2=default/macvlan-conf net3=default/tuned data=default/macvlan-conf",
		"r": "eth0=default/macvlan-conf net1=kube-system/bridge-conf net2=default/macvlan-conf",
	} {
		n.mustAdd("c-"+pod, pod)
		if got := attached(n.sandbox("c-" + pod)); got != want {
			t.Errorf("pod %s has %s, want %s", pod, got, want)
		}
	}
}

// reports 19: pods in a system namespace do not get them.
func TestDefaultNetworksOfSystemPods(t *testing.T) {
	n := withDefaultNetworks(t)
	n.cluster.Pods["kube-system/dns"] = network.Pod{Namespace: "kube-system", Name: "dns", UID: "uid-dns", Annotations: map[string]string{network.NetworksAnnotation: "bridge-conf"}}
	n.newNetns("/run/netns/c1")
	r := n.request("c1", "dns")
	r.Pod.Namespace = "kube-system"
	if _, err := n.serve(t.Context(), "ADD", r); err != nil {
		t.Fatal(err)
	}
	if got, want := attached(n.sandbox("c1")), "eth0=cluster net1=kube-system/bridge-conf"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// reports 19: errors name the option, not the pod's annotation.
func TestFaultsOfDefaultNetworks(t *testing.T) {
	n := withDefaultNetworks(t)
	n.pod("p", "tuned@net2")
	if _, err := n.call("ADD", "c1", "p"); err == nil || !strings.Contains(err.Error(), "already the interface of default network default/macvlan-conf") {
		t.Errorf("an interface that a default network has: %v", err)
	}
	delete(n.cluster.NADs, "kube-system/bridge-conf")
	n.pod("q", "")
	if _, err := n.call("ADD", "c2", "q"); err == nil || !strings.Contains(err.Error(), "the agent's --default-networks") || strings.Contains(err.Error(), "annotation") {
		t.Errorf("without its net-attach-def: %v", err)
	}
	for _, text := range []string{"", "a/b/c", "A", "a@net1", "/a", "a/"} {
		if _, err := network.ParseDefaultNetworks([]string{text}); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
