package policy_test

import (
	"os"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/policy"
)

// strict is the example that the documentation ships.
func strict(t testing.TB) policy.Set {
	t.Helper()
	text, err := os.ReadFile("../../deployments/examples/policies/strict.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(text))
}

func parse(t testing.TB, text string) policy.Set {
	t.Helper()
	all, err := config.ParsePolicy([]byte(text), "policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.NewSet(all)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func definition(t testing.TB, namespace, conf string) network.Definition {
	t.Helper()
	d, err := network.ParseDefinition(namespace, "data", conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// security 2, the rows of T2: net-attach-defs of a tenant that the shipped example
// refuses. Each refusal names the policy, the field and the rule.
func TestAttacksByNetAttachDefs(t *testing.T) {
	set := strict(t)
	for _, tt := range []struct{ name, conf, field, rule string }{
		{"host-device takes the node's NIC", `{"type": "host-device", "device": "mgmt"}`, "type", "plugins: sriov, macvlan, ipvlan, tuning"},
		{"passthru", `{"type": "macvlan", "master": "ens2f0", "mode": "passthru"}`, "mode", "modes: bridge, private, l2"},
		{"an uplink that is not for tenants", `{"type": "macvlan", "master": "storage0"}`, "master", "uplinks: ens2f*"},
		{"another pod's veth", `{"type": "ipvlan", "master": "cali0123456789a"}`, "master", "uplinks: ens2f*"},
		{"an uplink in other letters", `{"type": "macvlan", "MASTER": "storage0"}`, "master", "uplinks: ens2f*"},
		{"an uplink with a letter that folds", `{"type": "macvlan", "ma\u017fter": "storage0"}`, "master", "uplinks: ens2f*"},
		{"the uplink of a fallback", `{"type": "sriov", "fallback": ["macvlan"], "uplink": "storage0"}`, "uplink", "uplinks: ens2f*"},
		{"a device by address", `{"type": "sriov", "deviceID": "0000:3b:02.1"}`, "deviceID", "uplinks: ens2f*"},
		{"VLAN hopping", `{"type": "sriov", "vlan": 666}`, "vlan", "vlans: 100-199"},
		{"the profile's VLAN taken away", `{"type": "sriov", "vlan": 0}`, "vlan", "vlans: 100-199"},
		{"a trunk", `{"type": "sriov", "vlanTrunk": "1-4094"}`, "vlanTrunk", "vlans: 100-199"},
		{"a VLAN that is no number", `{"type": "sriov", "vlan": "100"}`, "vlan", "vlans: 100-199"},
		{"trust", `{"type": "sriov", "trust": "on"}`, "trust", "trust: off"},
		{"no spoof check", `{"type": "sriov", "spoofchk": "off"}`, "spoofchk", "spoofchk: on"},
		{"no rate limit", `{"type": "sriov", "max_tx_rate": 0}`, "max_tx_rate", "maxTxRate: 1000"},
		{"a guaranteed rate", `{"type": "sriov", "min_tx_rate": 5000}`, "min_tx_rate", "maxTxRate: 1000"},
		{"the program of a built-in plugin, which writes files", `{"type": "sriov", "builtin": false, "logFile": "/etc/cron.d/x"}`, "type", "plugins"},
		{"host DNAT with portmap", `{"plugins": [{"type": "macvlan", "master": "ens2f0"}, {"type": "portmap", "runtimeConfig": {"portMappings": []}}]}`, "type", "plugins"},
		{"host-local writes elsewhere", `{"type": "macvlan", "master": "ens2f0", "ipam": {"type": "host-local", "dataDir": "/var/lib/kubelet"}}`, "ipam.dataDir", "hostPaths allows nothing"},
		{"host-local reads a file", `{"type": "macvlan", "master": "ens2f0", "ipam": {"type": "host-local", "resolvConf": "/etc/kubernetes/pki/ca.key"}}`, "ipam.resolvConf", "hostPaths"},
		{"tuning writes elsewhere", `{"plugins": [{"type": "sriov"}, {"type": "tuning", "dataDir": "../../etc"}]}`, "dataDir", "hostPaths"},
		{"an ipam that is a program", `{"type": "macvlan", "master": "ens2f0", "ipam": {"type": "dhcp", "daemonSocketPath": "x"}}`, "ipam.type", "ipam: host-local, static"},
		{"another pod's MAC", `{"type": "macvlan", "master": "ens2f0", "mac": "02:00:00:00:00:01"}`, "mac", "mac: none"},
		{"a MAC of tuning", `{"plugins": [{"type": "sriov"}, {"type": "tuning", "mac": "02:00:00:00:00:01"}]}`, "mac", "mac: none"},
		{"a MAC where pods' wishes are", `{"type": "sriov", "runtimeConfig": {"mac": "02:00:00:00:00:01"}}`, "runtimeConfig.mac", "mac: none"},
		{"a MAC in args", `{"type": "macvlan", "master": "ens2f0", "args": {"cni": {"MAC": "02:00:00:00:00:01"}}}`, "args.cni.MAC", "mac: none"},
		{"a plugin within a plugin", `{"type": "macvlan", "master": "ens2f0", "delegate": {"type": "host-device"}}`, "delegate", "a plugin within a plugin"},
		{"a mode that is no text", `{"type": "ipvlan", "master": "ens2f0", "mode": ["l2"]}`, "mode", "modes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := definition(t, "team-a", tt.conf)
			found := policy.Violations(set.CheckNetwork(d))
			for _, v := range found {
				if v.Field == tt.field && strings.Contains(v.Rule, tt.rule) && v.Policy == "policy tenants" && v.Remedy != "" {
					return
				}
			}
			t.Errorf("field %s, rule %q is not among %v", tt.field, tt.rule, found)
		})
	}
}

func TestAllowedNetAttachDefs(t *testing.T) {
	set := strict(t)
	for _, conf := range []string{
		`{"type": "sriov", "vlan": 100, "trust": "off", "spoofchk": "on", "max_tx_rate": 500}`,
		`{"type": "sriov", "fallback": ["macvlan", "ipvlan"], "uplink": "ens2f1"}`,
		`{"type": "macvlan", "master": "ens2f0", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}}`,
		`{"type": "ipvlan", "master": "ens2f0", "mode": "l2", "ipam": {"type": "static", "addresses": [{"address": "fd00::1/64"}]}}`,
		`{"plugins": [{"type": "macvlan", "master": "ens2f0", "mode": "private"}, {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_notify": "1"}}]}`,
	} {
		if err := set.CheckNetwork(definition(t, "team-a", conf)); err != nil {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

// security 2, the row of T1: requests of annotations that the shipped example refuses.
func TestAttacksByAnnotations(t *testing.T) {
	set := strict(t)
	for _, tt := range []struct{ name, annotation, field, rule string }{
		{"a network of another tenant", "team-b/data", "namespace", "networksFrom: own, shared"},
		{"another pod's MAC", `[{"name": "data", "mac": "02:00:00:00:00:01"}]`, "mac", "mac: none"},
		{"a MAC by cni-args", `[{"name": "data", "cni-args": {"MAC": "02:00:00:00:00:01"}}]`, "mac", "mac: none"},
		{"a GUID", `[{"name": "data", "infiniband-guid": "c2:11:22:33:44:55:66:77"}]`, "mac", "mac: none"},
		{"a device that the kubelet did not give", `[{"name": "data", "deviceID": "0000:3b:02.1"}]`, "deviceID", "deviceID: never"},
		{"a port of the host, past pod security", `[{"name": "data", "portMappings": [{"hostPort": 22, "containerPort": 22}]}]`, "portMappings", "portMappings: none"},
		{"settings of tuning by cni-args", `[{"name": "data", "cni-args": {"sysctl": {"net.ipv4.ip_forward": "1"}}}]`, "cni-args", "cniArgs allows nothing"},
		{"many networks", "a,b,c,d,e,f,g,h,i", "networks", "maxNetworks: 8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, err := network.ParseSelections(tt.annotation, "team-a")
			if err != nil {
				t.Fatal(err)
			}
			found := policy.Violations(set.CheckPod(policy.Request{Namespace: "team-a", Selections: list, DefaultNetworkNamespace: "kube-system"}))
			if len(found) != 1 || found[0].Field != tt.field || !strings.Contains(found[0].Rule, tt.rule) || found[0].Policy != "policy tenants" {
				t.Errorf("field %s, rule %q: got %v", tt.field, tt.rule, found)
			}
		})
	}
}

// security 2: a pod that replaces its primary network leaves the NetworkPolicies of that.
func TestAttackByTheDefaultNetwork(t *testing.T) {
	s, _, err := network.ParseDefaultNetwork("open", "kube-system")
	if err != nil {
		t.Fatal(err)
	}
	r := policy.Request{Namespace: "team-a", Default: &s, DefaultNetworkNamespace: "kube-system"}
	if err := strict(t).CheckPod(r); err == nil || !strings.Contains(err.Error(), "spec.pods.defaultNetwork: never") {
		t.Errorf("got %v", err)
	}
	allowed := parse(t, "apiVersion: fairlead.dev/v1alpha1\nkind: AttachmentPolicy\nmetadata: {name: default}\nspec: {pods: {defaultNetwork: allow}}\n")
	if err := allowed.CheckPod(r); err != nil {
		t.Errorf("allowed: %v", err)
	}
}

// security 2: addresses that a pod asks for stay inside the network's ranges, by whatever
// way it asks.
func TestAttacksByAddresses(t *testing.T) {
	set := strict(t)
	hostLocal := definition(t, "team-a", `{"type": "macvlan", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/16", "rangeStart": "10.1.2.0", "rangeEnd": "10.1.2.255"}]]}}`)
	static := definition(t, "team-a", `{"type": "macvlan", "ipam": {"type": "static", "addresses": [{"address": "10.5.0.9/24"}]}}`)
	open := definition(t, "team-a", `{"type": "macvlan", "ipam": {"type": "static"}}`)
	for _, tt := range []struct {
		name, ask string
		d         network.Definition
		refused   bool
	}{
		{"inside", `"ips": ["10.1.2.7"]`, hostLocal, false},
		{"inside, static", `"ips": ["10.5.0.77/24"]`, static, false},
		{"outside the range", `"ips": ["10.1.3.7"]`, hostLocal, true},
		{"outside the subnet", `"ips": ["192.168.0.1/24"]`, static, true},
		{"a prefix that makes the world a neighbour", `"ips": ["10.5.0.77/0"]`, static, true},
		{"by cni-args", `"cni-args": {"ips": ["192.168.0.1/24"]}`, static, true},
		{"by cni-args IP", `"cni-args": {"IP": "10.5.0.7/24,192.168.0.1/24"}`, static, true},
		{"a network without a range", `"ips": ["10.5.0.77/24"]`, open, true},
	} {
		list, err := network.ParseSelections(`[{"name": "data", `+tt.ask+`}]`, "team-a")
		if err != nil {
			t.Fatal(err)
		}
		if err := set.CheckPod(policy.Request{Namespace: "team-a", Selections: list}); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err := set.CheckIPs("team-a", list[0], tt.d); (err != nil) != tt.refused {
			t.Errorf("%s: %v, want refused %t", tt.name, err, tt.refused)
		}
	}
}

// The remedy names the range, and not its subnet only: the refused address is in that too.
func TestTheRemedyNamesTheRange(t *testing.T) {
	for _, tt := range []struct{ ipam, want string }{
		{`{"type": "host-local", "subnet": "10.1.0.0/16", "rangeStart": "10.1.2.0", "rangeEnd": "10.1.2.255"}`, "of the network's ipam: 10.1.0.0/16 from 10.1.2.0 to 10.1.2.255"},
		{`{"type": "host-local", "subnet": "10.1.0.0/16", "rangeStart": "10.1.2.0"}`, "of the network's ipam: 10.1.0.0/16 from 10.1.2.0"},
		{`{"type": "static", "addresses": [{"address": "10.5.0.9/24"}]}`, "of the network's ipam: 10.5.0.0/24"},
	} {
		list, err := network.ParseSelections(`[{"name": "data", "ips": ["10.1.1.1/24"]}]`, "team-a")
		if err != nil {
			t.Fatal(err)
		}
		err = strict(t).CheckIPs("team-a", list[0], definition(t, "team-a", `{"type": "macvlan", "ipam": `+tt.ipam+`}`))
		if err == nil || !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("got %v\nwant %s", err, tt.want)
		}
	}
}

// security 2: the group of a VF limits its settings, whoever wrote the network.
func TestAttacksOnVFs(t *testing.T) {
	on, off, hop, untagged, fine := true, false, 666, 0, 150
	declared, err := config.ParseProfile([]byte(`
apiVersion: fairlead.dev/v1alpha1
kind: NICProfile
metadata: {name: fast}
spec:
  vfGroups: [{resourceName: fast, allow: {namespaces: ["team-*"], vlans: "100-199", trust: ["off"], spoofCheck: ["on"], mac: none}}]
`), "fast.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, namespace string
		asked           device.Settings
		want            string
	}{
		{"nothing", "team-a", device.Settings{}, ""},
		{"allowed values", "team-a", device.Settings{VLAN: &fine, Trust: &off, SpoofCheck: &on}, ""},
		{"another namespace", "guest", device.Settings{}, "allow.namespaces: team-*"},
		{"VLAN hopping", "team-a", device.Settings{VLAN: &hop}, "allow.vlans: 100-199"},
		{"no VLAN", "team-a", device.Settings{VLAN: &untagged}, "allow.vlans: 100-199"},
		{"trust", "team-a", device.Settings{Trust: &on}, "allow.trust: off"},
		{"no spoof check", "team-a", device.Settings{SpoofCheck: &off}, "allow.spoofCheck: on"},
		{"a MAC", "team-a", device.Settings{MAC: "02:00:00:00:00:01"}, "allow.mac: none"},
	} {
		err := policy.CheckVF(declared[0].Groups[0].Allow, policy.VFRequest{Address: "0000:3b:02.1", Group: "the group", Network: "x/y", PodNamespace: tt.namespace, Asked: tt.asked})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// security 2: an uplink that the config does not name is that of the default route.
func TestTheDefaultRoutesUplink(t *testing.T) {
	set := strict(t)
	if err := set.CheckUplink("team-a/data", []string{"mgmt", "enp0s1"}); err == nil {
		t.Error("the node's own NIC is allowed")
	}
	if err := set.CheckUplink("team-a/data", []string{"p2p1", "ens2f0"}); err != nil {
		t.Error(err)
	}
}
