package cni

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGC(t *testing.T) {
	n := newNode(t)
	for i, name := range []string{"keep", "drop", "young"} {
		n.pod(name, "fast", fmt.Sprintf("0000:3b:02.%d", i))
		if name == "young" {
			n.now = n.now.Add(time.Minute) // made after the list was drawn up
		}
		n.mustAdd("c-"+name, name)
	}
	n.now = n.now.Add(-time.Second)
	r := n.request("GC", "", "")
	r.Args = ""
	r.Stdin = []byte(`{"cniVersion":"1.1.0","name":"fairlead","type":"fairlead","cni.dev/valid-attachments":[{"containerID":"c-keep","ifname":"eth0"}]}`)
	if _, err := n.serve(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	all, err := n.ledger.Sandboxes()
	if err != nil || len(all) != 2 || all[0].ID != "c-keep" || all[1].ID != "c-young" {
		t.Errorf("left: %v, %v", all, err)
	}
	r.Stdin = []byte(`{"cniVersion":"1.1.0","name":"fairlead","type":"fairlead"}`)
	if _, err := n.serve(t.Context(), r); err == nil {
		t.Error("a GC without a list succeeded")
	}
	n.writeConf("10-bridge.conflist", strings.Replace(primaryConf, "1.0.0", "1.1.0", 1))
	r.Stdin = []byte(`{"cniVersion":"1.1.0","name":"fairlead","type":"fairlead","cni.dev/valid-attachments":[]}`)
	if _, err := n.serve(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(n.world.Trace(), "exec GC   bridge") {
		t.Errorf("the primary's GC was not run:\n%s", n.world.Trace())
	}
}

func TestCheck(t *testing.T) {
	n := newNode(t)
	n.pod("p", "fast, tuned, bridge-conf", vf1)
	if _, err := n.call("CHECK", "c1", "p"); err == nil || !strings.Contains(err.Error(), `"code":3`) {
		t.Errorf("unknown sandbox: %v", err)
	}
	n.mustAdd("c1", "p")
	n.world.Log = nil
	if _, err := n.call("CHECK", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	want := `exec CHECK c1 eth0 bridge prevResult
exec CHECK c1 eth0 portmap {"portMappings":[{"hostPort":80}]} prevResult
check c1 net1 sriov
check c1 net2 macvlan
exec CHECK c1 net2 tuning prevResult
exec CHECK c1 net2 sbr prevResult
exec CHECK c1 net3 bridge prevResult
`
	if diff := cmp.Diff(want, n.world.Trace()); diff != "" {
		t.Error(diff)
	}
	n.world.Fail = func(_ int, name string) error {
		if name == "check" {
			return errors.New("link is down")
		}
		return nil
	}
	_, err := n.call("CHECK", "c1", "p")
	for _, want := range []string{"default/fast (interface net1)", "default/tuned (interface net2)", "network cluster"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestStatusVerb(t *testing.T) {
	n := newNode(t)
	r := n.request("STATUS", "", "")
	r.Args = ""
	if _, err := n.serve(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	n.cluster.Down = errors.New("cache of pods is not filled")
	n.writeConf("10-bridge.conflist", `{"cniVersion":"1.0.0","name":"x","type":"absent"}`)
	_, err := n.serve(t.Context(), r)
	for _, want := range []string{`"code":50`, "cache of pods", "primary network x", "plugin not found"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

// meta-cni D7: the kubelet has the runtime ask every five seconds. No program is run for
// that, except for the STATUS of plugins that have it, and for those not each time.
func TestStatusRunsFewPrograms(t *testing.T) {
	n := newNode(t)
	r := n.request("STATUS", "", "")
	r.Args = ""
	ask := func(want string, wantErr bool) {
		t.Helper()
		n.world.Log = nil
		_, err := n.serve(t.Context(), r)
		if diff := cmp.Diff(want, n.world.Trace()); diff != "" || (err != nil) != wantErr {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	ask("\n", false)
	n.writeConf("10-bridge.conflist", strings.Replace(primaryConf, "1.0.0", "1.1.0", 1))
	ask("exec STATUS   bridge\nexec STATUS   portmap\n", false)
	n.now = n.now.Add(readyFor - time.Second)
	ask("\n", false)
	n.now = n.now.Add(time.Second)
	n.world.Fail = func(_ int, name string) error {
		if name == "status" {
			return errors.New("no route to the gateway")
		}
		return nil
	}
	ask("exec STATUS   bridge FAILS\n", true)
	ask("exec STATUS   bridge FAILS\n", true)
	n.world.Fail = nil
	ask("exec STATUS   bridge\nexec STATUS   portmap\n", false)
	n.writeConf("10-bridge.conflist", strings.NewReplacer("1.0.0", "1.1.0", `"bridge"`, `"bridge","mtu":1400`).Replace(primaryConf))
	ask("exec STATUS   bridge\n", false) // its config is another
}

// CNI 1.1.0: the programs of secondary networks get the interfaces that their network has,
// whatever net-attach-defs share its CNI name.
func TestGCOfSecondaryNetworks(t *testing.T) {
	n := newNode(t)
	n.nad("one", "", `{"cniVersion":"1.1.0","name":"shared","plugins":[{"type":"vrf"},{"type":"bandwidth","capabilities":{"bandwidth":true}}]}`)
	n.nad("two", "", `{"cniVersion":"1.1.0","name":"shared","plugins":[{"type":"bridge"},{"type":"vrf"}]}`)
	n.nad("old", "", `{"cniVersion":"1.0.0","type":"vrf"}`)
	n.nad("off", "", `{"cniVersion":"1.1.0","name":"off","disableGC":true,"plugins":[{"type":"vrf"}]}`)
	n.nad("cluster", "", `{"cniVersion":"1.1.0","name":"cluster","plugins":[{"type":"ptp"}]}`)
	n.pod("p", "one, old, off, cluster")
	n.pod("q", "two")
	n.mustAdd("c1", "p")
	n.mustAdd("c2", "q")
	stdin := map[string]string{}
	n.world.Stdin = func(command, plugin string, conf []byte) {
		if command == "GC" {
			stdin[plugin] = string(conf)
		}
	}
	r := n.request("GC", "", "")
	r.Args = ""
	r.Stdin = []byte(`{"cniVersion":"1.1.0","name":"fairlead","type":"fairlead","cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"},{"containerID":"c2","ifname":"eth0"}]}`)
	if _, err := n.serve(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	const shared = `[{"containerID":"c1","ifname":"net1"},{"containerID":"c2","ifname":"net1"}]`
	for plugin, want := range map[string]string{
		"vrf":       `{"cni.dev/attachments":` + shared + `,"cni.dev/valid-attachments":` + shared + `,"cniVersion":"1.1.0","name":"shared","type":"vrf"}`,
		"bandwidth": `{"capabilities":{"bandwidth":true},"cni.dev/attachments":` + shared + `,"cni.dev/valid-attachments":` + shared + `,"cniVersion":"1.1.0","name":"shared","type":"bandwidth"}`,
	} {
		if diff := cmp.Diff(want, stdin[plugin]); diff != "" {
			t.Error(diff)
		}
	}
	if got := stdin["ptp"]; !strings.Contains(got, `{"containerID":"c1","ifname":"eth0"}`) || !strings.Contains(got, `{"containerID":"c1","ifname":"net4"}`) {
		t.Errorf("a network with the primary's name does not have its interfaces: %s", got)
	}
	if strings.Count(n.world.Trace(), "exec GC") != len(stdin) {
		t.Errorf("old and disabled networks were collected:\n%s", n.world.Trace())
	}
}
