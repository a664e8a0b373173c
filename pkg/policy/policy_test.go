package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/policy"
)

func named(name, spec string) string {
	return "---\napiVersion: fairlead.dev/v1alpha1\nkind: AttachmentPolicy\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"
}

// The first policy that selects a namespace is in effect, by priority and then by name.
func TestOnePolicyIsInEffectForANamespace(t *testing.T) {
	set := parse(t, named("b", `namespaces: ["team-*"]`)+named("a", `namespaces: ["team-*"]`)+
		named("z", `namespaces: [team-x], priority: 1`)+named("default", ""))
	for namespace, want := range map[string]string{"team-a": "a", "team-x": "z", "other": "default"} {
		if p := set.For(namespace); p == nil || p.Name != want {
			t.Errorf("%s: %v, want %s", namespace, p, want)
		}
	}
	if p := parse(t, named("a", `namespaces: ["team-*"]`)).For("other"); p != nil {
		t.Errorf("without a policy for it: %v", p)
	}
}

// A policy lists the allowed things: an empty one allows the least.
func TestAnEmptyPolicyAllowsTheLeast(t *testing.T) {
	set := parse(t, named("default", ""))
	for conf, want := range map[string]string{
		`{"type": "sriov", "ipam": {"type": "host-local", "subnet": "10.0.0.0/24"}}`: "",
		`{"type": "macvlan", "master": "eth0"}`:                                      "spec.networks.uplinks allows nothing",
		// reports 4b: the uplink is the pod's own.
		`{"type": "macvlan", "master": "eth0", "linkInContainer": true}`:   "",
		`{"type": "macvlan", "master": "eth0", "linkInContainer": false}`:  "spec.networks.uplinks allows nothing",
		`{"type": "macvlan", "master": "eth0", "linkInContainer": "true"}`: "spec.networks.uplinks allows nothing",
		`{"type": "sriov", "vlan": 5}`:                                     "spec.networks.vlans allows nothing",
		`{"type": "bridge", "isGateway": true}`:                            "spec.networks.plugins",
	} {
		err := set.CheckNetwork(definition(t, "team-a", conf))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", conf, err, want)
		}
	}
}

// The bridge that the plugin takes if the config names none is an uplink too.
func TestTheDefaultBridgeIsAnUplink(t *testing.T) {
	set := parse(t, named("default", `networks: {plugins: [bridge], uplinks: ["br-*"]}`))
	err := set.CheckNetwork(definition(t, "team-a", `{"type": "bridge"}`))
	if err == nil || !strings.Contains(err.Error(), `field bridge: policy default refuses "cni0"`) {
		t.Errorf("got %v", err)
	}
}

// An upgrade of the agent changes no policy: a type that is built in by now is not allowed
// by an empty policy, and the entry of such a type is for its program too.
func TestTypesThatAreBuiltInByNow(t *testing.T) {
	none := parse(t, named("default", `networks: {uplinks: ["*"], vlans: "0-4094"}`))
	for _, kind := range []string{"bridge", "ptp", "vlan", "host-device", "loopback", "sbr", "bandwidth"} {
		listed := parse(t, named("default", `networks: {plugins: [`+kind+`], uplinks: ["*"], vlans: "0-4094"}`))
		for _, builtin := range []string{"true", "false"} {
			d := definition(t, "team-a", `{"type": "`+kind+`", "builtin": `+builtin+`, "master": "eth1"}`)
			if err := none.CheckNetwork(d); err == nil || !strings.Contains(err.Error(), "spec.networks.plugins: sriov, macvlan, ipvlan, tuning") {
				t.Errorf("%s, builtin %s, not listed: %v", kind, builtin, err)
			}
			if err := listed.CheckNetwork(d); err != nil {
				t.Errorf("%s, builtin %s, listed: %v", kind, builtin, err)
			}
		}
	}
}

// A program of a built-in type is allowed by its own entry, and files by theirs.
func TestProgramsAndPaths(t *testing.T) {
	set := parse(t, named("default", `networks: {plugins: ["program:sriov"], hostPaths: ["/var/log/sriov/*"]}`))
	for conf, want := range map[string]string{
		`{"type": "sriov", "builtin": false, "logFile": "/var/log/sriov/x"}`:    "",
		`{"type": "sriov", "builtin": false, "logFile": "/var/log/sriov/../x"}`: "hostPaths",
		`{"type": "sriov", "builtin": false, "logFile": "x"}`:                   "hostPaths",
		`{"type": "sriov"}`: "plugins: program:sriov",
	} {
		err := set.CheckNetwork(definition(t, "team-a", conf))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", conf, err, want)
		}
	}
}

func ExampleSet_CheckPod() {
	set := policy.Set{} // policy.NewSet(config.ParsePolicies(…))
	list, _ := network.ParseSelections("team-b/data", "team-a")
	fmt.Println(set.CheckPod(policy.Request{Namespace: "team-a", Selections: list}))
	// Output: <nil>
}
