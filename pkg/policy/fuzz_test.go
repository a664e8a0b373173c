package policy_test

import (
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/policy"
	"fairlead.dev/fairlead/test/fuzz"
)

// A policy, a net-attach-def and an annotation, each of anybody: what passes a policy
// passes the same policy again, a policy without a list allows only the least, and each
// refusal has bounds.
func FuzzCheck(f *testing.F) {
	const full = `namespaces: ["team-*"], networks: {plugins: [sriov, macvlan, bridge, "program:sriov"], uplinks: ["ens*"], vlans: "100-200", trust: "on", maxTxRate: 100}, pods: {ips: range, mac: any, networksFrom: [own, shared], maxNetworks: 2}`
	long := strings.Repeat("x", 60000)
	for _, spec := range []string{full, `namespaces: ["*"]`} {
		for _, conf := range []string{`{"type":"sriov","vlan":150,"trust":"on","ipam":{"type":"host-local","subnet":"10.0.0.0/24"}}`, `{"type":"macvlan","master":"ens1","mode":"passthru"}`,
			`{"type":"bridge","isGateway":true,"ipMasq":true}`, `{"type":"tuning","sysctl":{"net.x":"1"},"dataDir":"/etc"}`, `{"type":"sriov","vlan":"a\u202e","max_tx_rate":1e99,"logFile":"../x"}`,
			`{"type":"macvlan","master":"` + long + `","mac":"` + long + `","mode":"` + long + `"}`, `{"type":"x","delegate":{"type":"` + long[:200] + `"}}`,
			`{"plugins":[` + strings.Repeat(`{"type":"x","uplink":"a","bridge":"b","device":"c","vlan":9,"trust":"on"},`, 15) + `{"type":"y"}]}`} {
			f.Add(named("a", spec), conf, `[{"name":"n","ips":["10.0.0.5/24"],"mac":"02:00:00:00:00:01","cni-args":{"ips":["1.2.3.4"],"x":1},"portMappings":[{"hostPort":1,"containerPort":1}],"deviceID":"0000:01:10.0"},{"name":"m","namespace":"other"}]`)
		}
	}
	f.Fuzz(func(t *testing.T, policies, conf, annotation string) {
		parsed, err := config.ParsePolicy([]byte(policies), "p.yaml")
		if err != nil {
			return
		}
		set, err := policy.NewSet(parsed)
		if err != nil {
			return
		}
		if d, err := network.ParseDefinition("team-a", "n", conf, nil); err == nil && !d.FromFile {
			fuzz.Allocates(t, len(policies)*len(d.List.Plugins)+len(conf), func() { checkNetwork(t, set, d) })
			checkPod(t, set, annotation, d)
		}
	})
}

func checkNetwork(t *testing.T, set policy.Set, d network.Definition) {
	t.Helper()
	fuzz.Refused(t, policy.CheckFloors(d))
	err := set.CheckNetwork(d)
	if fuzz.Refused(t, err); err != nil && len(policy.Violations(err)) == 0 {
		t.Errorf("an error without a violation: %v", err)
	}
	p := set.For(d.Namespace)
	if p == nil || err != nil {
		return
	}
	asked := policy.AskedOfVF(d)
	if asked.Trust != nil && *asked.Trust && !p.Networks.TrustOn || asked.SpoofCheck != nil && !*asked.SpoofCheck && !p.Networks.SpoofOff ||
		asked.VLAN != nil && !p.Networks.VLANs.Contains(*asked.VLAN) {
		t.Errorf("policy %+v allows %+v", p.Networks, asked)
	}
	for _, plugin := range d.List.Plugins {
		if !slices.Contains(p.Networks.Plugins, plugin.Type) && !slices.Contains(p.Networks.Plugins, config.ProgramPrefix+plugin.Type) {
			t.Errorf("policy %+v allows type %q", p.Networks, plugin.Type)
		}
	}
}

func checkPod(t *testing.T, set policy.Set, annotation string, d network.Definition) {
	t.Helper()
	selections, err := network.ParseSelections(annotation, "team-a")
	if err != nil {
		return
	}
	err = set.CheckPod(policy.Request{Namespace: "team-a", Selections: selections})
	fuzz.Refused(t, err)
	for _, s := range selections {
		fuzz.Refused(t, set.CheckIPs("team-a", s, d))
		if p := set.For("team-a"); p != nil && err == nil {
			if s.MAC != "" && !p.Pods.MAC || s.DeviceID != "" && !p.Pods.DeviceID || len(s.PortMappings) > 0 && !p.Pods.PortMappings || len(s.IPs) > 0 && p.Pods.IPs == config.IPsNone {
				t.Errorf("policy %+v allows %+v", p.Pods, s)
			}
		}
	}
}
