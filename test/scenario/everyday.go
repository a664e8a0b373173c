package scenario

import (
	"context"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/deployments/examples"
)

// applied is an example that a run applies, and the place for it.
type applied struct {
	file      string
	namespace string // the file's own, or the one it is put into
	node      string // the lab's node that it needs
}

// everydayFiles are the scenarios with pods. 9 has no pod of its own, and 14 is how
// Fairlead was installed.
func everydayFiles() []applied {
	return []applied{
		{"scenarios/01-second-interface.yaml", "s01", ""},
		{"scenarios/02-three-networks.yaml", "s02", "1"}, // pf1 is a NIC of node 1
		{"scenarios/03-static-address.yaml", "s03", ""},
		{"scenarios/04-storage-network.yaml", "database", ""},
		{"scenarios/05-nfv-planes.yaml", "nfv", ""},
		{"scenarios/06-deployment.yaml", "s06", ""},
		{"scenarios/07-custom-names.yaml", "s07", ""},
		{"scenarios/08-routes.yaml", "s08", ""},
		{"scenarios/10-looking-for-trouble.yaml", "s10", ""},
		{"scenarios/11-measuring.yaml", "s11", ""},
		{"scenarios/12-any-primary.yaml", "s12", ""},
		{"scenarios/13-vf.yaml", "s13", ""},
		{"pods/fallback.yaml", "fallback", ""},
		{"pods/vlan.yaml", "vlan", ""},
	}
}

// EverydayNamespaces returns all namespaces that the everyday scenarios use.
func EverydayNamespaces() []string {
	out := []string{"s09", "network-admins"}
	for _, a := range everydayFiles() {
		out = append(out, a.namespace)
	}
	return out
}

// Everyday is the everyday scenarios' pods while they run.
type Everyday struct{ c *Cluster }

// StartEveryday applies the scenarios one after another, and waits in between only
// as long as many pods are being started: an emulated node that starts a dozen
// containers at once is much slower than one that starts four.
func StartEveryday(ctx context.Context, c *Cluster) (*Everyday, error) {
	if err := c.Delete(ctx, EverydayNamespaces()...); err != nil {
		return nil, err
	}
	if err := c.nodes().forgetAddresses(ctx, "storage-network"); err != nil {
		return nil, err
	}
	if err := c.createNamespaces(ctx, EverydayNamespaces()...); err != nil {
		return nil, err
	}
	var started []string
	for _, a := range everydayFiles() {
		c.Say("applying %s", a.file)
		manifest, err := example(a.file, change{namespace: a.namespace, node: a.node})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.file, err)
		}
		if err := c.apply(ctx, manifest); err != nil {
			return nil, err
		}
		started = append(started, a.namespace)
		if err := c.waitStarting(ctx, 5, started...); err != nil {
			return nil, err
		}
	}
	e := &Everyday{c}
	if err := e.startRBAC(ctx); err != nil {
		return nil, err
	}
	return e, c.waitReady(ctx, started...)
}

// Check checks the scenarios 1 to 14, a few side by side: each spends its time
// waiting for commands in emulated nodes.
func (e *Everyday) Check(ctx context.Context) Facts {
	eth0 := func(others ...string) []string { return append([]string{"eth0"}, others...) }
	return sideBySide(3, []claim{
		{" 1 second interface: eth0 and net1, address from the range", func() (string, error) {
			return e.secondInterface(ctx, eth0("net1"))
		}},
		{" 2 three networks: eth0, net1, net2, net3", func() (string, error) {
			return e.interfaces(ctx, "s02", "three-networks", eth0("net1", "net2", "net3"), "192.168.1.", "192.168.2.", "192.168.3.")
		}},
		{" 3 static address 192.168.1.100/24", func() (string, error) {
			return e.interfaces(ctx, "s03", "static-address", eth0("net1"), "192.168.1.100/24")
		}},
		{" 4 storage network: StatefulSet on both nodes, MTU 9000", func() (string, error) { return e.storage(ctx) }},
		{" 4 host-local's clash over two nodes is reported", func() (string, error) { return e.clash(ctx) }},
		{" 5 NFV planes: eth0, ctrl0, data0 on macvlan", func() (string, error) {
			return e.interfaces(ctx, "nfv", "vnf", eth0("ctrl0", "data0"), "10.57.0.", "10.58.0.")
		}},
		{" 5 NFV planes: data0 on a VF with the network's VLAN", func() (string, error) { return e.nfvVF(ctx) }},
		{" 6 Deployment: 3 replicas with net1", func() (string, error) { return e.replicas(ctx, "s06", "192.168.6.") }},
		{" 7 custom names: storage and backup", func() (string, error) {
			return e.interfaces(ctx, "s07", "custom-names", eth0("storage", "backup"), "192.168.7.", "192.168.7.1")
		}},
		{" 8 routes: two through net1, the default stays on eth0", func() (string, error) { return e.routes(ctx) }},
		{" 9 RBAC: jane sees her network only", func() (string, error) { return e.rbac(ctx) }},
		{" 9 admission: jane's pods name her network only", func() (string, error) { return e.admission(ctx) }},
		{"10 looking for trouble: ping -I net1, logs, describe", func() (string, error) { return e.trouble(ctx) }},
		{"11 measuring: iperf3 over two VFs", func() (string, error) { return e.iperf(ctx) }},
		{"12 eth0, Service and policy are the cluster's own", func() (string, error) { return e.primary(ctx) }},
		{"13 one VF: MAC, VLAN 13, trust, spoofcheck, MTU 9000", func() (string, error) { return e.oneVF(ctx) }},
		{"13 two VFs of one resource, two networks", func() (string, error) { return e.twoVFs(ctx) }},
		{"13 DPDK pod: vfio device, hugepages", func() (string, error) { return e.dpdk(ctx) }},
		{"13 fallback to macvlan if the pod requests no device", func() (string, error) { return e.fallback(ctx) }},
		{"a VLAN interface on a NIC: net1, address from the range", func() (string, error) {
			return e.interfaces(ctx, "vlan", "vlan-pod", eth0("net1"), "10.107.0.")
		}},
		{"14 NIC profiles: resources in kubectl describe node", func() (string, error) { return e.describeNode(ctx) }},
	})
}

// Gone deletes the scenarios and checks that nothing is left.
func (e *Everyday) Gone(ctx context.Context) Facts {
	var f Facts
	f.check("everyday pods deleted: they are gone", func() (string, error) {
		_, err := e.c.Kubectl(ctx, "delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", "allowed-networks", "--ignore-not-found")
		if err != nil {
			return "", err
		}
		return "", e.c.Delete(ctx, EverydayNamespaces()...)
	})
	for _, node := range e.c.Lab.Nodes() {
		f.check(node+": ledger empty, pools full", func() (string, error) { return empty(ctx, e.c, node, EverydayNamespaces()...) })
	}
	return f
}

// startRBAC applies scenario 9, which has no pod to wait for.
func (e *Everyday) startRBAC(ctx context.Context) error {
	body, err := examples.Files.ReadFile("scenarios/09-rbac.yaml")
	if err != nil {
		return err
	}
	manifest, err := adapt(string(body), change{namespace: "s09"})
	if err != nil {
		return err
	}
	manifest = strings.Replace(manifest, "default: macvlan-conf", "s09: macvlan-conf", 1) // the list's key is the namespace
	if err := e.c.apply(ctx, manifest); err != nil {
		return err
	}
	_, err = e.c.Kubectl(ctx, "label", "namespace", "s09", "networks-restricted=true", "--overwrite")
	return err
}
