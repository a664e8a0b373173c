package sandbox

import (
	"errors"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/policy"
)

// underPolicy gives the next agent a policy for the namespace default.
func underPolicy(t *testing.T, o *Options, spec string) {
	t.Helper()
	all, err := config.ParsePolicy([]byte("apiVersion: fairlead.dev/v1alpha1\nkind: AttachmentPolicy\nmetadata: {name: strict}\nspec: {namespaces: [default], "+spec+"}"), "p.yaml")
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.NewSet(all)
	if err != nil {
		t.Fatal(err)
	}
	o.Policies = func() (policy.Set, error) { return set, nil }
}

// security 2: a policy is asked when an annotation is read and when a network is parsed,
// for every member of its chain, before anything is prepared.
func TestPoliciesAreAskedBeforeAnythingIsPrepared(t *testing.T) {
	for _, tt := range []struct{ name, spec, networks, want string }{
		{"allowed", `networks: {uplinks: [eth0]}`, "macvlan-conf", ""},
		{"the uplink", `networks: {uplinks: [eth1]}`, "macvlan-conf", "network default/macvlan-conf: check the attachment policies: net-attach-def default/macvlan-conf, plugin \"macvlan\", field master: policy strict refuses \"eth0\""},
		{"a program", ``, "bridge-conf", `field type: policy strict refuses "bridge"`},
		{"a later member", `networks: {uplinks: [eth0]}`, "tuned", "plugin 3 (sbr), field type"},
		{"the annotation", `networks: {uplinks: [eth0]}`, `[{"name": "macvlan-conf", "mac": "02:00:00:00:00:01"}]`, "network 1 (default/macvlan-conf), field mac: policy strict refuses"},
		{"an address out of the range", `networks: {uplinks: [eth0]}, pods: {ips: range}`, `[{"name": "macvlan-conf", "ips": ["192.0.2.1/24"]}]`, "field ips"},
		{"a namespace: the net-attach-def is not even looked up", ``, "kube-system/there-is-none", "field namespace: policy strict refuses"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.restart(func(o *Options) { underPolicy(t, o, tt.spec) })
			n.pod("p", tt.networks)
			_, err := n.call("ADD", "c1", "p")
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if tt.want == "" {
				return
			}
			if KindOf(err) != Invalid {
				t.Errorf("kind %v", KindOf(err))
			}
			if left := n.world.Left(); left != "" || n.world.Did("prepare") {
				t.Errorf("something was made: %s", left)
			}
		})
	}
}

// Namespace isolation and policies are asked both: neither overrules the other.
func TestNamespaceIsolationAndPoliciesCompose(t *testing.T) {
	for _, tt := range []struct {
		name, from string
		isolation  bool
		want       string
	}{
		{"both allow", "[own, shared]", false, ""},
		{"isolation denies", "[own, shared]", true, "namespace isolation is on"},
		{"the policy denies", "[own]", false, "policy strict refuses"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.restart(func(o *Options) {
				o.NamespaceIsolation = tt.isolation
				underPolicy(t, o, "pods: {networksFrom: "+tt.from+"}")
			})
			lan, err := network.ParseDefinition("shared", "lan", `{"type": "macvlan", "master": "eth0"}`, nil)
			if err != nil {
				t.Fatal(err)
			}
			n.cluster.NADs["shared/lan"] = lan
			n.pod("p", "shared/lan")
			_, err = n.call("ADD", "c1", "p")
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// The administrator chooses the default networks, so a policy does not count them.
func TestPoliciesDoNotCountDefaultNetworks(t *testing.T) {
	n := withDefaultNetworks(t)
	n.restart(func(o *Options) { underPolicy(t, o, "pods: {networksFrom: [own], maxNetworks: 1}") })
	n.pod("p", "")
	n.mustAdd("c1", "p")
	if got, want := attached(n.sandbox("c1")), "eth0=cluster net1=kube-system/bridge-conf net2=default/macvlan-conf"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// If the policies cannot be read, a pod that asks for networks waits, and one that asks
// for nothing starts.
func TestUnreadablePoliciesRefuseNetworksOnly(t *testing.T) {
	n := newNode(t)
	n.restart(func(o *Options) {
		o.Policies = func() (policy.Set, error) { return policy.Set{}, errors.New("p.yaml: spec.x: unknown field") }
	})
	n.pod("asks", "macvlan-conf")
	n.pod("plain", "")
	if _, err := n.call("ADD", "c1", "asks"); KindOf(err) != TryAgain || !strings.Contains(err.Error(), "read the attachment policies: p.yaml: spec.x") {
		t.Errorf("got %v", err)
	}
	if _, err := n.call("ADD", "c2", "plain"); err != nil {
		t.Error(err)
	}
}
