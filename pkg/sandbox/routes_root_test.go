//go:build root

package sandbox

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/ledger"
)

// The default route moves for the family that a gateway is given for, and no other;
// a gateway that the kernel refuses leaves everything as it was.
func TestMoveDefaultRoute(t *testing.T) {
	const ns = "fairlead-cni-routes"
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("netns", "add", ns)
	t.Cleanup(func() { run("netns", "delete", ns) })
	in := func(args ...string) string { t.Helper(); return run(append([]string{"-n", ns}, args...)...) }
	for _, l := range []struct{ name, v4, v6 string }{{"eth0", "10.0.0.2/24", "fd00::2/64"}, {"net1", "10.1.0.2/24", "fd01::2/64"}} {
		in("link", "add", l.name, "type", "veth", "peer", "name", l.name+"p")
		in("addr", "add", l.v4, "dev", l.name)
		in("addr", "add", l.v6, "dev", l.name, "nodad")
		in("link", "set", l.name, "up")
		in("link", "set", l.name+"p", "up")
	}
	in("route", "add", "default", "via", "10.0.0.1")
	in("route", "add", "default", "via", "fd00::1")
	path := "/run/netns/" + ns
	want := func(v4, v6 string) {
		t.Helper()
		if got := in("route", "show", "default"); !strings.HasPrefix(got, v4) || strings.Count(got, "default") != 1 {
			t.Errorf("IPv4: got %q, want %q", got, v4)
		}
		if got := in("-6", "route", "show", "default"); !strings.HasPrefix(got, v6) || strings.Count(got, "default") != 1 {
			t.Errorf("IPv6: got %q, want %q", got, v6)
		}
	}
	for range 2 {
		if err := moveDefaultRoutes(path, "net1", []netip.Addr{netip.MustParseAddr("10.1.0.1")}); err != nil {
			t.Fatal(err)
		}
		want("default via 10.1.0.1 dev net1", "default via fd00::1 dev eth0")
	}
	if err := moveDefaultRoutes(path, "net1", []netip.Addr{netip.MustParseAddr("fd01::1")}); err != nil {
		t.Fatal(err)
	}
	want("default via 10.1.0.1 dev net1", "default via fd01::1 dev net1")

	err := moveDefaultRoutes(path, "eth0", []netip.Addr{netip.MustParseAddr("192.0.2.1")})
	if err == nil || !strings.Contains(err.Error(), "gateway 192.0.2.1") || !strings.Contains(err.Error(), "subnet") {
		t.Errorf("a gateway out of reach: %v", err)
	}
	want("default via 10.1.0.1 dev net1", "default via fd01::1 dev net1")
	if err := moveDefaultRoutes(path, "net7", nil); err == nil {
		t.Error("an interface that is not there: no error")
	}

	k := RealKernel()
	here, err := k.Identify(path)
	if err != nil || k.gone(here) {
		t.Errorf("the namespace is there and taken for gone: %v", err)
	}
	for _, gone := range []string{"/run/netns/fairlead-none", "/etc/hostname", ""} {
		if !k.gone(ledger.Netns{Path: gone}) {
			t.Errorf("%q is taken for a namespace", gone)
		}
	}
	// meta-cni A4: another namespace at the path, and the host's own.
	run("netns", "delete", ns)
	run("netns", "add", ns)
	if !k.gone(here) || !k.reused(here) {
		t.Error("another namespace at a reused path is taken for the old one")
	}
	if host := (ledger.Netns{Path: "/proc/self/ns/net"}); !k.gone(host) || !k.reused(host) {
		t.Error("the host's own namespace is taken for a pod's")
	}
}
