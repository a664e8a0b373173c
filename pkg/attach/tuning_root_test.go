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
)

// The built-in tuning has the same effects and results as the stock plugin, and the
// same order of precedence.
func TestTuningIsAsTheStockPlugin(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "tuning"), "github.com/containernetworking/plugins/plugins/meta/tuning")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the stock plugin: %v\n%s", err, out)
	}
	tests := []struct {
		name, fields, args string
		fails              bool
	}{
		{name: "nothing", fields: `"x": 1`},
		{name: "MAC", fields: `"mac": "02:00:00:00:00:77"`},
		{name: "MTU", fields: `"mtu": 1300`},
		{name: "promisc, allmulti", fields: `"promisc": true, "allmulti": true`},
		{name: "allmulti off", fields: `"allmulti": false`},
		{name: "queue", fields: `"txQLen": 250`},
		{name: "sysctls with dots, slashes, IFNAME", fields: `"sysctl": {"net.core.somaxconn": "777", "net/ipv4/ip_forward": "1", "net.ipv4.conf.IFNAME.log_martians": "1", "net.ipv4.conf.net1.arp_announce": "2"}`},
		{name: "all", fields: `"mac": "02:00:00:00:00:77", "mtu": 1300, "promisc": true, "allmulti": true, "txQLen": 250, "sysctl": {"net.core.somaxconn": "777"}`},
		{name: "the MAC of CNI_ARGS", fields: `"mac": "02:00:00:00:00:77"`, args: "IgnoreUnknown=1;MAC=02:00:00:00:00:78"},
		{name: "the capability", fields: `"mac": "02:00:00:00:00:77", "runtimeConfig": {"mac": "02:00:00:00:00:79"}`, args: "IgnoreUnknown=1;MAC=02:00:00:00:00:78"},
		{name: "args.cni", fields: `"mtu": 1300, "runtimeConfig": {"mac": "02:00:00:00:00:79"}, "sysctl": {"net.core.somaxconn": "777"}, "args": {"cni": {"mac": "02:00:00:00:00:80", "mtu": 1200, "txQLen": 9, "sysctl": {"net.core.somaxconn": "778"}}}`},
		{name: "an MTU above the uplink's", fields: `"mtu": 9000`, fails: true},
		{name: "a sysctl that is not of the network", fields: `"sysctl": {"kernel.panic": "1"}`, fails: true},
		{name: "a path out of the network", fields: `"sysctl": {"net/../kernel/panic": "1"}`, fails: true},
		{name: "a sysctl that there is not", fields: `"sysctl": {"net.core.nonesuch": "1"}`, fails: true},
		{name: "a value that the kernel refuses", fields: `"sysctl": {"net.ipv4.ip_forward": "x"}`, fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stock, builtin := tuned(t, dir, tt.fields, tt.args, false), tuned(t, dir, tt.fields, tt.args, true)
			if diff := cmp.Diff(stock, builtin); diff != "" {
				t.Errorf("stock and built-in differ: %s", diff)
			}
			if failed := strings.HasPrefix(builtin, "failed"); failed != tt.fails {
				t.Errorf("got %s", builtin)
			}
		})
	}
}

// tuned makes a macvlan with tuning after it, and is all that can be seen of it: after
// ADD, by CHECK, and after tuning's DEL.
func tuned(t *testing.T, dir, fields, args string, builtin bool) string {
	t.Helper()
	n := newTestNode(t)
	pod := netnstest.New(t)
	const version = "1.0.0"
	list, err := listOf("", `{"type": "macvlan", "master": "up0", "mac": "02:00:00:cc:00:01"}`,
		fmt.Sprintf(`{"type": "tuning", "builtin": %t, "dataDir": %q, %s}`, builtin, t.TempDir(), fields))
	if err != nil {
		t.Fatal(err)
	}
	c := Call{SandboxID: "s1", IfName: "net1", Netns: ledger.Netns{Path: pod}, CNIArgs: args, Path: dir, Exec: &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}}}
	if args != "" {
		list.Plugins[0].Fields["runtimeConfig"] = json.RawMessage(`{"mac": "02:00:00:cc:00:01"}`)
	}
	list.CNIVersion = version
	att, err := n.set.Prepare(t.Context(), c, list)
	if err != nil {
		return "failed, left:"
	}
	result, err := n.set.Add(t.Context(), c, &att)
	if err != nil {
		return "failed, left:" + n.dump(pod)
	}
	for i := range result.Interfaces {
		result.Interfaces[i].Sandbox, result.Interfaces[i].Mtu = "", 0 // the stock plugin knows no MTU
	}
	att.Result, _ = json.Marshal(result)
	text := fmt.Sprintf("added: %s\n%s\nresult %s\ncheck %v\n", n.dump(pod), look(t, n, pod), asJSON(t, result.Interfaces), n.set.Check(t.Context(), c, att))
	c.Prev, c.version = result, version
	plugin, err := n.set.pluginOf(att.Members[1])
	if err != nil {
		t.Fatal(err)
	}
	err = plugin.Del(t.Context(), c, &att.Members[1])
	return text + fmt.Sprintf("deleted: %s %v", n.dump(pod), err)
}

// look has the settings that the dump of links does not show.
func look(t *testing.T, n *testNode, pod string) string {
	t.Helper()
	h := n.handle(pod)
	defer h.Close()
	l, err := h.ByName("net1")
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("promisc %t allmulti %t txqlen %d", l.Promisc, l.AllMulti, l.TxQLen)
	n.inside(pod, func() error {
		for _, key := range []string{"core/somaxconn", "ipv4/ip_forward", "ipv4/conf/net1/log_martians", "ipv4/conf/net1/arp_announce"} {
			value, err := os.ReadFile(sysctlDir + key)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %s=%s", key, strings.TrimSpace(string(value)))
		}
		return nil
	})
	return text
}
