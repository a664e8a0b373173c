package attach

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

const gatewayBridge = `{"type": "bridge", "bridge": "br9", "isDefaultGateway": true, "hairpinMode": true, ` + hostLocal + `}`

// chainCall is a call for net1 and the record of its chain, as Prepare leaves it.
func chainCall(t *testing.T, s *Set, confs ...string) (Call, ledger.Attachment, error) {
	t.Helper()
	list, err := listOf("", confs...)
	if err != nil {
		t.Fatal(err)
	}
	c := Call{SandboxID: "s1", IfName: "net1", Network: "ns/fast", Netns: ledger.Netns{Path: podNS}}
	att, err := s.Prepare(t.Context(), c, list)
	if err != nil {
		return c, att, err
	}
	return c, stored(t, att), nil
}

// A pair is born in place, as a port of its bridge, by one message.
func TestBridgesPortIsBornComplete(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	before := k.state()
	c, att, err := chainCall(t, s, gatewayBridge)
	if err != nil {
		t.Fatal(err)
	}
	if after := k.state(); after != before || len(k.calls) > 0 {
		t.Errorf("Prepare has changed the node: %s", k.calls)
	}
	result, err := s.Add(t.Context(), c, &att)
	if err != nil {
		t.Fatal(err)
	}
	want := "host: add bridge br9\nhost: up\nhost: add veth net1\nhost: port hairpin true isolated false\npod: address 10.1.0.2/24\npod: up\n" +
		"pod: route 10.9.0.0/16 via 10.1.0.1\npod: route 0.0.0.0/0 via 10.1.0.1\nhost: address 10.1.0.1/24\nhost: mac b6:00:00:00:00:01"
	if diff := cmp.Diff(want, strings.Join(k.calls, "\n")); diff != "" {
		t.Error(diff)
	}
	text := strings.ReplaceAll(asJSON(t, result), att.Members[0].Veth.Host, "VETH")
	want = `{"cniVersion":"1.1.0","interfaces":[{"mac":"b6:00:00:00:00:01","mtu":1500,"name":"br9"},{"mac":"a6:00:00:00:00:03","mtu":1500,"name":"VETH"},` +
		`{"mac":"a6:00:00:00:00:02","mtu":1500,"name":"net1","sandbox":"/run/netns/pod"}],"ips":[{"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":2}],` +
		`"routes":[{"dst":"10.9.0.0/16"},{"dst":"0.0.0.0/0","gw":"10.1.0.1"}]}`
	if diff := cmp.Diff(want, text); diff != "" {
		t.Error(diff)
	}
	if got := k.spaces[""].sysctls["ipv4/ip_forward"]; got != "1" {
		t.Errorf("the host forwards: %q", got)
	}
}

// memberConfs are networks of the plugins that make a link, with everything that they do.
var memberConfs = []string{gatewayBridge, vlanOnEth1, ptpConf0}

// A failure of any call leaves no trace: no link and no address, and a new bridge goes
// too.
func TestAMemberThatFailsAnywhereLeavesNoTrace(t *testing.T) {
	for _, conf := range memberConfs {
		for call := 1; ; call++ {
			k := newNode(t, igb)
			dir := t.TempDir()
			s := k.set(dir)
			before := k.state()
			c, att, err := chainCall(t, s, conf)
			if err != nil {
				t.Fatal(err)
			}
			k.count, k.failCall, k.failErr = 0, call, unix.EIO
			_, err = s.Add(t.Context(), c, &att)
			if k.count < call {
				break
			}
			if !errors.Is(err, unix.EIO) {
				t.Errorf("call %d: got %v", call, err)
			}
			k.failCall = 0
			if !att.Members[0].Released { // the undo failed: Del tries again
				if err := s.Del(t.Context(), c, &att); err != nil {
					t.Errorf("call %d: Del: %v", call, err)
				}
			}
			if diff := cmp.Diff(before, k.state()); diff != "" {
				t.Errorf("call %d leaves %s", call, diff)
			}
			if left := taken(t, dir); len(left) > 0 {
				t.Errorf("call %d: addresses leaked: %v", call, left)
			}
		}
	}
}

// The agent dies after any call of an Add. The record of Prepare is all that the next one
// has. A bridge stays.
func TestAMemberOfADeadAgentIsReleased(t *testing.T) {
	for _, conf := range memberConfs {
		for call := 1; ; call++ {
			k := newNode(t, igb)
			dir := t.TempDir()
			s := k.set(dir)
			c, att, err := chainCall(t, s, conf)
			if err != nil {
				t.Fatal(err)
			}
			durable := stored(t, att)
			k.count = 0
			dead := false
			k.onRead = func(string) { dead = dead || k.count >= call; k.deadAgent = dead }
			_, _ = s.Add(t.Context(), c, &att)
			if !dead {
				break
			}
			k.onRead, k.deadAgent = nil, false
			for range 2 {
				if err := s.Del(t.Context(), c, &durable); err != nil {
					t.Errorf("call %d: %v", call, err)
				}
				durable.Members[0].Released = false
			}
			if text := k.state(); strings.Contains(text, "net1") || strings.Contains(text, "veth") {
				t.Errorf("call %d leaves %s", call, text)
			}
			if left := taken(t, dir); len(left) > 0 {
				t.Errorf("call %d: addresses leaked: %v", call, left)
			}
		}
	}
}

// The pair goes with its end on the host: the namespace may be gone, or be another's, and
// the pod may have renamed its end.
func TestAPairIsDeletedFromTheRecord(t *testing.T) {
	for name, change := range map[string]func(k *fakeKernel, host string){
		"as it was":               func(*fakeKernel, string) {},
		"the namespace is gone":   func(k *fakeKernel, _ string) { k.endNetns(podNS, 0) },
		"the pod has renamed it":  func(k *fakeKernel, _ string) { k.rename(podNS, "net1", "mine") },
		"the host has renamed it": func(k *fakeKernel, host string) { k.rename("", host, "other") },
		"it is deleted":           func(k *fakeKernel, host string) { k.remove("", host) },
	} {
		k := newNode(t, igb)
		dir := t.TempDir()
		s := k.set(dir)
		c, att, err := chainCall(t, s, gatewayBridge)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Add(t.Context(), c, &att); err != nil {
			t.Fatal(err)
		}
		change(k, att.Members[0].Veth.Host)
		for range 2 {
			again := stored(t, att)
			if err := s.Del(t.Context(), c, &again); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if text := k.state(); strings.Contains(text, "veth") {
			t.Errorf("%s: left %s", name, text)
		}
		if left := taken(t, dir); len(left) > 0 {
			t.Errorf("%s: addresses leaked: %v", name, left)
		}
	}
}

// A link of the name on record that somebody else has made is left alone.
func TestALinkOfAPairsNameIsNotDeleted(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	c, att, err := chainCall(t, s, gatewayBridge)
	if err != nil {
		t.Fatal(err)
	}
	k.addLink("", link.Link{Name: att.Members[0].Veth.Host, Kind: "veth", MTU: 1500})
	k.addLink(podNS, link.Link{Name: "net1", Kind: "veth", MTU: 1500})
	before := k.state()
	if err := s.Del(t.Context(), c, &att); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, k.state()); diff != "" {
		t.Error(diff)
	}
}

// Fields that the agent has no code for run the stock plugin's program.
func TestBridgesThatFilterOrTagAreTheProgram(t *testing.T) {
	for _, field := range []string{`"ipMasq": true`, `"macspoofchk": true`, `"vlan": 5`, `"vlanTrunk": [{"id": 7}]`, `"vlanTrunk": []`} {
		s := newNode(t, igb).set(t.TempDir())
		_, att, err := chainCall(t, s, `{"type": "bridge", `+field+`}`)
		if err != nil || att.Members[0].Plugin != PluginBinary || att.Members[0].Type != "bridge" {
			t.Errorf("%s: %v, %+v", field, err, att.Members)
		}
	}
	s := newNode(t, igb).set(t.TempDir())
	_, att, err := chainCall(t, s, `{"type": "bridge", "ipMasq": false, "macspoofchk": false, "vlan": 0, "vlanTrunk": null}`)
	if err != nil || att.Members[0].Plugin != PluginBridge {
		t.Errorf("defaults: %v, %+v", err, att.Members)
	}
}

// A floor: a network does not take the host's address from the bridge by which the node is
// reached, by the program as little as by the built-in plugin.
func TestForceAddressLeavesTheHostsBridgeAlone(t *testing.T) {
	for _, more := range []string{``, `, "builtin": false`, `, "ipMasq": true`} {
		k := newNode(t, igb)
		k.addLink("", link.Link{Name: "br0", Kind: "bridge", MTU: 1500}).routes = []link.Route{{Dst: everything}}
		_, _, err := chainCall(t, k.set(t.TempDir()), fmt.Sprintf(`{"type": "bridge", "bridge": "br0", "isGateway": true, "forceAddress": true%s}`, more))
		if err == nil || !strings.Contains(err.Error(), `field "forceAddress"`) {
			t.Errorf("%s: %v", more, err)
		}
	}
}

func TestBridgeConfsThatAreRefused(t *testing.T) {
	for conf, want := range map[string]string{
		`"bridge": "eth1"`:                              `field "bridge": the host's interface eth1 is no bridge`,
		`"bridge": "a-name-that-is-too-long"`:           `field "bridge"`,
		`"bridge": 5`:                                   `field "bridge" cannot be a number`,
		`"mtu": 60`:                                     `field "mtu"`,
		`"runtimeConfig": {"mac": "x"}`:                 `field "runtimeConfig.mac"`,
		`"args": {"cni": {"mac": "01:00:00:00:00:01"}}`: `field "args.cni.mac"`,
	} {
		_, _, err := chainCall(t, newNode(t, igb).set(t.TempDir()), `{"type": "bridge", `+conf+`}`)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", conf, err, want)
		}
	}
}

// CHECK finds every change of the pair and of the bridge.
func TestCheckOfABridgesPort(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(k *fakeKernel, host string)
		want   string
	}{
		"unchanged":      {func(*fakeKernel, string) {}, ""},
		"no bridge":      {func(k *fakeKernel, _ string) { k.remove("", "br9") }, "bridge br9 is missing"},
		"another bridge": {func(k *fakeKernel, host string) { k.spaces[""].links[host].Master = 0 }, "is no port of bridge br9"},
		"down":           {func(k *fakeKernel, host string) { k.spaces[""].links[host].Up = false }, "is down"},
		"no hairpin":     {func(k *fakeKernel, host string) { k.spaces[""].links[host].Hairpin = false }, "other attributes"},
		"no pair":        {func(k *fakeKernel, host string) { k.remove("", host) }, "interface net1 is missing"},
		"another link":   {func(k *fakeKernel, _ string) { k.spaces[podNS].links["net1"].Kind = "macvlan" }, `is of kind "macvlan", not veth`},
		"no address":     {func(k *fakeKernel, _ string) { k.spaces[podNS].links["net1"].addrs = nil }, "address 10.1.0.2/24 on net1 is missing"},
	} {
		k := newNode(t, igb)
		s := k.set(t.TempDir())
		c, att, err := chainCall(t, s, gatewayBridge)
		if err != nil {
			t.Fatal(err)
		}
		result, err := s.Add(t.Context(), c, &att)
		if err != nil {
			t.Fatal(err)
		}
		att.Result = []byte(asJSON(t, result))
		tt.change(k, att.Members[0].Veth.Host)
		err = s.Check(t.Context(), c, att)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
