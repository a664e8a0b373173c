package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// S1: every way that is known to have Fairlead, or another meta-plugin, executed by a
// net-attach-def, as a member, an IPAM plugin or a delegate.
func TestConfigsThatRunAMetaPlugin(t *testing.T) {
	const fairlead = `{"type":"fairlead","socket":"/var/lib/kubelet/pods/UID/volumes/kubernetes.io~empty-dir/v/s"}`
	tests := []struct{ name, config, want string }{
		{"(a) a section that is there twice", `{"type":"macvlan","IPAM":` + fairlead + `,"ipam":{}}`, "field IPAM.type"},
		{"(a) in the other order", `{"type":"macvlan","ipam":{},"IPAM":` + fairlead + `}`, `keys "ipam" and "IPAM"`},
		{"(a) in a member", `{"plugins":[{"type":"macvlan","ipam":{},"Ipam":` + fairlead + `}]}`, `plugin 1: keys "ipam" and "Ipam"`},
		{"(a) the same spelling twice", `{"type":"macvlan","ipam":{"x":1},"ipam":{"type":"host-local"}}`, `key "ipam" is there twice`},
		{"(a) in the section", `{"type":"macvlan","ipam":{"type":"host-local","TYPE":"fairlead"}}`, `field ipam: keys "type" and "TYPE"`},
		{"(a) by folding", `{"plugins":[{"type":"macvlan","pluginſ":[]}]}`, "plugin 1: field pluginſ"},
		{"(a) escaped", `{"type":"macvlan","ip\u0061m":` + fairlead + `}`, "field ipam.type"},
		{"(b) a list within a member", `{"plugins":[{"type":"macvlan","plugins":[{"type":"macvlan","ipam":` + fairlead + `}]}]}`, "plugin 1: field plugins"},
		{"(b) in another case", `{"plugins":[{"type":"macvlan","PLUGINS":[{"type":"macvlan"}]}]}`, "plugin 1: field PLUGINS"},
		{"(b) beside the list", `{"plugins":[{"type":"macvlan"}],"Plugins":[{"type":"macvlan"}]}`, `keys "plugins" and "Plugins"`},
		{"(b) the list in another case", `{"type":"macvlan","Plugins":[{"type":"macvlan"}]}`, "not spelled exactly"},
		{"(b) in the delegate", `{"type":"flannel","delegate":{"type":"bridge","plugins":[]}}`, "field delegate.plugins"},
		{"(c) a delegate", `{"type":"flannel","delegate":` + fairlead + `}`, "field delegate.type"},
		{"(c) a delegate's IPAM plugin", `{"type":"flannel","Delegate":{"type":"bridge","Ipam":` + fairlead + `}}`, "field Delegate.Ipam.type"},
		{"(c) one of several", `{"type":"x","delegates":[{"type":"bridge"},{"type":"y","delegate":` + fairlead + `}]}`, "field delegates[1].delegate.type"},
		{"(c) of a plugin that is not known here", `{"type":"x","what":{"ever":[` + fairlead + `]}}`, "field what.ever[0].type"},
		{"a path", `{"type":"x","delegate":{"type":"../bin/fairlead"}}`, "is a path"},
		{"a path in an unknown key", `{"type":"x","run":{"type":"/opt/cni/bin/fairlead"}}`, "without end"},
		{"type in another case", `{"TYPE":"fairlead"}`, "field TYPE"},
		{"multus", `{"type":"multus","binDir":"/var/lib/kubelet/pods"}`, `"multus"`},
		{"multus-shim", `{"plugins":[{"type":"multus-shim","daemonSocketDir":"/x"}]}`, `plugin 1: field type: "multus-shim"`},
		{"a hidden file", `{"type":".fairlead.123.tmp"}`, "not the name of a plugin"},
		{"an IPAM section that is none", `{"type":"macvlan","ipam":"fairlead"}`, "field ipam: is not an object"},
		{"an IPAM section that is a list", `{"type":"macvlan","ipam":[` + fairlead + `]}`, "field ipam: is a list"},
		{"a delegate that is a number", `{"type":"flannel","delegate":7}`, "field delegate: is not an object"},
		{"a delegate's result", `{"type":"flannel","delegate":{"type":"portmap","PrevResult":{}}}`, "field delegate.PrevResult"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !json.Valid([]byte(tt.config)) {
				t.Fatal("the test's config is not JSON")
			}
			d, err := ParseDefinition("ns", "nad", tt.config, nil)
			if err == nil {
				t.Fatalf("accepted: %+v", d)
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "ns/nad") || !strings.Contains(err.Error(), "; ") {
				t.Errorf("got %v; want %q and a remedy", err, tt.want)
			}
			// The conf dir is read by the same rules.
			if _, err := (Definition{Name: "nad", FromFile: true}).Load(func(string) (ConfList, error) { return ParseConfList([]byte(tt.config), "nad") }); err == nil {
				t.Error("accepted from a file")
			}
		})
	}
}

// Configs that look like the ones above, and are fine.
func TestConfigsThatAreNotRefused(t *testing.T) {
	for _, config := range []string{
		`{"type":"flannel","delegate":{"hairpinMode":true,"isDefaultGateway":true}}`,
		`{"type":"macvlan","ipam":null}`, `{"type":"macvlan","ipam":{}}`, `{"type":"macvlan","IPAM":{"Type":"host-local"}}`,
		`{"type":"tuning","sysctl":{"net.ipv4.conf.IFNAME.arp_filter":"1"},"args":{"cni":{"plugins":[1],"ipam":"x","type":7}}}`,
		`{"plugins":[{"type":"a","name":"fairlead"},{"type":"b","description":"fairlead"}],"type":"ignored","plugin":"x"}`,
		`{"type":"openvswitch-cni.k8s_io","disableCheck":"TRUE"}`,
	} {
		if _, err := ParseDefinition("ns", "nad", config, nil); err != nil {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// S1, S5: a key that the agent sets takes the place of the config's, whatever its case.
func TestWhatTheAgentSetsReplacesEverySpelling(t *testing.T) {
	list, err := ParseConfList([]byte(`{"NAME":"n","plugins":[{"type":"a","deviceid":"0000:00:00.0","PCIBUSID":"0000:00:00.0","prevresult":{"x":1},
		"RuntimeConfig":{"deviceID":"x"},"capabilities":{"mac":true},"Name":"other","cniversion":"0.1.0"}]}`), "")
	if err != nil {
		t.Fatal(err)
	}
	list, err = resolveList(list, "0000:3b:02.1", nil, map[string]any{"mac": "02:00:00:00:00:01"})
	if err != nil {
		t.Fatal(err)
	}
	got := list.Member(0).With(Object{"prevResult": json.RawMessage(`{"ips":[]}`)}).JSON()
	want := `{"capabilities":{"mac":true},"cniVersion":"0.3.1","deviceID":"0000:3b:02.1","name":"n","pciBusID":"0000:3b:02.1",` +
		`"prevResult":{"ips":[]},"runtimeConfig":{"mac":"02:00:00:00:00:01"},"type":"a"}`
	if string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// A net-attach-def's prevResult would have portmap forward the host's ports anywhere.
func TestPrevResultIsDroppedWithANotice(t *testing.T) {
	for _, config := range []string{`{"type":"portmap","prevResult":{"ips":[]}}`, `{"plugins":[{"type":"a"},{"type":"portmap","PREVRESULT":{"ips":[]}}]}`} {
		list, err := ParseConfList([]byte(config), "n")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list.Plugins {
			if raw := p.Fields.JSON(); strings.Contains(strings.ToLower(string(raw)), "prevresult") {
				t.Errorf("%s", raw)
			}
		}
		if len(list.Notices) != 1 || !strings.Contains(list.Notices[0], "prevResult of portmap") {
			t.Errorf("notices: %q", list.Notices)
		}
	}
}

// S7, S20: sizes end in an error that names limit, value, field and remedy.
func TestLimitsOfADefinition(t *testing.T) {
	tests := []struct{ name, config, want string }{
		{"size", `{"type":"a","x":"` + strings.Repeat("x", MaxConfigBytes) + `"}`, "65555 bytes, the limit is 65536; make the config smaller"},
		{"no size", strings.Repeat(" ", MaxConfigBytes) + `{"type":"a"}`, "the limit is 65536"},
		{"members", `{"plugins":[` + strings.Repeat(`{"type":"a"},`, 4000) + `{"type":"a"}]}`, "field plugins: 4001 plugins, the limit is 16; make several"},
		{"members that are none", `{"plugins":[` + strings.Repeat(`0,`, 16) + `0]}`, "field plugins: 17 plugins, the limit is 16"},
		{"depth", `{"type":"a","x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`, "33 objects and lists within each other, the limit is 32"},
		{"deep text", strings.Repeat("[", 60000), "is not a JSON object"},
		{"name", `{"type":"a","name":"` + strings.Repeat("n", 254) + `"}`, "field name: 254 bytes, the limit is 253"},
		{"type", `{"type":"` + strings.Repeat("n", 254) + `"}`, "field type: 254 bytes, the limit is 253"},
		{"a long key", `{"type":"a","` + strings.Repeat("k", 5000) + `":{"type":"fairlead"}}`, "field kkk"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseDefinition("ns", "nad", tt.config, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "ns/nad, spec.config") {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if len(err.Error()) > 500 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
	for _, config := range []string{
		`{"plugins":[` + strings.Repeat(`{"type":"a"},`, 15) + `{"type":"a"}]}`,
		`{"type":"a","x":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`,
		`{"type":"a","x":"` + strings.Repeat("x", MaxConfigBytes-19) + `"}`,
	} {
		if _, err := ParseDefinition("ns", "nad", config, nil); err != nil {
			t.Errorf("at the limit: %v", err)
		}
	}
	var limit *LimitError
	if _, err := ParseDefinition("ns", "nad", tests[0].config, nil); !errors.As(err, &limit) || limit.Limit != MaxConfigBytes {
		t.Errorf("not a LimitError: %v", err)
	}
}

// S7: the same for a pod's annotation.
func TestLimitsOfAnAnnotation(t *testing.T) {
	const prefix = "annotation k8s.v1.cni.cncf.io/networks"
	ips := func(n int) string {
		return `[{"name":"a","ips":[` + strings.TrimSuffix(strings.Repeat(`"10.0.0.1/24",`, n), ",") + `]}]`
	}
	list := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(`{"name":"a"},`, n), ",") + "]" }
	tests := []struct{ name, annotation, want string }{
		{"size", strings.Repeat("a,", 131000), prefix + ": 262000 bytes, the limit is 65536; ask for fewer networks"},
		{"networks", strings.TrimSuffix(strings.Repeat("a,", 33), ","), prefix + ": 33 networks, the limit is 32; ask for fewer networks in one pod"},
		{"networks in JSON", list(33), prefix + ": 33 networks, the limit is 32"},
		{"addresses", ips(65), prefix + ", network 1, field ips: 65 addresses, the limit is 64; ask for fewer"},
		{"depth", `[{"name":"a","cni-args":{"x":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}}]`,
			prefix + ", network 1, field cni-args.x" + strings.Repeat("[0]", 29) + ": 33 objects and lists within each other, the limit is 32; make it flatter"},
		{"name", strings.Repeat("a", 254), prefix + ", network 1, field name: 254 bytes, the limit is 253; " + nameRemedy},
		{"a key twice", `[{"name":"a"},{"name":"b","NAME":"c"}]`, prefix + `, network 2: keys "name" and "NAME" differ in letter case only`},
		{"a key of cni-args twice", `[{"name":"a","cni-args":{"ips":1,"IPs":2}}]`, prefix + `, network 1, field cni-args: keys "ips" and "IPs"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseSelections(tt.annotation, "ns")
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
			var selection *SelectionError
			if !errors.As(err, &selection) {
				t.Errorf("%T", err)
			}
		})
	}
	for _, annotation := range []string{strings.TrimSuffix(strings.Repeat("a,", 32), ","), list(32), ips(64)} {
		if _, err := ParseSelections(annotation, "ns"); err != nil {
			t.Errorf("at the limit: %v", err)
		}
	}
}

// S11: nothing that a terminal would take for a command, or show as something else.
func TestNamesArePrintable(t *testing.T) {
	for _, resource := range []string{"x\x1b]0;title\x07/y", "x.io/y\u202e", "X.io/y", "x..io/y", "-x/y", "x.io/-y", "x.io/" + strings.Repeat("y", 64), "x.io/y\n"} {
		_, err := ParseDefinition("ns", "nad", `{"type":"a"}`, map[string]string{ResourceAnnotation: resource + "z"})
		if err == nil || !strings.Contains(err.Error(), ResourceAnnotation) || strings.ContainsFunc(err.Error(), notTerminalSafe) {
			t.Errorf("%q: %q", resource, err)
		}
	}
	for _, resource := range []string{"intel.com/sriov_net_A", "fairlead.dev/fast.1", "x/Y-9"} {
		if _, err := ParseDefinition("ns", "nad", `{"type":"a"}`, map[string]string{ResourceAnnotation: resource}); err != nil {
			t.Errorf("%s: %v", resource, err)
		}
	}
	for _, name := range []string{"a\u202eb", "a\u200bb", "ä", "a\x1b2J", "a\x7f"} {
		_, err := ParseSelections("a@"+name, "ns")
		if err == nil || !strings.Contains(err.Error(), "field interface") || strings.ContainsFunc(err.Error(), notTerminalSafe) {
			t.Errorf("%q: %q", name, err)
		}
		if _, err := ParseDefinition("ns", "nad", `{"type":`+fmt.Sprintf("%q", "a"+name)+`}`, nil); err == nil {
			t.Errorf("type %q was accepted", name)
		}
	}
}

func notTerminalSafe(r rune) bool { return r < ' ' || r == 0x7f || r == 0x202e || r == 0x200b }

// A record of an earlier release may hold a config that is refused today. It stays readable, or its
// pod could never be released (meta-cni E9: and it is not parsed again).
func TestRecordsAreReadWithoutChecks(t *testing.T) {
	var list ConfList
	err := json.Unmarshal([]byte(`{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"macvlan","IPAM":{"type":"fairlead"},"ipam":{}}]}`), &list)
	if err != nil || list.Plugins[0].Type != "macvlan" {
		t.Errorf("%+v, %v", list, err)
	}
}
