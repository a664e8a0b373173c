//go:build root

package bench

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
	"fairlead.dev/fairlead/pkg/sandbox"
)

// meta-cni C4, lab D: whole ADDs with the stock bridge as primary. The pod's traffic leaves by
// eth0, whatever default routes built-in networks and stock plugins bring, unless the pod asks
// for another gateway. CHECK and network-status agree with the kernel.
func TestDefaultRouteOfThePod(t *testing.T) {
	n := newNode(t)
	for _, tt := range []struct {
		name, networks string
		v4, v6         string // interface and gateway
		gateways       string // in network-status
	}{
		{"no other", "lan", "eth0 10.244.0.1", "", "eth0 10.244.0.1"},
		{"a built-in network", "gw", "eth0 10.244.0.1", "net1 fd04::1", "eth0 10.244.0.1, net1 fd04::1"},
		{"the stock bridge", "brgw", "eth0 10.244.0.1", "", "eth0 10.244.0.1"},
		{"both", "brgw,gw", "eth0 10.244.0.1", "net2 fd04::1", "eth0 10.244.0.1, net2 fd04::1"},
		{"asked for", `[{"name":"gw","default-route":["10.4.0.1"]},{"name":"brgw"}]`, "net1 10.4.0.1", "net1 fd04::1", "net1 fd04::1 10.4.0.1"},
		{"asked for at a gateway that the ipam does not name", `[{"name":"brgw"},{"name":"gw","default-route":["10.4.0.9","fd04::9"]}]`, "net2 10.4.0.9", "net2 fd04::9", "net2 10.4.0.9 fd04::9"},
		{"a link on a link of the pod", "gw,nested", "eth0 10.244.0.1", "net1 fd04::1", "eth0 10.244.0.1, net1 fd04::1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := netnstest.New(t)
			id := strings.ReplaceAll(tt.name, " ", "-")
			n.cluster.pods[id] = tt.networks
			r := sandbox.Request{ID: id, Netns: path, IfName: "eth0", At: time.Now(), Path: n.bin,
				Pod:  ledger.PodRef{Namespace: "default", Name: id, UID: id},
				Args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + id}
			if _, err := n.keeper.Attach(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			for to, want := range map[string]string{"192.0.2.1": tt.v4, "2001:db8::1": tt.v6} {
				if got := wayTo(path, to); got != want {
					t.Errorf("to %s: %q, want %q", to, got, want)
				}
			}
			if err := n.keeper.Verify(t.Context(), r); err != nil {
				t.Errorf("CHECK: %v", err)
			}
			if got := gateways(t, *n.cluster.status); got != tt.gateways {
				t.Errorf("network-status has %q, want %q", got, tt.gateways)
			}
			if err := n.keeper.Release(t.Context(), r); err != nil {
				t.Error(err)
			}
			if left := run(path, "-o", "link", "show"); strings.Contains(left, "net") {
				t.Errorf("left: %s", left)
			}
		})
	}
}

// wayTo is the interface and the gateway to an address; empty: there is no route.
func wayTo(path, address string) string {
	words := strings.Fields(run(path, "route", "get", address))
	var gw, dev string
	for i, w := range words {
		switch w {
		case "via":
			gw = words[i+1]
		case "dev":
			dev = words[i+1]
		}
	}
	if gw == "" {
		return ""
	}
	return dev + " " + gw
}

// run runs ip in a namespace. A route that does not exist is no output.
func run(path string, args ...string) string {
	out, _ := exec.Command("nsenter", append([]string{"--net=" + path, "ip"}, args...)...).Output()
	return string(out)
}

func gateways(t *testing.T, status string) string {
	t.Helper()
	var entries []struct {
		Interface string   `json:"interface"`
		Gateway   []string `json:"gateway"`
	}
	if err := json.Unmarshal([]byte(status), &entries); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if len(e.Gateway) > 0 {
			all = append(all, e.Interface+" "+strings.Join(e.Gateway, " "))
		}
	}
	return strings.Join(all, ", ")
}
