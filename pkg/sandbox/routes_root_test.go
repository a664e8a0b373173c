//go:build root

package sandbox

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
	"fairlead.dev/fairlead/pkg/network"
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

// meta-cni C4, lab D: the pod's traffic leaves by eth0 in each family in which the primary has
// a default route, whatever routes secondary networks and their programs have added.
func TestKeepDefaultRoutes(t *testing.T) {
	for _, tt := range []struct {
		name       string
		routes     []string // ip route add …, in order
		v4, v6     string   // the interface to elsewhere
		own4, own6 string   // that of traffic bound to net1
		moved      string
	}{
		{"without a metric", []string{"default via 10.0.0.1", "default via 10.1.0.1", "default via fd00::1", "default via fd01::1"},
			"eth0", "eth0", "net1", "net1", "net1 IPv4 1, net1 IPv6 1025"},
		{"a better metric than the primary's", []string{"default via 10.0.0.1 metric 100", "default via 10.1.0.1", "default via fd00::1 metric 900", "default via fd01::1 metric 100"},
			"eth0", "eth0", "net1", "net1", "net1 IPv4 101, net1 IPv6 901"},
		{"behind already", []string{"default via 10.0.0.1", "default via 10.1.0.1 metric 50", "default via fd00::1", "default via fd01::1 metric 2000"},
			"eth0", "eth0", "net1", "net1", ""},
		{"two secondaries", []string{"default via 10.0.0.1", "default via 10.1.0.1", "default via 10.2.0.1", "default via fd00::1", "default via fd01::1", "default via fd02::1"},
			"eth0", "eth0", "net1", "net1", "net2 IPv4 1, net1 IPv4 2, net1 IPv6 1025, net2 IPv6 1026"},
		{"over the link", []string{"default dev eth0", "default dev net1"}, "eth0", "", "net1", "", "net1 IPv4 1"},
		{"the primary has IPv4 only", []string{"default via 10.0.0.1", "default via 10.1.0.1", "default via fd01::1"},
			"eth0", "net1", "net1", "net1", "net1 IPv4 1"},
		{"the primary has none", []string{"default via 10.1.0.1", "default via fd01::1"}, "net1", "net1", "net1", "net1", ""},
		{"another table", []string{"default via 10.0.0.1", "default via 10.1.0.1 table 100"}, "eth0", "", "", "", ""},
		{"by a gateway out of the subnet", []string{"default via 10.0.0.1", "default via 169.254.1.1 dev net1 onlink src 10.1.0.2"}, "eth0", "", "net1", "", "net1 IPv4 1"},
		{"several ways of a secondary", []string{"default via 10.0.0.1", "default nexthop via 10.1.0.1 nexthop via 10.1.0.3"}, "eth0", "", "net1", "", "net1 IPv4 1, net1 IPv4 2"},
		{"several ways of the primary", []string{"default nexthop via 10.0.0.1 nexthop via 10.0.0.3", "default via 10.1.0.1"}, "eth0", "", "net1", "", "net1 IPv4 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, in := podWithLinks(t)
			for _, r := range tt.routes {
				args := []string{"route", "append"}
				if strings.Contains(r, "10.1.") || strings.Contains(r, "10.2.") || strings.Contains(r, "dev net1") {
					args = []string{"route", "prepend"} // as the kernel does for all plugins
				}
				if strings.Contains(r, "fd0") {
					args = []string{"-6", "route", "append"} // joined to one over several links
				}
				in(append(args, strings.Fields(r)...)...)
			}
			moved, err := keepDefaultRoutes(path, []string{"eth0", "tunl0"}, []string{"net1"})
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for _, m := range moved {
				texts = append(texts, fmt.Sprint(m.IfName, " ", network.Family(m.IPv4), " ", m.Metric))
			}
			if got := strings.Join(texts, ", "); got != tt.moved {
				t.Errorf("moved %q, want %q", got, tt.moved)
			}
			if again, err := keepDefaultRoutes(path, []string{"eth0"}, nil); err != nil || len(again) > 0 {
				t.Errorf("moved again: %v, %v", again, err)
			}
			for i, way := range []struct{ to, bound, want string }{
				{"192.0.2.1", "", tt.v4}, {"2001:db8::1", "", tt.v6}, {"192.0.2.1", "net1", tt.own4}, {"2001:db8::1", "net1", tt.own6},
			} {
				args := []string{"route", "get", way.to}
				if way.bound != "" {
					args = append(args, "oif", way.bound)
				}
				for try := range 20 { // a hash may choose among several ways
					if way.want == "" {
						break
					}
					if strings.Contains(way.to, ":") {
						args[2] = fmt.Sprintf("2001:db8::%d", try+1)
					}
					if got := in(args...); !strings.Contains(got, " dev "+way.want+" ") {
						t.Errorf("way %d: %s, want one over %s\n%s%s", i, got, way.want, in("route"), in("-6", "route"))
						break
					}
				}
			}
		})
	}
}

// meta-cni D5: a program's interface does not prefer its router to the primary's.
func TestRoutersOfProgramsComeBehind(t *testing.T) {
	path, in := podWithLinks(t)
	in("-6", "route", "add", "default", "via", "fd00::1")
	in("-6", "route", "add", "default", "via", "fd01::1", "proto", "ra", "metric", "512")
	if _, err := keepDefaultRoutes(path, []string{"eth0"}, []string{"net1"}); err != nil {
		t.Fatal(err)
	}
	if got := in("-6", "route", "show", "default"); strings.Contains(got, "net1") {
		t.Errorf("the advertised route is still there: %s", got)
	}
	err := netns.With(path, func() error {
		for ifName, want := range map[string]string{"net1": "2048", "eth0": "1024"} {
			got, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + ifName + "/ra_defrtr_metric")
			if err != nil {
				return err
			}
			if strings.TrimSpace(string(got)) != want {
				t.Errorf("%s: metric %s, want %s", ifName, got, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// podWithLinks makes a namespace with eth0, net1 and net2, and addresses 10.N.0.2 and fd0N::2.
func podWithLinks(t *testing.T) (path string, in func(args ...string) string) {
	path = netnstest.New(t)
	in = func(args ...string) string {
		t.Helper()
		out, err := exec.Command("nsenter", append([]string{"--net=" + path, "ip"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	for i, name := range []string{"eth0", "net1", "net2"} {
		in("link", "add", name, "type", "veth", "peer", "name", name+"p")
		in("addr", "add", fmt.Sprintf("10.%d.0.2/24", i), "dev", name)
		in("addr", "add", fmt.Sprintf("fd0%d::2/64", i), "dev", name, "nodad")
		in("link", "set", name, "up")
		in("link", "set", name+"p", "up")
	}
	return path, in
}
