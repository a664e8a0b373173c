package ipam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/google/go-cmp/cmp"
)

func TestHostLocalGives(t *testing.T) {
	tests := []struct {
		name, conf, cniArgs string
		want                string
	}{
		{"first free address", conf(`"ranges": [[{"subnet": "10.1.2.0/24"}]]`, ""), "", "10.1.2.2/24 via 10.1.2.1"},
		{"old form with start and gateway",
			conf(`"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.20", "rangeEnd": "10.1.2.30", "gateway": "10.1.2.254"`, ""), "",
			"10.1.2.20/24 via 10.1.2.254"},
		{"one of each family, with routes",
			conf(`"ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00:1::/64"}]], "routes": [{"dst": "10.9.0.0/16", "gw": "10.1.2.7"}, {"dst": "::/0"}]`, ""), "",
			"10.1.2.2/24 via 10.1.2.1\nfd00:1::2/64 via fd00:1::1\nroute 10.9.0.0/16 via 10.1.2.7\nroute ::/0"},
		{"the ips capability", conf(`"subnet": "10.1.2.0/24"`, `"runtimeConfig": {"ips": ["10.1.2.99/24"]},`), "", "10.1.2.99/24 via 10.1.2.1"},
		{"args.cni.ips", conf(`"subnet": "10.1.2.0/24"`, `"args": {"cni": {"ips": ["10.1.2.98"]}},`), "", "10.1.2.98/24 via 10.1.2.1"},
		{"CNI_ARGS", conf(`"subnet": "10.1.2.0/24"`, ""), "IgnoreUnknown=1;K8S_POD_NAME=p;IP=10.1.2.97", "10.1.2.97/24 via 10.1.2.1"},
		{"a list in CNI_ARGS and the same in the capability",
			conf(`"ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00:1::/64"}]]`, `"runtimeConfig": {"ips": ["10.1.2.97", "fd00:1::97"]},`),
			"IgnoreUnknown=1;IP=10.1.2.97,fd00:1::97/64", "10.1.2.97/24 via 10.1.2.1\nfd00:1::97/64 via fd00:1::1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Add(context.Background(), nil, Args{SandboxID: "s1", IfName: "net1", CNIArgs: tt.cniArgs, DataDir: t.TempDir()}, json.RawMessage(tt.conf))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, asText(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHostLocalRefuses(t *testing.T) {
	small := `"subnet": "10.1.2.0/29"` // .2 to .6 beside the gateway
	tests := []struct {
		name, conf, cniArgs string
		files               map[string]string
		want                []string // parts of the error
	}{
		{"a full range", conf(small, ""), "", holders("10.1.2.", 2, 6, "other\r\nnet1"),
			[]string{`network "n1" has no free address in 10.1.2.1-10.1.2.6`, "5 are taken"}},
		{"a range full of files that a crash left empty (m#948)", conf(small, ""), "", holders("10.1.2.", 2, 6, ""),
			[]string{"5 are taken, 5 of them by empty files"}},
		{"an address that somebody has", conf(small, `"runtimeConfig": {"ips": ["10.1.2.4"]},`), "",
			map[string]string{"10.1.2.4": "other\r\nnet7"}, []string{"requested address 10.1.2.4", "taken by sandbox other", "net7"}},
		{"an address outside", conf(small, `"runtimeConfig": {"ips": ["10.9.9.9"]},`), "", nil,
			[]string{"10.9.9.9 is in no range", "10.1.2.1-10.1.2.6"}},
		{"two of one range set", conf(small, `"runtimeConfig": {"ips": ["10.1.2.4", "10.1.2.5"]},`), "", nil, []string{"10.1.2.5", "has already given an address"}},
		{"the gateway", conf(small, `"runtimeConfig": {"ips": ["10.1.2.1"]},`), "", nil, []string{"10.1.2.1", "gateway"}},
		{"an ADD without a DEL before", conf(small, ""), "", map[string]string{"10.1.2.4": "s1\r\nnet1"}, []string{"sandbox s1 already holds 10.1.2.4"}},
		{"no range", conf(`"dataDir": ""`, ""), "", nil, []string{"no IP ranges"}},
		{"a name that is a path", strings.Replace(conf(small, ""), `"n1"`, `"../../etc"`, 1), "", nil, []string{`network name "../../etc"`}},
		{"an address that is none in CNI_ARGS", conf(small, ""), "IP=10.1.2.3,x", nil, []string{`CNI_ARGS: IP: "x" is not an IP address`}},
		{"the second range set full: the first gets its address back",
			conf(`"ranges": [[{"subnet": "10.7.0.0/24"}], [{"subnet": "10.1.2.0/29"}]]`, ""), "", holders("10.1.2.", 2, 6, "other\r\nnet1"),
			[]string{"no free address in 10.1.2.1-10.1.2.6"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range tt.files {
				write(t, filepath.Join(dir, "n1", name), content)
			}
			before := addresses(t, filepath.Join(dir, "n1"))
			_, err := Add(context.Background(), nil, Args{SandboxID: "s1", IfName: "net1", CNIArgs: tt.cniArgs, DataDir: dir}, json.RawMessage(tt.conf))
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q lacks %q", err, part)
				}
			}
			if tt.files["10.1.2.4"] == "s1\r\nnet1" {
				return // that one is the sandbox's own; DEL's to remove
			}
			if diff := cmp.Diff(before, addresses(t, filepath.Join(dir, "n1"))); diff != "" {
				t.Errorf("addresses leaked: %s", diff)
			}
		})
	}
}

// The stock plugin's files: one per address, "id CR LF interface".
func TestHostLocalFilesAreTheStockPlugins(t *testing.T) {
	dir := t.TempDir()
	args := Args{SandboxID: "s1", IfName: "net1", DataDir: dir}
	c := json.RawMessage(conf(`"subnet": "10.1.2.0/24"`, ""))
	if _, err := Add(context.Background(), nil, args, c); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "n1", "10.1.2.2"))
	if err != nil || string(got) != "s1\r\nnet1" {
		t.Errorf("10.1.2.2 holds %q, %v", got, err)
	}
	if err := Check(context.Background(), nil, args, c); err != nil {
		t.Errorf("Check: %v", err)
	}
	other := args
	other.IfName = "net2"
	if err := Check(context.Background(), nil, other, c); err == nil {
		t.Error("Check finds an address for an interface that has none")
	}
	if err := Del(context.Background(), nil, other, c); err != nil {
		t.Errorf("Del of another interface: %v", err)
	}
	if diff := cmp.Diff([]string{"10.1.2.2"}, addresses(t, filepath.Join(dir, "n1"))); diff != "" {
		t.Error(diff)
	}
	for range 2 { // idempotent
		if err := Del(context.Background(), nil, args, c); err != nil {
			t.Errorf("Del: %v", err)
		}
	}
	if left := addresses(t, filepath.Join(dir, "n1")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestDelOfANetworkThatNeverGaveAnAddressMakesNoFiles(t *testing.T) {
	dir := t.TempDir()
	if err := Del(context.Background(), nil, Args{SandboxID: "s1", IfName: "net1", DataDir: dir}, json.RawMessage(conf(`"subnet": "10.1.2.0/24"`, ""))); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("made %v", left)
	}
}

// A conf that became invalid must not keep an address for ever (m#1239).
func TestDelNeedsNoValidRanges(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "n1", "10.1.2.2"), "s1\r\nnet1")
	err := Del(context.Background(), nil, Args{SandboxID: "s1", IfName: "net1", DataDir: dir}, json.RawMessage(conf(`"subnet": "nonsense"`, "")))
	if err != nil {
		t.Fatal(err)
	}
	if left := addresses(t, filepath.Join(dir, "n1")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Addresses of one type are not given up because the conf on record names another.
func TestDelOfAnotherTypeThanOnRecord(t *testing.T) {
	dir := t.TempDir()
	for text, fails := range map[string]bool{conf(`"subnet": "10.1.2.0/24"`, ""): false, `{"name":"n1"}`: true, `{"name":"n1","ipam":{"type":"static"}}`: true, `{`: true} {
		args := Args{SandboxID: "s1", IfName: "net1", DataDir: dir, Type: "host-local"}
		err := Del(t.Context(), nil, args, json.RawMessage(text))
		if (err != nil) != fails || fails && !strings.Contains(err.Error(), "ipam host-local cannot be given back") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestStatic(t *testing.T) {
	two := `"addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}, {"address": "fd00::5/64"}], "routes": [{"dst": "10.9.0.0/16"}], "dns": {"nameservers": ["10.0.0.53"]}`
	tests := []struct {
		name, ipam, more, cniArgs string
		want, wantErr             string
	}{
		{name: "as the conf says", ipam: two, want: "10.1.0.5/24 via 10.1.0.1\nfd00::5/64\nroute 10.9.0.0/16\ndns [10.0.0.53]  [] []"},
		{name: "CNI_ARGS add to it", ipam: two, cniArgs: "IP=10.2.0.5/16;GATEWAY=10.2.0.1,fd00::1",
			want: "10.1.0.5/24 via 10.1.0.1\nfd00::5/64 via fd00::1\n10.2.0.5/16 via 10.2.0.1\nroute 10.9.0.0/16\ndns [10.0.0.53]  [] []"},
		{name: "args replace it", ipam: two, more: `"args": {"cni": {"ips": ["10.3.0.5/16"]}},`, want: "10.3.0.5/16\nroute 10.9.0.0/16\ndns [10.0.0.53]  [] []"},
		{name: "the ips capability replaces all", ipam: two, more: `"args": {"cni": {"ips": ["10.3.0.5/16"]}}, "runtimeConfig": {"ips": ["192.168.1.100/24"]},`,
			cniArgs: "IP=192.168.1.100/24", want: "192.168.1.100/24\nroute 10.9.0.0/16\ndns [10.0.0.53]  [] []"},
		{name: "no prefix length", ipam: `"addresses": [{"address": "10.1.0.5"}]`, wantErr: `ipam.addresses[0].address: "10.1.0.5"`},
		{name: "no prefix length in the capability", ipam: two, more: `"runtimeConfig": {"ips": ["10.1.0.5"]},`, wantErr: `runtimeConfig.ips: "10.1.0.5"`},
		{name: "no prefix length in CNI_ARGS", ipam: two, cniArgs: "IP=10.1.0.5", wantErr: `CNI_ARGS: IP: "10.1.0.5"`},
		{name: "a gateway that is none", ipam: two, cniArgs: "GATEWAY=x", wantErr: `GATEWAY: "x"`},
		{name: "nothing", ipam: `"routes": []`, wantErr: "there is no address"},
		{name: "unknown CNI_ARGS without leave to ignore them", ipam: two, cniArgs: "K8S_POD_NAME=p", wantErr: "CNI_ARGS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := json.RawMessage(fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "n1", "type": "macvlan", %s "ipam": {"type": "static", %s}}`, tt.more, tt.ipam))
			got, err := Add(context.Background(), nil, Args{SandboxID: "s1", IfName: "net1", CNIArgs: tt.cniArgs}, raw)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("got error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, asText(got)); diff != "" {
				t.Error(diff)
			}
			if err := errors.Join(Check(context.Background(), nil, Args{}, raw), Del(context.Background(), nil, Args{}, raw)); err != nil {
				t.Errorf("Check, Del: %v", err)
			}
		})
	}
}

func TestOtherTypesAreExecuted(t *testing.T) {
	exec := &recorder{}
	args := Args{SandboxID: "s1", IfName: "net1", Netns: "/run/netns/x", CNIArgs: "IgnoreUnknown=1", Path: "/opt/cni/bin:/usr/lib/cni"}
	raw := json.RawMessage(`{"cniVersion": "1.0.0", "name": "n1", "type": "macvlan", "ipam": {"type": "dhcp"}}`)
	ctx := context.Background()
	got, err := Add(ctx, exec, args, raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Check(ctx, exec, args, raw), Del(ctx, exec, args, raw)); err != nil {
		t.Fatal(err)
	}
	want := `ADD s1 net1 /run/netns/x /opt/cni/bin:/usr/lib/cni IgnoreUnknown=1: /opt/cni/bin/dhcp < ` + string(raw)
	want += strings.ReplaceAll("\n"+want, "ADD", "CHECK") + strings.ReplaceAll("\n"+want, "ADD", "DEL")
	if diff := cmp.Diff(want, strings.Join(exec.calls, "\n")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("10.5.0.2/24", asText(got)); diff != "" {
		t.Error(diff)
	}
}

// A directory that the agent's container does not share with the host is left to the
// host's binary. Records in the container would be lost with it, and the addresses
// given again.
func TestHostLocalWithFilesOfTheHostIsExecuted(t *testing.T) {
	leases := t.TempDir()
	for section, want := range map[string]bool{
		`"subnet": "10.1.2.0/24"`: false,
		fmt.Sprintf(`"subnet": "10.1.2.0/24", "dataDir": %q`, leases+"/other"):        false,
		fmt.Sprintf(`"subnet": "10.1.2.0/24", "dataDir": %q`, leases+"/../elsewhere"): true,
		`"subnet": "10.1.2.0/24", "dataDir": "/run/leases"`:                           true,
		`"subnet": "10.1.2.0/24", "resolvConf": "/etc/resolv.conf"`:                   true,
	} {
		exec := &recorder{}
		args := Args{SandboxID: "s1", IfName: "net1", Path: "/opt/cni/bin", DataDir: filepath.Join(leases, "networks")}
		_, err := Add(t.Context(), exec, args, json.RawMessage(conf(section, "")))
		err = errors.Join(err, Check(t.Context(), exec, args, json.RawMessage(conf(section, ""))), Del(t.Context(), exec, args, json.RawMessage(conf(section, ""))))
		if err != nil {
			t.Errorf("%s: %v", section, err)
		}
		if executed := len(exec.calls) == 3; executed != want || !want && len(exec.calls) > 0 {
			t.Errorf("%s: %d calls of the binary, want it executed: %t", section, len(exec.calls), want)
		}
	}
}

func TestIPAMErrorsNameTheType(t *testing.T) {
	ctx := context.Background()
	tests := []struct {
		name, conf, want string
	}{
		{"no ipam", `{"name": "n1"}`, `has no "ipam"`},
		{"no JSON", `{`, "ipam: "},
		{"nothing to run it with", `{"name": "n1", "ipam": {"type": "whereabouts"}}`, "ipam whereabouts: it is not built in"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Add(ctx, nil, Args{}, json.RawMessage(tt.conf)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// S1: no spelling of the section makes Fairlead or another meta-plugin run as IPAM, and
// a record that has one can be released.
func TestMetaPluginsAreNoIPAM(t *testing.T) {
	for _, section := range []string{`"ipam":{"type":"fairlead"}`, `"IPAM":{"type":"fairlead"},"ipam":{}`, `"ipam":{"type":"host-local","TYPE":"fairlead"}`,
		`"ipam":{"type":"multus"}`, `"ipam":{"type":"multus-shim"}`} {
		exec := &recorder{}
		args := Args{SandboxID: "s1", IfName: "net1", Path: "/opt/cni/bin"}
		c := json.RawMessage(`{"name":"n1","type":"macvlan",` + section + `}`)
		if _, err := Add(t.Context(), exec, args, c); err == nil || !strings.Contains(err.Error(), "without end") {
			t.Errorf("%s: Add: %v", section, err)
		}
		if err := Check(t.Context(), exec, args, c); err == nil {
			t.Errorf("%s: Check succeeds", section)
		}
		if err := Del(t.Context(), exec, args, c); err != nil {
			t.Errorf("%s: Del: %v", section, err)
		}
		if len(exec.calls) > 0 {
			t.Errorf("%s: was run: %v", section, exec.calls)
		}
	}
}

// recorder answers like a plugin and notes how it was called.
type recorder struct {
	version.PluginDecoder
	calls []string
}

func (r *recorder) FindInPath(plugin string, paths []string) (string, error) {
	return filepath.Join(paths[0], plugin), nil
}

func (r *recorder) ExecPlugin(_ context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	env := map[string]string{}
	for _, e := range environ {
		k, v, _ := strings.Cut(e, "=")
		env[k] = v
	}
	r.calls = append(r.calls, strings.Join([]string{env["CNI_COMMAND"], env["CNI_CONTAINERID"], env["CNI_IFNAME"], env["CNI_NETNS"],
		env["CNI_PATH"], env["CNI_ARGS"]}, " ")+": "+path+" < "+string(stdin))
	return []byte(`{"cniVersion": "1.0.0", "ips": [{"address": "10.5.0.2/24"}]}`), nil
}

func conf(ipam, more string) string {
	return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "n1", "type": "macvlan", %s "ipam": {"type": "host-local", %s}}`, more, ipam)
}

func holders(prefix string, first, last int, content string) map[string]string {
	files := map[string]string{}
	for i := first; i <= last; i++ {
		files[fmt.Sprintf("%s%d", prefix, i)] = content
	}
	return files
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// addresses lists the address files of a network.
func addresses(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if ip, err := parseIP(e.Name()); err == nil {
			names = append(names, ip.String())
		}
	}
	return names
}

// asText is a result as a human would write it down.
func asText(r *types100.Result) string {
	var lines []string
	for _, ip := range r.IPs {
		line := ip.Address.String()
		if ip.Gateway != nil {
			line += " via " + ip.Gateway.String()
		}
		lines = append(lines, line)
	}
	for _, route := range r.Routes {
		line := "route " + route.Dst.String()
		if route.GW != nil {
			line += " via " + route.GW.String()
		}
		lines = append(lines, line)
	}
	if d := r.DNS; !d.IsEmpty() {
		lines = append(lines, fmt.Sprintf("dns %v %s %v %v", d.Nameservers, d.Domain, d.Search, d.Options))
	}
	return strings.Join(lines, "\n")
}
