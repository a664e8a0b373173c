package scenario

import "strings"

// attack is a net-attach-def or a pod that must not get its networks.
type attack struct {
	name  string // of the objects
	claim string // the finding, and the aim
	// in is the namespace of the objects. In the administrators' own, the policy allows more,
	// and the rules that hold without a policy are left.
	in       string
	conf     string // of the net-attach-def; empty: the attack is in the pod
	resource string // of the net-attach-def
	pod      Pod    // its networks are the net-attach-def, if it names no other
	says     string // in the events of the pod
	// lint is in a line of fairleadctl lint. It is empty if only a node knows, as nodeOnly says.
	lint     string
	nodeOnly string
}

// aims are the things on a node that attacks are directed at.
type aims struct {
	freeVF     string // PCI address of a VF of fairlead.dev/second that nobody has
	victimVF   string // PCI address of the VF of another tenant
	victimVeth string // the host's end of another tenant's eth0
	storage    string // a NIC with the node's storage network on top
	vfNetdev   string // the netdev of freeVF
}

// fill puts the node's names into a text.
func (a aims) fill(text string) string {
	return strings.NewReplacer("{freeVF}", a.freeVF, "{victimVF}", a.victimVF, "{victimVeth}", a.victimVeth, "{storage}", a.storage, "{vfNetdev}", a.vfNetdev).Replace(text)
}

// aimed returns the attack with the node's names.
func (a attack) aimed(at aims) attack {
	a.conf, a.says, a.lint, a.pod.Networks = at.fill(a.conf), at.fill(a.says), at.fill(a.lint), at.fill(a.pod.Networks)
	if a.in == "" {
		a.in = tenantNamespace
	}
	a.pod.Name = a.name
	if a.pod.Networks == "" {
		a.pod.Networks = a.name
	}
	return a
}

const second = "fairlead.dev/second"

// attacks lists all that are refused before a pod starts.
func attacks() []attack {
	all := append(attacksByPrograms(), attacksByDevices()...)
	all = append(all, attacksBySize()...)
	all = append(all, attacksBySettings()...)
	return append(all, attacksByAnnotations()...)
}

const onlyANode = "a node knows which interfaces it uses"

// security S1, S2, S12 and section 2: programs, and their files, as root of the node.
func attacksByPrograms() []attack {
	const own = `{"type": "fairlead", "socket": "/var/lib/kubelet/pods/x/volumes/s", "tombstoneDir": "/etc/cni/net.d"}`
	return []attack{
		{name: "s1a", claim: "S1 (a): the shim as IPAM, behind a second ipam", conf: `{"type": "macvlan", "master": "pf0", "IPAM": ` + own + `, "ipam": {}}`,
			says: "field IPAM.type", lint: "field IPAM.type"},
		{name: "s1b", claim: "S1 (b): the shim in a list within a member", conf: `{"plugins": [{"type": "macvlan", "plugins": [{"type": "macvlan", "ipam": ` + own + `}]}]}`,
			says: "plugin 1: field plugins", lint: "plugin 1: field plugins"},
		{name: "s1c", claim: "S1 (c): the shim as a delegate", conf: `{"type": "flannel", "delegate": ` + own + `}`,
			says: "field delegate.type", lint: "field delegate.type"},
		{name: "s2", claim: "S2: a DEL record in the CNI conf dir", conf: `{"type": "macvlan", "master": "pf0", "ipam": ` + own + `}`,
			says: "field ipam.type", lint: "field ipam.type"},
		{name: "multus", claim: "S1: another meta-plugin, with a binDir of the tenant", conf: `{"type": "multus", "binDir": "/var/lib/kubelet/pods/x"}`,
			says: `"multus"`, lint: `"multus"`},
		{name: "host-device", claim: "host-device takes the node's NIC", conf: `{"type": "host-device", "device": "mgmt0"}`,
			says: "spec.networks.plugins: sriov, macvlan, ipvlan, tuning", lint: `field type: policy tenants refuses "host-device"`},
		{name: "s12-first", claim: "S12: another tenant's VF, by a program", conf: `{"type": "sriov", "builtin": false, "deviceID": "{victimVF}", "logFile": "/etc/cron.d/x"}`,
			says: `field type: policy tenants refuses "program:sriov"`, lint: "program:sriov"},
		{name: "s12-later", claim: "S12: another tenant's VF, by a later member", conf: `{"plugins": [{"type": "macvlan", "master": "pf0"}, {"type": "host-device", "pciBusID": "{victimVF}"}]}`,
			says: `field pciBusID: policy tenants refuses "{victimVF}"`, lint: `field pciBusID: policy tenants refuses "{victimVF}"`},
		{name: "prev-result", claim: "a forged prevResult for host DNAT", conf: `{"plugins": [{"type": "macvlan", "master": "pf0"},
			{"type": "portmap", "prevResult": {"cniVersion": "0.3.1", "ips": [{"address": "10.244.1.2/24"}]}, "runtimeConfig": {"portMappings": [{"hostPort": 22, "containerPort": 22, "protocol": "tcp"}]}}]}`,
			says: `policy tenants refuses "portmap"`, lint: `policy tenants refuses "portmap"`},
		{name: "data-dir", claim: "host-local writes where the tenant says", conf: `{"type": "macvlan", "master": "pf0", "ipam": {"type": "host-local", "subnet": "10.9.0.0/24", "dataDir": "/etc/cni/net.d"}}`,
			says: "field ipam.dataDir: policy tenants refuses", lint: "field ipam.dataDir: policy tenants refuses"},
		{name: "tuning-dir", claim: "tuning writes where the tenant says", conf: `{"plugins": [{"type": "macvlan", "master": "pf0"}, {"type": "tuning", "dataDir": "../../etc/attack"}]}`,
			says: "field dataDir: policy tenants refuses", lint: "field dataDir: policy tenants refuses"},
		{name: "kubeconfig", claim: "a kubeconfig of the node", conf: `{"type": "sriov", "kubeconfig": "/etc/kubernetes/kubelet.conf"}`, resource: second,
			says: "field kubeconfig: policy tenants refuses", lint: "field kubeconfig: policy tenants refuses"},
		{name: "dhcp-socket", claim: "an IPAM daemon of the tenant", conf: `{"type": "macvlan", "master": "pf0", "ipam": {"type": "dhcp", "daemonSocketPath": "/var/lib/kubelet/pods/x/s"}}`,
			says: `field ipam.type: policy tenants refuses "dhcp"`, lint: `field ipam.type: policy tenants refuses "dhcp"`},
	}
}

// security S3 to S6, S12: devices that the kubelet has not given, and interfaces that the
// host or another pod uses.
func attacksByDevices() []attack {
	given := "the kubelet has not given this device to pod"
	named := func(device string) string { return `[{"name": "untagged", "deviceID": "` + device + `"}]` }
	warned := "names a device: the agent refuses it without --allow-named-devices"
	return []attack{
		{name: "s3", claim: "S3: a free VF that the pod has not requested", pod: Pod{Networks: named("{freeVF}")},
			says: "spec.pods.deviceID: never", lint: "spec.pods.deviceID: never"},
		{name: "s4", claim: "S4: a VF of another pool", pod: Pod{Networks: `[{"name": "vf-net", "deviceID": "{freeVF}"}]`},
			says: "spec.pods.deviceID: never", lint: "spec.pods.deviceID: never"},
		{name: "s5-path", claim: "S5: a device by a path", pod: Pod{Networks: named("../../../class/net/mgmt0/device")},
			says: "field deviceID", lint: "field deviceID"},
		{name: "s5-config", claim: "S5: another tenant's VF, by the net-attach-def", conf: `{"type": "sriov", "deviceID": "{victimVF}"}`,
			says: `field deviceID: policy tenants refuses "{victimVF}"`, lint: "field deviceID: policy tenants refuses"},
		{name: "s3-floor", claim: "S3: a free VF, if the policy allows its name", in: sharedNamespace, conf: `{"type": "sriov", "deviceID": "{freeVF}"}`,
			says: given, lint: warned},
		{name: "s12-floor", claim: "S12: another tenant's VF, if the policy allows its name", in: sharedNamespace,
			conf: `{"plugins": [{"type": "macvlan", "master": "pf0"}, {"type": "host-device", "pciBusID": "{victimVF}"}]}`, says: given, lint: warned},
		{name: "s6-nic", claim: "S6: the node's own NIC, if the policy allows it", in: sharedNamespace, conf: `{"type": "host-device", "device": "mgmt0"}`,
			says: "the node itself uses it", nodeOnly: onlyANode},
		{name: "s6-mac", claim: "S6: the same by its MAC", in: sharedNamespace, conf: `{"type": "host-device", "hwaddr": "52:54:00:00:00:01"}`,
			says: "the host itself uses it", nodeOnly: onlyANode},
		{name: "s6-storage", claim: "S6: the NIC below the node's storage network", in: sharedNamespace, conf: `{"type": "host-device", "device": "{storage}"}`,
			says: "the node itself uses it", nodeOnly: onlyANode},
		{name: "veth", claim: "ipvlan on another pod's veth", conf: `{"type": "ipvlan", "master": "{victimVeth}"}`,
			says: "field master: policy tenants refuses", lint: "field master: policy tenants refuses"},
		{name: "veth-floor", claim: "the same, if the policy allows it", in: sharedNamespace, conf: `{"type": "macvlan", "master": "{victimVeth}"}`,
			says: "it is a veth, which leads to another namespace", nodeOnly: onlyANode},
		{name: "vf-master", claim: "lab.md A: a macvlan on a pool's VF", in: sharedNamespace, conf: `{"type": "macvlan", "master": "{vfNetdev}"}`,
			says: "it is advertised as", nodeOnly: onlyANode},
		{name: "vf-master-ipvlan", claim: "lab.md A: an ipvlan on a pool's VF", in: sharedNamespace, conf: `{"type": "ipvlan", "master": "{vfNetdev}"}`,
			says: "it is advertised as", nodeOnly: onlyANode},
	}
}

// security S7, S20: sizes. The API server takes these objects.
func attacksBySize() []attack {
	return []attack{
		{name: "s7-annotation", claim: "S7: 131,000 networks in one annotation", pod: Pod{Networks: strings.Repeat("a,", 131000)},
			says: "262000 bytes, the limit is 65536", lint: "262000 bytes, the limit is 65536"},
		{name: "s7-config", claim: "S7: a net-attach-def of 1.4 MB", conf: `{"type": "macvlan", "x": "` + strings.Repeat("x", 1400_000) + `"}`,
			says: "the limit is 65536", lint: "the limit is 65536"},
		{name: "s20", claim: "S20: 60,001 members", conf: `{"plugins": [` + strings.Repeat(`{"type":"a"},`, 60000) + `{"type":"a"}]}`,
			says: "the limit is 65536", lint: "the limit is 65536"},
		{name: "s20-members", claim: "S20: more members than the limit", conf: `{"plugins": [` + strings.Repeat(`{"type":"tuning"},`, 16) + `{"type":"tuning"}]}`,
			says: "17 plugins, the limit is 16", lint: "17 plugins, the limit is 16"},
		{name: "s7-networks", claim: "S7: more networks than the policy allows", pod: Pod{Networks: strings.TrimSuffix(strings.Repeat("macvlan-conf,", 9), ",")},
			says: "spec.pods.maxNetworks: 8", lint: "spec.pods.maxNetworks: 8"},
	}
}

// security section 2: settings of a network beyond the policy.
func attacksBySettings() []attack {
	refused := func(name, claim, conf, text string) attack {
		return attack{name: name, claim: claim, conf: conf, says: text, lint: text}
	}
	return []attack{
		refused("passthru", "passthru without a master", `{"type": "macvlan", "mode": "passthru"}`, `field mode: policy tenants refuses "passthru"`),
		refused("uplink", "an uplink that is not for tenants", `{"type": "macvlan", "master": "lan0"}`, `field master: policy tenants refuses "lan0"`),
		refused("vlan", "VLAN hopping", `{"type": "sriov", "vlan": 666}`, `field vlan: policy tenants refuses "666"`),
		refused("vlan-0", "the profile's VLAN taken away", `{"type": "sriov", "vlan": 0}`, `field vlan: policy tenants refuses "0"`),
		refused("trust", "trust", `{"type": "sriov", "trust": "on"}`, `field trust: policy tenants refuses "on"`),
		refused("spoofchk", "no spoof check", `{"type": "sriov", "spoofchk": "off"}`, `field spoofchk: policy tenants refuses "off"`),
		refused("rate", "no rate limit", `{"type": "sriov", "max_tx_rate": 0}`, `field max_tx_rate: policy tenants refuses "0"`),
		refused("mac-config", "another pod's MAC, by the net-attach-def", `{"type": "macvlan", "master": "pf0", "mac": "02:00:00:00:00:01"}`, `field mac: policy tenants refuses`),
		{name: "no-master", claim: "the default route's NIC, by no master at all", conf: `{"type": "macvlan"}`,
			says: "field master: policy tenants refuses that it is not set", nodeOnly: "a node knows its default route"},
		{name: "s11-resource", claim: "S11: escape codes in a resource", conf: `{"type": "sriov"}`, resource: "x\x1b]0;title\x07/y",
			says: "k8s.v1.cni.cncf.io/resourceName", lint: "k8s.v1.cni.cncf.io/resourceName"},
	}
}

// security section 2 and S11: requests of a pod beyond the policy.
func attacksByAnnotations() []attack {
	refused := func(name, claim, networks, text string) attack {
		return attack{name: name, claim: claim, pod: Pod{Networks: networks}, says: text, lint: text}
	}
	byDefault := refused("default-network", "another primary network, without its NetworkPolicies", "macvlan-conf", "spec.pods.defaultNetwork: never")
	byDefault.pod.Annotations = map[string]string{"v1.multus-cni.io/default-network": "kube-system/open"}
	return []attack{
		byDefault,
		refused("other-tenant", "a network of another tenant", "team-b/private", "spec.pods.networksFrom: own, shared"),
		refused("ips", "an address outside the range", `[{"name": "macvlan-static", "ips": ["192.168.1.1/24"]}]`, "spec.pods.ips: range"),
		refused("ips-args", "the same by cni-args", `[{"name": "macvlan-static", "cni-args": {"IP": "192.168.1.1/24"}}]`, "spec.pods.ips: range"),
		refused("mac", "another pod's MAC", `[{"name": "macvlan-conf", "mac": "02:00:00:00:00:01"}]`, "spec.pods.mac: none"),
		refused("ports", "a port of the host", `[{"name": "macvlan-conf", "portMappings": [{"hostPort": 22, "containerPort": 22}]}]`, "spec.pods.portMappings: none"),
		refused("s11-interface", "S11: an interface name with a direction mark", "macvlan-conf@a\u202eb", "field interface"),
	}
}
