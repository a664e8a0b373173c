package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/ledger"
)

// programs is a host whose plugins pass the previous result on, changed as told.
type programs struct {
	version.PluginDecoder
	log     []string // "ADD bandwidth", in order
	stdin   map[string]string
	environ map[string][]string
	fail    map[string]error // by "ADD bandwidth"
	missing map[string]bool
	change  func(result map[string]any)
}

func newPrograms() *programs {
	return &programs{stdin: map[string]string{}, environ: map[string][]string{}, fail: map[string]error{}, missing: map[string]bool{}}
}

func (p *programs) FindInPath(plugin string, _ []string) (string, error) {
	if p.missing[plugin] {
		return "", fmt.Errorf("plugin %s not found: %w", plugin, fs.ErrNotExist)
	}
	return plugin, nil
}

func (p *programs) ExecPlugin(_ context.Context, plugin string, stdin []byte, environ []string) ([]byte, error) {
	var command string
	for _, e := range environ {
		if verb, ok := strings.CutPrefix(e, "CNI_COMMAND="); ok {
			command = verb + " " + plugin
		}
	}
	p.log = append(p.log, command)
	p.stdin[command], p.environ[command] = string(stdin), environ
	if err := p.fail[command]; err != nil {
		return nil, err
	}
	if !strings.HasPrefix(command, "ADD") {
		return nil, nil
	}
	var conf struct {
		CNIVersion string         `json:"cniVersion"`
		PrevResult map[string]any `json:"prevResult"`
	}
	if err := json.Unmarshal(stdin, &conf); err != nil {
		return nil, err
	}
	result := conf.PrevResult
	if result == nil {
		result = map[string]any{"cniVersion": conf.CNIVersion}
	}
	if plugin == "whereabouts" {
		result = map[string]any{"cniVersion": conf.CNIVersion, "ips": []any{map[string]any{"address": "10.1.0.7/24", "version": "4"}}}
	}
	if p.change != nil {
		p.change(result)
	}
	return json.Marshal(result)
}

// chained is a chain on a fake node.
type chained struct {
	t    *testing.T
	k    *fakeKernel
	set  *Set
	exec *programs
	call Call
	att  ledger.Attachment
}

func newChained(t *testing.T, cniVersion string, confs ...string) *chained {
	t.Helper()
	k := newNode(t, igb)
	c := &chained{t: t, k: k, set: k.set(t.TempDir()), exec: newPrograms()}
	c.call = Call{SandboxID: "s1", IfName: "net1", Network: "ns/fast", Netns: ledger.Netns{Path: podNS}, Exec: c.exec, Path: "/opt/cni/bin", Device: vf0Addr}
	list, err := listOf("", confs...)
	if err != nil {
		t.Fatal(err)
	}
	list.CNIVersion = cniVersion
	if c.att, err = c.set.Prepare(t.Context(), c.call, list); err != nil {
		t.Fatal(err)
	}
	c.att = stored(t, c.att)
	return c
}

func (c *chained) add() *types100.Result {
	c.t.Helper()
	result, err := c.set.Add(c.t.Context(), c.call, &c.att)
	if err != nil {
		c.t.Fatal(err)
	}
	c.att.Result, _ = json.Marshal(result)
	c.att = stored(c.t, c.att)
	return result
}

func (c *chained) del() error {
	c.t.Helper()
	return c.set.Del(c.t.Context(), c.call, &c.att)
}

const (
	onEth1    = `{"type": "macvlan", "master": "eth1"}`
	bandwidth = `{"type": "bandwidth", "builtin": false, "rate": 1}`
	sbr       = `{"type": "sbr", "builtin": false}`
)

func TestAChainIsAddedInOrderAndDeletedInReverse(t *testing.T) {
	c := newChained(t, "0.4.0", onEth1, bandwidth, sbr)
	before := c.k.state()
	c.add()
	var stdin struct {
		Name, CNIVersion string
		Rate             int
		PrevResult       struct {
			CNIVersion string
			Interfaces []struct{ Name, Sandbox string }
		}
	}
	if err := json.Unmarshal([]byte(c.exec.stdin["ADD sbr"]), &stdin); err != nil {
		t.Fatal(err)
	}
	if p := stdin.PrevResult; stdin.Name != "fast" || stdin.CNIVersion != "0.4.0" || p.CNIVersion != "0.4.0" || len(p.Interfaces) != 1 || p.Interfaces[0].Name != "net1" {
		t.Errorf("sbr got %s", c.exec.stdin["ADD sbr"])
	}
	if err := c.del(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("ADD bandwidth, ADD sbr, DEL sbr, DEL bandwidth", strings.Join(c.exec.log, ", ")); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(c.exec.stdin["DEL sbr"], `"prevResult"`) {
		t.Errorf("DEL sbr got %s", c.exec.stdin["DEL sbr"])
	}
	if diff := cmp.Diff(before, c.k.state()); diff != "" {
		t.Error(diff)
	}
	for i, m := range c.att.Members {
		if !m.Released {
			t.Errorf("member %d is not released", i)
		}
	}
}

// A built-in plugin may stand anywhere.
func TestABuiltInMemberAfterAProgram(t *testing.T) {
	c := newChained(t, "1.0.0", `{"type": "first"}`, onEth1, `{"type": "tuning", "mtu": 1400}`, sbr)
	before := c.k.state()
	c.add()
	if l := c.k.spaces[podNS].links["net1"]; l == nil || l.MTU != 1400 {
		t.Errorf("net1: %+v", l)
	}
	if err := c.set.Check(t.Context(), c.call, c.att); err != nil {
		t.Error(err)
	}
	if err := c.del(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("ADD first, ADD sbr, CHECK first, CHECK sbr, DEL sbr, DEL first", strings.Join(c.exec.log, ", ")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, c.k.state()); diff != "" {
		t.Error(diff)
	}
}

// Whichever member fails, the members before it are undone, and the error names it.
func TestAChainThatFailsIsUndoneInReverse(t *testing.T) {
	tests := []struct{ fail, want, log string }{
		{"ADD bandwidth", "plugin 2 of the list, bandwidth: injected", "ADD bandwidth, DEL bandwidth"},
		{"ADD sbr", "plugin 3 of the list, sbr: injected", "ADD bandwidth, ADD sbr, DEL sbr, DEL bandwidth"},
	}
	for _, tt := range tests {
		t.Run(tt.fail, func(t *testing.T) {
			c := newChained(t, "1.0.0", onEth1, bandwidth, sbr)
			before := c.k.state()
			c.exec.fail[tt.fail] = errInjected
			_, err := c.set.Add(t.Context(), c.call, &c.att)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if diff := cmp.Diff(tt.log, strings.Join(c.exec.log, ", ")); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, c.k.state()); diff != "" {
				t.Error(diff)
			}
			c.exec.log, c.k.calls = nil, nil
			if err := c.del(); err != nil || len(c.exec.log) > 0 || len(c.k.calls) > 0 {
				t.Errorf("the Del after it: %v %v %v", err, c.exec.log, c.k.calls)
			}
		})
	}
}

// A member whose undo fails too is left to Del, and only that one.
func TestAnUndoThatFailsIsLeftToDel(t *testing.T) {
	c := newChained(t, "1.0.0", onEth1, bandwidth, sbr)
	c.exec.fail["ADD sbr"], c.exec.fail["DEL bandwidth"] = errInjected, unix.EIO
	_, err := c.set.Add(t.Context(), c.call, &c.att)
	if !errors.Is(err, errInjected) || !errors.Is(err, unix.EIO) {
		t.Errorf("got %v", err)
	}
	c.exec.log = nil
	delete(c.exec.fail, "DEL bandwidth")
	if err := c.del(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("DEL bandwidth", strings.Join(c.exec.log, ", ")); diff != "" {
		t.Error(diff)
	}
}

func TestADelThatFailsDoesNotKeepTheOthersFromIt(t *testing.T) {
	c := newChained(t, "1.0.0", onEth1, bandwidth, sbr)
	before := c.k.state()
	c.add()
	c.exec.fail["DEL sbr"] = errInjected
	if err := c.del(); !errors.Is(err, errInjected) || !strings.Contains(err.Error(), "plugin 3 of the list, sbr") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, c.k.state()); diff != "" {
		t.Error(diff)
	}
	c.exec.log = nil
	delete(c.exec.fail, "DEL sbr")
	if err := c.del(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("DEL sbr", strings.Join(c.exec.log, ", ")); diff != "" {
		t.Errorf("the retry: %s", diff)
	}
}

// A plugin that is not installed is why the chain was never complete.
func TestAProgramThatIsNotInstalledOwesNothing(t *testing.T) {
	c := newChained(t, "1.0.0", onEth1, sbr)
	c.exec.missing["sbr"] = true
	if _, err := c.set.Add(t.Context(), c.call, &c.att); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	for i := range c.att.Members { // as if the process had ended before it could undo
		c.att.Members[i].Released = false
	}
	if err := c.del(); err != nil {
		t.Errorf("Del: %v", err)
	}
	complete := newChained(t, "1.0.0", onEth1, sbr)
	complete.add()
	complete.exec.missing["sbr"] = true
	if err := complete.del(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Del of a chain that was complete: %v", err)
	}
}

// Every call to the kernel fails once; the chain leaves no trace.
func TestAChainThatFailsAnywhereLeavesNoTrace(t *testing.T) {
	for call := 1; ; call++ {
		c := newChained(t, "1.0.0", `{"type": "macvlan", "master": "eth1", `+hostLocal+`}`,
			`{"type": "tuning", "mac": "02:00:00:00:00:77", "mtu": 1300, "promisc": true, "sysctl": {"net.ipv4.conf.IFNAME.log_martians": "1"}}`)
		c.k.spaces[podNS].sysctls["ipv4/conf/net1/log_martians"] = "0"
		before := c.k.state()
		c.k.count, c.k.failCall, c.k.failErr = 0, call, unix.EIO
		_, err := c.set.Add(t.Context(), c.call, &c.att)
		if c.k.count < call {
			if call < 13 {
				t.Errorf("only %d calls could fail", call-1)
			}
			return
		}
		if !errors.Is(err, unix.EIO) {
			t.Errorf("call %d: got %v", call, err)
		}
		if diff := cmp.Diff(before, c.k.state()); diff != "" {
			t.Errorf("call %d: %s", call, diff)
		}
		if left := taken(t, c.set.HostLocalDir); len(left) > 0 {
			t.Errorf("call %d: addresses leaked: %v", call, left)
		}
	}
}

// S1, and the specification: a prevResult is the chain's to give.
func TestAPrevResultOfTheConfigIsDropped(t *testing.T) {
	c := newChained(t, "1.0.0", `{"type": "portmap", "prevResult": {"ips": []}, "PREVRESULT": {"ips": []}}`)
	c.add()
	if strings.Contains(strings.ToLower(c.exec.stdin["ADD portmap"]), "prevresult") {
		t.Errorf("got %s", c.exec.stdin["ADD portmap"])
	}
}

// meta-cni E9: a config is read once, in Prepare. (The ipam section is for pkg/ipam.)
func TestAddAndDelReadNoConfig(t *testing.T) {
	for _, conf := range []string{full, onEth1, `{"type": "sriov", "fallback": ["macvlan", "ipvlan"], "uplink": "eth1", "vlan": 5, "deviceID": ""}`} {
		c := newChained(t, "1.0.0", strings.Replace(conf, hostLocal, `"x": 1`, 1))
		before := c.k.state()
		for i := range c.att.Members {
			c.att.Members[i].Config = json.RawMessage(`"no config"`)
		}
		c.add()
		if err := c.set.Check(t.Context(), c.call, c.att); err != nil {
			t.Error(err)
		}
		if err := c.del(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(before, c.k.state()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestBuiltInMeansNoProgram(t *testing.T) {
	for conf, want := range map[string]bool{
		onEth1: true, `{"type": "macvlan", "master": "eth1", "builtin": false}`: false, sbr: false,
		`{"type": "macvlan", "master": "eth1", "ipam": {"type": "dhcp"}}`: false, full: true,
	} {
		if got := BuiltIn(newChained(t, "1.0.0", conf).att); got != want {
			t.Errorf("%s: %t", conf, got)
		}
	}
}

// reports 3: a program expects the interfaces before it to be complete.
func TestAProgramWaitsForTheNetworksBefore(t *testing.T) {
	c := newChained(t, "1.0.0", `{"type": "bond"}`, sbr)
	waited := 0
	c.call.Order.Last = func(context.Context) error {
		waited++
		if len(c.exec.log) > 0 {
			t.Errorf("%v ran before", c.exec.log)
		}
		return nil
	}
	c.add()
	if waited != 1 {
		t.Errorf("waited %d times", waited)
	}
}
