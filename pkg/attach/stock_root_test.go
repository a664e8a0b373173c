//go:build root

package attach

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
	"fairlead.dev/fairlead/pkg/pci"
)

// A built-in plugin has the effects and the results of the stock plugin of its type. Each
// test makes the same network with both, each on a node of its own, and compares all that
// can be seen of it.

// stockPlugins builds plugins of github.com/containernetworking/plugins.
func stockPlugins(t testing.TB, paths ...string) (dir string) {
	t.Helper()
	const module = "github.com/containernetworking/plugins"
	source, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("find the sources of %s: %v", module, err)
	}
	dir = t.TempDir()
	args := []string{"build", "-o", dir + "/"}
	for _, p := range paths {
		args = append(args, "./plugins/"+p)
	}
	build := exec.Command("go", args...)
	build.Dir = strings.TrimSpace(string(source)) // its own go.mod has the libraries
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the stock plugins: %v\n%s", err, out)
	}
	return dir
}

// hostExec runs plugins in the namespace that is in the host's place.
type hostExec struct {
	invoke.RawExec
	version.PluginDecoder
	host string
}

func (e *hostExec) ExecPlugin(ctx context.Context, file string, stdin []byte, environ []string) (out []byte, err error) {
	nsErr := netns.With(e.host, func() error {
		out, err = e.RawExec.ExecPlugin(ctx, file, stdin, environ)
		return nil
	})
	if nsErr != nil {
		return nil, nsErr
	}
	return out, err
}

// comparison is one network, to be made by the stock plugin and by the built-in one.
type comparison struct {
	name       string
	confs      []string // the chain; the plugin that is compared has "builtin": BUILTIN
	args       string   // CNI_ARGS
	prepare    func(n *testNode, pod string)
	device     pci.Address
	stock      func(conf string) string // nil: the stock plugin gets the same config
	same       func(text string) string // takes a documented difference off the stock plugin's text
	fails      string                   // part of the built-in plugin's error
	memberOnly bool                     // other members of the chain are built in both times
	sysctls    []string                 // to be compared, "host:" or "pod:" and the key; VETH stands for the host's end
}

func (tt comparison) run(t *testing.T, dir string) {
	t.Helper()
	t.Parallel() // most of the time is the kernel's, for namespaces that end
	stock, builtin := tt.make(t, dir, false), tt.make(t, dir, true)
	if tt.same != nil {
		stock = tt.same(stock)
	}
	if diff := cmp.Diff(stock, builtin); diff != "" {
		t.Errorf("stock and built-in differ: %s", diff)
	}
	if (tt.fails != "") != strings.HasPrefix(builtin, "failed") {
		t.Errorf("got %s", builtin)
	}
}

// make makes the network, and is all that can be seen of it after ADD, by CHECK and after
// DEL.
func (tt comparison) make(t *testing.T, dir string, builtin bool) string {
	t.Helper()
	n := newTestNode(t)
	pod := netnstest.New(t)
	if tt.prepare != nil {
		tt.prepare(n, pod)
	}
	var confs []string
	for _, conf := range tt.confs {
		conf = strings.ReplaceAll(conf, "BUILTIN", fmt.Sprint(builtin))
		if !builtin && tt.stock != nil {
			conf = tt.stock(conf)
		}
		confs = append(confs, conf)
	}
	list, err := listOf("", confs...)
	if err != nil {
		t.Fatal(err)
	}
	before := n.survey(pod, nil)
	c := Call{SandboxID: "s1", IfName: "net1", Network: "ns/fast", Netns: ledger.Netns{Path: pod}, CNIArgs: tt.args, Path: dir,
		Exec: &hostExec{RawExec: invoke.RawExec{Stderr: io.Discard}, host: n.host}, Device: tt.device}
	att, err := n.set.Prepare(t.Context(), c, list)
	if err == nil {
		att = stored(t, att)
	}
	if during := n.survey(pod, nil); during != before {
		t.Errorf("Prepare changes the node: %s", cmp.Diff(before, during))
	}
	if err != nil {
		return tt.failed(t, builtin, err)
	}
	result, err := n.set.Add(t.Context(), c, &att)
	if err != nil {
		// The kernel chooses a bridge's MAC again when its last port leaves.
		if diff := cmp.Diff(macRE.ReplaceAllString(before, "MAC"), macRE.ReplaceAllString(n.survey(pod, nil), "MAC")); builtin && diff != "" {
			t.Errorf("left: %s", diff)
		}
		return tt.failed(t, builtin, err)
	}
	text := "added:\n" + n.settled(pod, tt.sysctls)
	for _, i := range result.Interfaces {
		i.Mtu, i.PciID = 0, "" // the stock plugins report neither
		i.Sandbox = strings.Replace(i.Sandbox, pod, "POD", 1)
	}
	att.Result, _ = json.Marshal(result)
	text += fmt.Sprintf("result %s\n", asJSON(t, result))
	for _, i := range result.Interfaces {
		i.Sandbox = strings.Replace(i.Sandbox, "POD", pod, 1)
	}
	att.Result, _ = json.Marshal(result)
	att = stored(t, att)
	if builtin != BuiltIn(att) && !(tt.memberOnly && !builtin) {
		t.Errorf("built in: %t, want %t", BuiltIn(att), builtin)
	}
	err = n.set.Check(t.Context(), c, att)
	if err != nil && !builtin && strings.Contains(err.Error(), "no plugin name provided") {
		err = nil // the stock plugins cannot check a network without ipam
	}
	text += fmt.Sprintf("check %v\n", err)
	again := stored(t, att)
	if err := n.set.Del(t.Context(), c, &att); err != nil {
		t.Error(err)
	}
	text += "deleted:\n" + n.survey(pod, nil)
	if builtin {
		if err := n.set.Del(t.Context(), c, &again); err != nil {
			t.Errorf("the second DEL: %v", err)
		}
	}
	return anonymous(text)
}

func (tt comparison) failed(t *testing.T, builtin bool, err error) string {
	if builtin && (tt.fails == "" || !strings.Contains(err.Error(), tt.fails)) {
		t.Errorf("failed: %v, want %q", err, tt.fails)
	}
	return "failed"
}

var (
	macRE  = regexp.MustCompile(`([0-9a-f]{2}:){5}[0-9a-f]{2}`)
	vethRE = regexp.MustCompile(`veth[0-9a-f]{8}`)
	ifbRE  = regexp.MustCompile(`bwp[0-9a-f]{12}`)
)

// anonymous replaces the names and MACs that are random.
func anonymous(text string) string {
	text = macRE.ReplaceAllStringFunc(text, func(mac string) string {
		if strings.HasPrefix(mac, "02:00:00") || mac == "00:00:00:00:00:00" {
			return mac
		}
		return "MAC"
	})
	return ifbRE.ReplaceAllString(vethRE.ReplaceAllString(text, "VETH"), "IFB")
}

// settled is survey, after the end of duplicate address detection.
func (n *testNode) settled(pod string, sysctls []string) (text string) {
	for range 50 {
		if text = n.survey(pod, sysctls); !strings.Contains(text, "tentative true") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return text
}

// survey is the host and the pod as text: links, addresses, routes of all tables, rules.
func (n *testNode) survey(pod string, sysctls []string) string {
	n.t.Helper()
	var b strings.Builder
	for _, place := range []struct{ name, path string }{{"host", n.host}, {"pod", pod}} {
		text := n.surveyOf(place.path)
		for _, key := range sysctls {
			if where, key, _ := strings.Cut(key, ":"); where == place.name {
				key = strings.Replace(key, "VETH", vethRE.FindString(text), 1)
				n.inside(place.path, func() error {
					value, err := os.ReadFile(sysctlDir + key)
					text += fmt.Sprintf("  %s=%s\n", key, strings.TrimSpace(string(value)))
					return err
				})
			}
		}
		b.WriteString(place.name + ":\n" + text)
	}
	return b.String()
}

func (n *testNode) surveyOf(path string) string {
	n.t.Helper()
	h := n.handle(path)
	defer h.Close()
	links, err := h.List()
	if err != nil {
		n.t.Fatal(err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	var lines []string
	for _, l := range links {
		if strings.HasPrefix(l.Name, "up0") || l.Kind == "" && l.Name != "lo" {
			continue
		}
		words := []string{" ", l.Name, l.Kind, l.MAC, fmt.Sprintf("mtu %d up %t promisc %t allmulti %t noarp %t multicast %t qlen %d alias %q master %q hairpin %t isolated %t",
			l.MTU, l.Up, l.Promisc, l.AllMulti, l.NoARP, l.Multicast, queue(l), l.Alias, names[l.Master], l.Hairpin, l.Isolated)}
		addrs, err := h.IP.Addresses(l.Index)
		if err != nil {
			n.t.Fatal(err)
		}
		for _, a := range addrs {
			if !a.IPNet.IP.IsLinkLocalUnicast() {
				words = append(words, fmt.Sprintf("\n    %s tentative %t", &a.IPNet, a.Tentative))
			}
		}
		lines = append(lines, strings.Join(words, " "))
	}
	slices.Sort(lines)
	n.inside(path, func() error {
		lines = append(append(append(lines, n.routes(names)...), n.rules()...), n.disciplines(links)...)
		return nil
	})
	return strings.Join(lines, "\n") + "\n"
}

// queue is the length of a link's queue. A veth does not queue: the stock plugins leave 0 on the
// host's end, and the kernel's default is 1000.
func queue(l link.Link) int {
	if l.Kind == "veth" {
		return 0
	}
	return l.TxQLen
}

// routes are those of every table but the kernel's own, "local", without link-local ones.
func (n *testNode) routes(names map[int]string) (lines []string) {
	all, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, r := range all {
		if r.Table == unix.RT_TABLE_LOCAL || strings.HasPrefix(names[r.LinkIndex], "up0") {
			continue
		}
		if r.Dst != nil && (r.Dst.IP.IsLinkLocalUnicast() || r.Dst.IP.IsMulticast()) {
			continue
		}
		lines = append(lines, fmt.Sprintf("  route %v via %v dev %s src %v proto %d scope %d table %d prio %d type %d", r.Dst, r.Gw, names[r.LinkIndex], r.Src, r.Protocol, r.Scope, r.Table, r.Priority, r.Type))
	}
	slices.Sort(lines)
	return lines
}

// disciplines are those that somebody has set, with their filters.
func (n *testNode) disciplines(links []link.Link) (lines []string) {
	for _, l := range links {
		at := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.Index}}
		all, err := netlink.QdiscList(at)
		if err != nil {
			n.t.Fatal(err)
		}
		for _, q := range all {
			switch q := q.(type) {
			case *netlink.Tbf:
				lines = append(lines, fmt.Sprintf("  %s tbf rate %d limit %d buffer %d handle %x parent %x", l.Name, q.Rate, q.Limit, q.Buffer, q.Handle, q.Parent))
			case *netlink.Ingress:
				filters, err := netlink.FilterList(at, q.Handle)
				if err != nil {
					n.t.Fatal(err)
				}
				for _, f := range filters {
					u32, ok := f.(*netlink.U32)
					redirected := ok && len(u32.Actions) == 1
					lines = append(lines, fmt.Sprintf("  %s ingress %s priority %d protocol %d redirected %t", l.Name, f.Type(), f.Attrs().Priority, f.Attrs().Protocol, redirected))
				}
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func (n *testNode) rules() (lines []string) {
	all, err := netlink.RuleList(netlink.FAMILY_ALL)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, r := range all {
		lines = append(lines, fmt.Sprintf("  rule %d from %v table %d", r.Priority, r.Src, r.Table))
	}
	slices.Sort(lines)
	return lines
}

// hostLink makes a link in the host's place.
func (n *testNode) hostLink(l netlink.Link, addrs ...string) {
	n.t.Helper()
	n.inside(n.host, func() error {
		if err := netlink.LinkAdd(l); err != nil {
			return err
		}
		for _, a := range addrs {
			ip, subnet, err := net.ParseCIDR(a)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: subnet.Mask}}); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(l)
	})
}
