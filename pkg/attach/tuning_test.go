package attach

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

func TestParseTuning(t *testing.T) {
	tests := []struct{ name, conf, cniArgs, want string }{
		{"nothing", `{}`, "", `{}`},
		{"everything", `{"sysctl": {"net.core.somaxconn": "500", "net/ipv4/conf/IFNAME/arp_notify": "1"}, "mac": "02-00-00-CC-00-01", "mtu": 1400, "promisc": true, "allmulti": false, "txQLen": 0}`, "",
			`{"sysctls":{"net/core/somaxconn":"500","net/ipv4/conf/net1/arp_notify":"1"},"mac":"02:00:00:cc:00:01","mtu":1400,"txQLen":0,"promisc":true,"allMulti":false}`},
		{"promisc false is as none", `{"promisc": false}`, "", `{}`},
		{"CNI_ARGS before the conf", `{"mac": "02:00:00:cc:00:01"}`, "MAC=02:00:00:cc:00:02", `{"mac":"02:00:00:cc:00:02"}`},
		{"the capability before CNI_ARGS", `{"runtimeConfig": {"mac": "02:00:00:cc:00:03"}}`, "MAC=02:00:00:cc:00:02", `{"mac":"02:00:00:cc:00:03"}`},
		{"args.cni before all", `{"mtu": 1400, "promisc": true, "sysctl": {"net.a": "1", "net.b": "1"}, "runtimeConfig": {"mac": "02:00:00:cc:00:03"},
			"args": {"cni": {"mac": "02:00:00:cc:00:04", "mtu": 1300, "promisc": false, "allmulti": true, "txQLen": 7, "sysctl": {"net.b": "2"}}}}`, "",
			`{"sysctls":{"net/a":"1","net/b":"2"},"mac":"02:00:00:cc:00:04","mtu":1300,"txQLen":7,"allMulti":true}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := parseTuning(json.RawMessage(tt.conf), tt.cniArgs, "net1")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, asJSON(t, got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTuningRefuses(t *testing.T) {
	for conf, want := range map[string]string{
		`{"sysctl": {"kernel.core_pattern": "|/x"}}`:            `field "sysctl": "kernel.core_pattern" is no sysctl of a network namespace`,
		`{"sysctl": {"net/../kernel/core_pattern": "|/x"}}`:     `is no sysctl of a network namespace`,
		`{"sysctl": {"net": "1"}}`:                              `is no sysctl of a network namespace`,
		`{"args": {"cni": {"sysctl": {"vm.swappiness": "1"}}}}`: `"vm.swappiness" is no sysctl`,
		`{"mac": "01:00:00:00:00:01"}`:                          `field "mac": 01:00:00:00:00:01 is a group address`,
		`{"args": {"cni": {"mac": "x"}}}`:                       `field "args.cni.mac": "x" is no MAC`,
		`{"mtu": 5}`:                                            `field "mtu": 5 is below 68`,
		`{"txQLen": -1}`:                                        `field "txQLen": -1 is below 0`,
		`{"sysctl": {"net.core.somaxconn": 5}}`:                 `field "sysctl`,
	} {
		if _, _, err := parseTuning(json.RawMessage(conf), "", "net1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
}

// The host's list has regular expressions for the names that networks write.
func TestTheHostsListOfSysctls(t *testing.T) {
	file := filepath.Join(t.TempDir(), "allowlist.conf")
	if err := os.WriteFile(file, []byte("^net.core.somaxconn$\n\n  ^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]+$  \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.conf")
	if err := os.WriteFile(broken, []byte("(\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ list, conf, want string }{
		{file, `{"sysctl": {"net.core.somaxconn": "500", "net.ipv4.conf.IFNAME.arp_notify": "1"}}`, ""},
		{file, `{"sysctl": {"net.ipv4.ip_forward": "1"}}`, "net.ipv4.ip_forward is not allowed on this node"},
		{file, `{"args": {"cni": {"sysctl": {"net.ipv4.ip_forward": "1"}}}}`, "net.ipv4.ip_forward is not allowed on this node"},
		{file, `{"mtu": 1400}`, ""},
		{filepath.Join(t.TempDir(), "absent"), `{"sysctl": {"net.ipv4.ip_forward": "1"}}`, ""},
		{broken, `{"sysctl": {"net.ipv4.ip_forward": "1"}}`, "missing closing )"},
	}
	for _, tt := range tests {
		s := New(Deps{TuningAllowlist: tt.list})
		_, err := s.Plugin(Conf{Type: "tuning", Builtin: true}).Prepare(t.Context(), Call{IfName: "net1"}, Conf{Raw: json.RawMessage(tt.conf)})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: %v, want %q", tt.list, tt.conf, err, tt.want)
		}
	}
}

func TestTheListIsTheStockPluginsByDefault(t *testing.T) {
	if got := New(Deps{}).TuningAllowlist; got != "/etc/cni/tuning/allowlist.conf" {
		t.Errorf("got %s", got)
	}
}

func TestTuningChangesTheResultAndIsUndone(t *testing.T) {
	c := newChained(t, "1.0.0", plain, `{"type": "tuning", "mac": "02:00:00:00:00:77", "mtu": 1300, "promisc": true, "allmulti": true, "txQLen": 7, "sysctl": {"net.ipv4.conf.IFNAME.log_martians": "1"}}`)
	c.k.spaces[podNS].sysctls["ipv4/conf/net1/log_martians"] = "0"
	before := c.k.state()
	result := c.add()
	if i := result.Interfaces[0]; i.Mac != "02:00:00:00:00:77" || i.Mtu != 1300 {
		t.Errorf("result %+v", i)
	}
	l := c.k.vfs[vf0Addr].netdev
	if l.MAC != "02:00:00:00:00:77" || l.MTU != 1300 || !l.Promisc || !l.AllMulti || l.TxQLen != 7 || c.k.spaces[podNS].sysctls["ipv4/conf/net1/log_martians"] != "1" {
		t.Errorf("net1 is %+v", l.Link)
	}
	want := ledger.TuningSettings{Sysctls: map[string]string{"net/ipv4/conf/net1/log_martians": "0"}, MAC: vf0MAC, MTU: 1500, TxQLen: new(1000), Promisc: new(false), AllMulti: new(false)}
	if diff := cmp.Diff(want, c.att.Members[1].Tuning.Original); diff != "" {
		t.Errorf("the record: %s", diff)
	}
	if err := c.set.Check(t.Context(), c.call, c.att); err != nil {
		t.Error(err)
	}
	if err := c.del(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, c.k.state()); diff != "" {
		t.Error(diff)
	}
	if got := c.k.spaces[podNS].sysctls["ipv4/conf/net1/log_martians"]; got != "0" {
		t.Errorf("log_martians is %s", got)
	}
}

// Whatever has become of the interface meanwhile, DEL succeeds.
func TestTuningIsUndoneAsFarAsThereIsAnything(t *testing.T) {
	for name, meanwhile := range map[string]func(*chained){
		"the interface is gone": func(c *chained) { delete(c.k.spaces[podNS].links, "net1") },
		"the namespace is gone": func(c *chained) { c.k.endNetns(podNS, 0) },
		"ADD was interrupted":   func(c *chained) { c.att.Members[1].Tuning.Original = ledger.TuningSettings{} },
	} {
		c := newChained(t, "1.0.0", onEth1, `{"type": "tuning", "mtu": 1300, "sysctl": {"net.ipv4.conf.IFNAME.log_martians": "1"}}`)
		c.add()
		meanwhile(c)
		if err := c.del(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTuningNeedsAnInterface(t *testing.T) {
	c := newChained(t, "1.0.0", `{"type": "tuning", "mtu": 1300}`)
	if _, err := c.set.Add(t.Context(), c.call, &c.att); err == nil || !strings.Contains(err.Error(), "put that one before it") {
		t.Errorf("got %v", err)
	}
	missing := newChained(t, "1.0.0", sbr, `{"type": "tuning", "mtu": 1300}`)
	missing.k.addLink(podNS, link.Link{Name: "other"})
	if _, err := missing.set.Add(t.Context(), missing.call, &missing.att); err == nil || !strings.Contains(err.Error(), "read the pod's settings") {
		t.Errorf("got %v", err)
	}
}
