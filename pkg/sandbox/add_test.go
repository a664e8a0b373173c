package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sandbox/sandboxtest"
)

const (
	vf1 = "0000:3b:02.1"
	vf2 = "0000:3b:02.2"
)

func TestAddPrimaryAlone(t *testing.T) {
	n := newNode(t)
	n.pod("p", "")
	out, err := n.call("ADD", "c1", "p")
	if err != nil {
		t.Fatal(err)
	}
	r, err := types100.NewResult([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.(*types100.Result).Interfaces[0].Name; got != "eth0" {
		t.Errorf("result of %s, want eth0's", got)
	}
	want := `put c1 eth0=exec/intent
exec ADD c1 eth0 bridge
exec ADD c1 eth0 portmap {"portMappings":[{"hostPort":80}]} prevResult
put c1 eth0=exec/bound
`
	if diff := cmp.Diff(want, n.world.Trace()); diff != "" {
		t.Error(diff)
	}
}

// Scenario 2: three networks, blanks after the commas; and a VF and a chain.
func TestAddSeveralNetworks(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf, bridge-conf, fast@data0, tuned", vf1)
	n.mustAdd("c1", "p")
	var got []string
	for _, a := range n.sandbox("c1").Attachments {
		got = append(got, fmt.Sprintf("%s %s %s %s %s", a.IfName, a.Network, sandboxtest.Kind(a), a.Phase, a.Members[0].Device))
	}
	want := []string{
		"eth0 cluster exec bound 0000:00:00.0",
		"net1 default/macvlan-conf macvlan bound 0000:00:00.0",
		"net2 default/bridge-conf exec bound 0000:00:00.0",
		"data0 default/fast sriov bound 0000:3b:02.1",
		"net4 default/tuned macvlan bound 0000:00:00.0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	trace := n.world.Trace()
	for _, line := range []string{"exec ADD c1 net4 tuning prevResult", "exec ADD c1 net4 sbr prevResult", "bind c1 data0 sriov"} {
		if !strings.Contains(trace, line+"\n") {
			t.Errorf("%q is not in:\n%s", line, trace)
		}
	}
	if strings.Index(trace, "put ") > strings.Index(trace, "bind ") {
		t.Errorf("bound before the intent was durable:\n%s", trace)
	}
	// m#452, m#1344: programs keep their order behind the primary.
	if strings.Index(trace, "ADD c1 eth0 portmap") > strings.Index(trace, "ADD c1 net2 bridge") {
		t.Errorf("a program ran before the primary was there:\n%s", trace)
	}
}

// m#452: built-in networks do not wait for the primary or for each other. Only the
// moment in which a link is born in the pod comes in its turn.
func TestBuiltinsRunBesideThePrimary(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf, fast", vf1)
	gate := make(chan struct{})
	n.world.Hold["add"] = gate // the primary's plugin hangs
	done := make(chan error, 1)
	go func() { _, err := n.call("ADD", "c1", "p"); done <- err }()
	for !strings.Contains(n.world.Trace(), "bind c1 net2") || n.world.Beginnings() < 2 {
		select {
		case err := <-done:
			t.Fatalf("ended early: %v", err)
		default:
		}
	}
	if strings.Contains(n.world.Trace(), "bind c1 net1") {
		t.Error("a macvlan was born before the primary's interface")
	}
	close(gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Scenario 2: "eth0, net1, net2, net3 in that order", whoever makes them.
func TestInterfacesComeInTheOrderOfTheNetworks(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf, bridge-conf, fast, tuned, bridge-conf", vf1)
	n.mustAdd("c1", "p")
	var born []string
	for _, line := range strings.Split(n.world.Trace(), "\n") {
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "exec ADD") && (f[4] == "bridge"):
			born = append(born, f[3])
		case strings.HasPrefix(line, "bind") && f[3] != "sriov":
			born = append(born, f[2])
		}
	}
	if got, want := strings.Join(born, " "), "eth0 net1 net2 net4 net5"; got != want {
		t.Errorf("born in the order %s, want %s", got, want)
	}
	for _, a := range n.sandbox("c1").Attachments {
		const lo, position = 1, 4 // eth0 net1 net2 net3
		if sandboxtest.Kind(a) == "sriov" && a.Members[0].VF.Ifindex != lo+position {
			t.Errorf("the VF was to get index %d, want %d", a.Members[0].VF.Ifindex, lo+position)
		}
	}
}

func TestStatusOnThePod(t *testing.T) {
	n := newNode(t)
	n.nad("fb", "fairlead.dev/fast", `{"cniVersion":"1.0.0","type":"sriov","fallback":["macvlan"]}`)
	n.pod("p", "macvlan-conf, fast", vf1)
	n.pod("q", "fb")
	if err := os.MkdirAll(filepath.Join(n.dir, "devinfo", "dp"), 0o755); err != nil {
		t.Fatal(err)
	}
	dp := `{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:3b:02.1","pf-pci-address":"0000:3b:00.0","rdma-device":"mlx5_2"}}`
	if err := os.WriteFile(filepath.Join(n.dir, "devinfo", "dp", "fairlead.dev-fast-0000:3b:02.1-device.json"), []byte(dp), 0o644); err != nil {
		t.Fatal(err)
	}
	n.mustAdd("c1", "p")
	n.mustAdd("c2", "q")
	golden(t, "status-vf.json", n.cluster.Status["default/p"])
	golden(t, "status-fallback.json", n.cluster.Status["default/q"])
	if got := n.sandbox("c1").Status; got != nil {
		t.Errorf("the status is still owed: %s", got)
	}
	info, err := os.ReadFile(filepath.Join(n.dir, "devinfo", "cni", "default-fast-c1_net2"))
	if err != nil || string(info) != dp {
		t.Errorf("device-info file: %s, %v", info, err)
	}
	want := []string{
		"default/p Normal AddedInterface: Add eth0 [10.1.2.3/24] from cluster",
		"default/p Normal AddedInterface: Add net1 [10.1.2.3/24] from default/macvlan-conf",
		"default/p Normal AddedInterface: Add net2 [10.1.2.3/24] from default/fast",
		"default/q Normal AddedInterface: Add eth0 [10.1.2.3/24] from cluster",
		"default/q Normal AddedInterface: Add net1 [10.1.2.3/24] from default/fb",
		"default/q Normal Fallback: network default/fb (interface net1) is macvlan in place of sriov: the pod has no device",
	}
	if diff := cmp.Diff(want, n.cluster.Events); diff != "" {
		t.Error(diff)
	}
}

// A pod runs though its status cannot be written; it is written later.
func TestStatusIsOwed(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf")
	n.cluster.StatusErr = errors.New("API server away")
	n.mustAdd("c1", "p")
	if n.sandbox("c1").Status == nil {
		t.Fatal("the status is not kept")
	}
	n.cluster.StatusErr = nil
	n.retryDue(t.Context())
	if n.cluster.Status["default/p"] == "" || n.sandbox("c1").Status != nil {
		t.Error("the status was not written in the second try")
	}
}

func TestDefaultNetworkAndRoutes(t *testing.T) {
	n := newNode(t)
	n.pod("p", `[{"name":"macvlan-conf","default-route":["192.0.2.1"]}]`)
	p := n.cluster.Pods["default/p"]
	p.Annotations[network.DefaultNetworkAnnotation] = "bridge-conf"
	n.mustAdd("c1", "p")
	n.restart(func(o *Options) { o.DefaultNetworkNamespace = "kube-system" })
	if _, err := n.call("ADD", "c2", "p"); err == nil || !strings.Contains(err.Error(), "kube-system/bridge-conf") {
		t.Errorf("a bare name is looked up in the namespace for such networks: %v", err)
	}
	if a := n.sandbox("c1").Attachments[0]; a.Network != "default/bridge-conf" || a.IfName != "eth0" || sandboxtest.Kind(a) != "exec" {
		t.Errorf("primary: %+v", a)
	}
	if !strings.Contains(n.world.Trace(), "routes net1 [192.0.2.1]") {
		t.Errorf("the default route was not moved:\n%s", n.world.Trace())
	}
}

// The namespace of networks that replace a primary is open only for that.
func TestIsolationOfADefaultNetwork(t *testing.T) {
	n := newNode(t)
	n.restart(func(o *Options) { o.NamespaceIsolation, o.DefaultNetworkNamespace = true, "kube-system" })
	n.cluster.NADs["kube-system/bridge-conf"] = n.cluster.NADs["default/bridge-conf"]
	n.pod("p", "")
	n.cluster.Pods["default/p"].Annotations[network.DefaultNetworkAnnotation] = "bridge-conf"
	n.mustAdd("c1", "p")
	n.pod("q", "kube-system/bridge-conf")
	n.cluster.Pods["default/q"].Annotations[network.DefaultNetworkAnnotation] = "bridge-conf"
	if _, err := n.call("ADD", "c2", "q"); err == nil || !strings.Contains(err.Error(), "isolation") {
		t.Errorf("as a secondary network: %v", err)
	}
}

// A VF network without a resource names its device itself: it is locked and on
// record like any other.
func TestDeviceOfTheConfig(t *testing.T) {
	n := newNode(t)
	n.nad("own", "", `{"cniVersion":"1.0.0","type":"sriov","deviceID":"`+vf1+`"}`)
	n.restart(func(o *Options) { o.AllowNamedDevices = true })
	n.pod("p", "own")
	n.mustAdd("c1", "p")
	if holder, ifName, held := n.ledger.Holder(pci.MustParseAddress(vf1)); !held || holder != "c1" || ifName != "net1" {
		t.Errorf("%s is held by %q %q, %t", vf1, holder, ifName, held)
	}
}

// A pod cannot take a device by name that the kubelet has given to another.
func TestANamedDeviceIsNotAnotherPods(t *testing.T) {
	n := newNode(t)
	allocated := ledger.Allocation{Resource: "fairlead.dev/fast", Device: pci.MustParseAddress(vf1), At: n.now}
	if err := n.ledger.PutAllocations([]ledger.Allocation{allocated}); err != nil {
		t.Fatal(err)
	}
	n.restart(func(o *Options) {
		o.AllowNamedDevices, o.Pool = true, func(pci.Address) string { return "fairlead.dev/fast" }
	})
	n.pod("thief", `[{"name":"fast","deviceID":"`+vf1+`"}]`)
	if _, err := n.call("ADD", "c1", "thief"); err == nil || !strings.Contains(err.Error(), "allocated to another pod") {
		t.Errorf("got %v", err)
	}
	n.wantClean()
	n.pod("owner", "fast", vf1)
	n.mustAdd("c2", "owner")
}

func TestBuiltinFalseForcesTheBinary(t *testing.T) {
	n := newNode(t)
	n.nad("forced", "", `{"cniVersion":"1.0.0","type":"macvlan","builtin":false}`)
	n.pod("p", "forced")
	n.mustAdd("c1", "p")
	if !strings.Contains(n.world.Trace(), "exec ADD c1 net1 macvlan\n") || strings.Contains(n.world.Trace(), "bind") {
		t.Errorf("got:\n%s", n.world.Trace())
	}
}

func TestNoNetworkFoundEvent(t *testing.T) {
	n := newNode(t)
	n.pod("p", "nosuch")
	if _, err := n.call("ADD", "c1", "p"); err == nil {
		t.Fatal("no error")
	}
	if len(n.cluster.Events) != 1 || !strings.Contains(n.cluster.Events[0], "Warning NoNetworkFound") {
		t.Errorf("events: %v", n.cluster.Events)
	}
}

func TestSecondAdd(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf")
	first, err := n.call("ADD", "c1", "p")
	if err != nil {
		t.Fatal(err)
	}
	steps := n.world.Steps
	second, err := n.call("ADD", "c1", "p")
	if err != nil || second != first {
		t.Errorf("got %s, %v; want the first result", second, err)
	}
	if n.world.Steps != steps {
		t.Errorf("the second ADD did something:\n%s", n.world.Trace())
	}
	r := n.request("c1", "p")
	r.Netns = "/run/netns/other" // made again by the runtime
	n.newNetns(r.Netns)
	if _, err := n.serve(t.Context(), "ADD", r); err != nil {
		t.Fatal(err)
	}
	if got := n.sandbox("c1").Netns.Path; got != r.Netns {
		t.Errorf("recorded for %s", got)
	}
}
