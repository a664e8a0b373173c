//go:build root

package attach

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
	"fairlead.dev/fairlead/pkg/pci"
)

const onNet1 = `{"type": "macvlan", "builtin": %t, "master": "net1", "linkInContainer": true, "mode": "bridge", "mac": "02:00:00:cc:00:02", "mtu": 1300,
	"ipam": {"type": "static", "addresses": [{"address": "10.2.0.2/24"}], "routes": [{"dst": "10.8.0.0/16", "gw": "10.2.0.1"}]}}`

// reports 4b: a macvlan on an interface of the pod is as the stock plugin makes it, on a VF
// as well as on another macvlan.
func TestMacvlanInThePodIsAsTheStockPlugin(t *testing.T) {
	dir := t.TempDir()
	for _, plugin := range []string{"main/macvlan", "ipam/static"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, filepath.Base(plugin)), "github.com/containernetworking/plugins/plugins/"+plugin)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build the stock plugin: %v\n%s", err, out)
		}
	}
	for _, below := range []string{"sriov", "macvlan"} {
		t.Run("on "+below, func(t *testing.T) {
			stock, builtin := onPodLink(t, dir, below, false), onPodLink(t, dir, below, true)
			if diff := cmp.Diff(stock, builtin); diff != "" {
				t.Errorf("stock and built-in differ: %s", diff)
			}
			if !strings.Contains(builtin, "net2 macvlan mtu 1300 up 02:00:00:cc:00:02 10.2.0.2/24 route 10.8.0.0/16 via 10.2.0.1") {
				t.Errorf("got %s", builtin)
			}
		})
	}
}

// onPodLink makes net1, and net2 on it, and is all that can be seen of them after ADD, by
// CHECK, and after DEL.
func onPodLink(t *testing.T, dir, below string, builtin bool) string {
	t.Helper()
	n := newTestNode(t)
	n.veth("eth3", "peer")
	pod := netnstest.New(t)
	host := n.dump(n.host)
	conf, device := vethVF, vethAddr
	if below == "macvlan" {
		conf, device = macvlanConf0, pci.Address{}
	}
	first := n.bind(below, conf, pod, "net1", "s1", device)
	list, err := listOf("", fmt.Sprintf(onNet1, builtin))
	if err != nil {
		t.Fatal(err)
	}
	c := Call{SandboxID: "s1", IfName: "net2", Netns: ledger.Netns{Path: pod}, Path: dir, Exec: &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}}}
	att, err := n.set.Prepare(t.Context(), c, list)
	if err != nil {
		t.Fatal(err)
	}
	result, err := n.set.Add(t.Context(), c, &att)
	if err != nil {
		t.Fatal(err)
	}
	for i := range result.Interfaces {
		result.Interfaces[i].Sandbox = "netns" // each run has its own
		result.Interfaces[i].Mtu = 0           // the stock plugin may not say it
	}
	text := fmt.Sprintf("%s\nresult %s\n", n.dump(pod), asJSON(t, result))
	result.Interfaces[0].Sandbox = pod
	att.Result, _ = json.Marshal(result)
	text += fmt.Sprintf("check %v\n", n.set.Check(t.Context(), c, att))
	if err := n.set.Del(t.Context(), c, &att); err != nil {
		t.Fatal(err)
	}
	text += "after DEL " + n.dump(pod)
	n.release(first, pod, "s1")
	if diff := cmp.Diff(host, n.dump(n.host)); diff != "" || n.dump(pod) != "" {
		t.Errorf("left in the pod: %s, on the host: %s", n.dump(pod), diff)
	}
	return text
}

// reports 4b: the link goes with the one below it, and comes again with that one. The
// namespace's end leaves nothing.
func TestMacvlanInThePodIsMadeAgain(t *testing.T) {
	n := newTestNode(t)
	n.veth("eth3", "peer")
	pod := netnstest.New(t)
	n.bind("sriov", vethVF, pod, "net1", "s1", vethAddr) // a veth, which ends with the namespace
	att := n.bind("macvlan", fmt.Sprintf(onNet1, true), pod, "net2", "s1", pci.Address{})
	before := n.dump(pod)
	n.deleteLink(pod, "net2")
	c := Call{SandboxID: "s1", Netns: ledger.Netns{Path: pod}}
	if lost, err := NewMender(n.set).Lost(c, att); !lost || err != nil {
		t.Fatalf("lost %v, %v", lost, err)
	}
	if err := NewMender(n.set).Remake(t.Context(), c, &att); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, n.dump(pod)); diff != "" {
		t.Error(diff)
	}
	netnstest.Remove(t, pod)
	n.release(att, pod, "s1")
}

// meta-cni C4: a default route that comes after the primary's is made again with its metric.
func TestRouteBehindThePrimarysIsMadeAgain(t *testing.T) {
	n := newTestNode(t)
	pod := netnstest.New(t)
	att := n.bind("macvlan", `{"type": "macvlan", "master": "up0", "ipam": {"type": "static", "addresses": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1"}], "routes": [{"dst": "0.0.0.0/0"}]}}`, pod, "net1", "s1", pci.Address{})
	att.Result = json.RawMessage(strings.Replace(string(att.Result), `"dst":"0.0.0.0/0"`, `"dst":"0.0.0.0/0","priority":7`, 1))
	n.deleteLink(pod, "net1")
	if err := NewMender(n.set).Remake(t.Context(), Call{SandboxID: "s1", Netns: ledger.Netns{Path: pod}}, &att); err != nil {
		t.Fatal(err)
	}
	h := n.handle(pod)
	defer h.Close()
	routes, err := h.IP.Routes(n.index(pod, "net1"))
	for _, r := range routes {
		if r.IsDefault() && r.Priority != 7 || err != nil {
			t.Errorf("%v, %v has the metric %d", err, r, r.Priority)
		}
	}
}
