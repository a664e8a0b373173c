//go:build root

package cni

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/sandbox"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// The whole path, real except for the primary plugin: shim, socket, server, ledger,
// built-in macvlan with host-local addresses, in namespaces of the test's own.
func TestRealNamespaces(t *testing.T) {
	const inside = "FAIRLEAD_TEST_INSIDE"
	if os.Getenv(inside) == "" {
		cmd := exec.Command("unshare", "--net", "--mount", os.Args[0], "-test.run=^TestRealNamespaces$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	ip := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	for _, args := range []string{"-t tmpfs tmpfs /run", "--bind /run /var/run"} {
		if out, err := exec.Command("mount", strings.Fields(args)...).CombinedOutput(); err != nil && !strings.Contains(args, "bind") {
			t.Fatalf("mount %s: %v: %s", args, err, out)
		}
	}
	ip("link", "add", "up0", "type", "bridge") // a veth is no uplink
	ip("link", "add", "up0v", "mtu", "9000", "type", "veth", "peer", "name", "up0p", "mtu", "9000")
	ip("link", "set", "up0v", "master", "up0", "up")
	ip("link", "set", "up0p", "up")
	ip("link", "set", "up0", "mtu", "9000", "up")
	ip("netns", "add", "c1")
	ip("-n", "c1", "link", "set", "lo", "up")

	l := newLive(t)
	leases := filepath.Join(l.dir, "leases")
	l.stop()
	l.open(func(o *sandbox.Options) {
		o.Chains = attach.New(attach.Deps{Sysfs: sysfs.New(""), Log: slog.New(slog.DiscardHandler), HostLocalDir: leases})
		o.Kernel = sandbox.RealKernel()
	})
	l.start()
	l.nad("storage", "", `{"cniVersion":"0.3.1","type":"macvlan","master":"up0","mode":"bridge","mtu":8000,
		"ipam":{"type":"host-local","subnet":"192.168.1.0/24","routes":[{"dst":"10.20.0.0/16","gw":"192.168.1.1"}]}}`)
	l.pod("p", "storage@data0, storage")

	add := func() {
		t.Helper()
		if code, out := l.shim(t.Context(), "ADD", "c1", "p"); code != 0 {
			t.Fatal(out)
		}
	}
	wantGone := func() {
		t.Helper()
		if got := ip("-n", "c1", "-o", "link"); strings.Contains(got, "data0") || strings.Contains(got, "net2") {
			t.Errorf("links left:\n%s", got)
		}
		left, _ := filepath.Glob(filepath.Join(leases, "*", "192.*"))
		if len(left) != 0 {
			t.Errorf("addresses left: %v", left)
		}
		l.wantClean()
	}
	add()
	for name, want := range map[string]string{"data0": "mtu 8000", "net2": "mtu 8000"} {
		if got := ip("-n", "c1", "-o", "link", "show", name); !strings.Contains(got, want) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := ip("-n", "c1", "-o", "link"); strings.Index(got, "data0") > strings.Index(got, "net2") {
		t.Errorf("interfaces out of the annotation's order:\n%s", got)
	}
	if got := ip("-n", "c1", "route"); !strings.Contains(got, "10.20.0.0/16 via 192.168.1.1 dev data0") {
		t.Errorf("routes:\n%s", got)
	}
	if status := l.cluster.Status["default/p"]; !strings.Contains(status, `"192.168.1.2"`) || !strings.Contains(status, `"mtu": 8000`) {
		t.Errorf("status: %s", status)
	}
	if code, out := l.shim(t.Context(), "CHECK", "c1", "p"); code != 0 {
		t.Errorf("CHECK: %s", out)
	}
	ip("-n", "c1", "link", "set", "data0", "down")
	ip("-n", "c1", "addr", "flush", "dev", "net2")
	if code, out := l.shim(t.Context(), "CHECK", "c1", "p"); code != 1 || !strings.Contains(out, "net2") {
		t.Errorf("CHECK of a sandbox that was tampered with: %d, %s", code, out)
	}
	if code, out := l.shim(t.Context(), "DEL", "c1", "p"); code != 0 {
		t.Fatal(out)
	}
	wantGone()

	add() // and once more, deleted by a tombstone when the namespace is gone
	l.stop()
	ip("netns", "delete", "c1")
	if code, out := l.shim(t.Context(), "DEL", "c1", "p"); code != 0 {
		t.Fatal(out)
	}
	ip("netns", "add", "c1")
	l.start()
	wantGone()

	// The second network fails: the first is undone.
	l.nad("broken", "", `{"cniVersion":"0.3.1","type":"macvlan","master":"up0","ipam":{"type":"host-local","subnet":"192.168.2.0/30","rangeStart":"192.168.9.1"}}`)
	l.pod("p", "storage@data0, broken")
	if code, out := l.shim(t.Context(), "ADD", "c1", "p"); code != 1 || !strings.Contains(out, "default/broken") {
		t.Errorf("%d, %s", code, out)
	}
	wantGone()

	// meta-cni A4: the path leads to another pod's namespace when the DEL comes late.
	l.pod("p", "storage@data0, storage")
	add()
	ip("netns", "delete", "c1")
	ip("netns", "add", "c1")
	l.pod("q", "storage@data0, storage")
	if code, out := l.shimIn(t.Context(), "ADD", "c2", "q", "/run/netns/c1"); code != 0 {
		t.Fatal(out)
	}
	if code, out := l.shim(t.Context(), "DEL", "c1", "p"); code != 0 {
		t.Fatal(out)
	}
	if got := ip("-n", "c1", "-o", "link"); !strings.Contains(got, "data0") || !strings.Contains(got, "net2") {
		t.Errorf("another pod's links are gone:\n%s", got)
	}
	if code, out := l.shimIn(t.Context(), "CHECK", "c2", "q", "/run/netns/c1"); code != 0 {
		t.Errorf("CHECK of the other pod: %s", out)
	}
	if code, out := l.shimIn(t.Context(), "DEL", "c2", "q", "/run/netns/c1"); code != 0 {
		t.Fatal(out)
	}
	wantGone()

	// A chain of built-in plugins on a bridge, beside a ptp network: the pairs go with the
	// record, also by a tombstone.
	l.nad("lan", "", `{"cniVersion":"1.0.0","plugins":[{"type":"bridge","bridge":"br9","isGateway":true,"mtu":1400,"ipam":{"type":"host-local","subnet":"192.168.3.0/24"}},{"type":"sbr"}]}`)
	l.nad("routed", "", `{"cniVersion":"1.0.0","type":"ptp","ipam":{"type":"host-local","subnet":"192.168.4.0/24"}}`)
	l.pod("p", "storage@data0, lan, routed")
	wantNoPairs := func() {
		t.Helper()
		wantGone()
		if got := ip("-o", "link", "show", "type", "veth"); strings.Contains(got, ": veth") {
			t.Errorf("pairs left:\n%s", got)
		}
	}
	add()
	if got := ip("-n", "c1", "-o", "link"); strings.Index(got, "data0") > strings.Index(got, "net2") || strings.Index(got, "net2") > strings.Index(got, "net3") {
		t.Errorf("interfaces out of the annotation's order:\n%s", got)
	}
	if got := ip("-n", "c1", "rule"); !strings.Contains(got, "from 192.168.3.2 lookup 100") {
		t.Errorf("rules:\n%s", got)
	}
	if status := l.cluster.Status["default/p"]; !strings.Contains(status, `"192.168.3.2"`) || !strings.Contains(status, `"192.168.4.2"`) || !strings.Contains(status, `"mtu": 1400`) {
		t.Errorf("status: %s", status)
	}
	if code, out := l.shim(t.Context(), "CHECK", "c1", "p"); code != 0 {
		t.Errorf("CHECK: %s", out)
	}
	if code, out := l.shim(t.Context(), "DEL", "c1", "p"); code != 0 {
		t.Fatal(out)
	}
	wantNoPairs()
	add()
	l.stop()
	ip("netns", "delete", "c1")
	if code, out := l.shim(t.Context(), "DEL", "c1", "p"); code != 0 {
		t.Fatal(out)
	}
	ip("netns", "add", "c1")
	l.start()
	wantNoPairs()

	// And nothing is attached to the host's own.
	if code, out := l.shimIn(t.Context(), "ADD", "c3", "q", "/proc/self/ns/net"); code != 1 || !strings.Contains(out, "host's own") {
		t.Errorf("%d, %s", code, out)
	}
}
