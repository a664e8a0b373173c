// Package sandboxtest has a node of fakes for tests of the keeper and of its doors: what
// exists on it, the API server, the kubelet, and a ledger whose writes can fail. The
// ledger itself is a real one.
package sandboxtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

// World is what exists on the node: "sandbox interface plugin" for each plugin
// whose ADD has had an effect, and who has which VF. Every operation on it is one
// step, which can be made to fail.
type World struct {
	version.PluginDecoder
	t  testing.TB
	mu sync.Mutex // guards what follows

	Exists    map[string]bool
	VFs       map[string]string // VF → sandbox
	Log       []string
	Steps     int
	began     int                                       // Binds of built-in networks
	Fail      func(step int, name string) error         // before the step has its effect
	Late      func(step int, name string) error         // after it
	Hold      map[string]chan struct{}                  // a step of that name waits here
	Owing     error                                     // of a built-in network at Del, whose device is back nevertheless
	DelNetns  []string                                  // of each Del
	Configure func(ifName string)                       // the interface is there, and not configured yet
	Result    func(ifName string, r *types100.Result)   // changes the result of a plugin
	Stdin     func(command, plugin string, conf []byte) // sees the config that a program gets
}

// NewWorld makes an empty one.
func NewWorld(t testing.TB) *World {
	return &World{t: t, Exists: map[string]bool{}, VFs: map[string]string{}, Hold: map[string]chan struct{}{}}
}

func (w *World) Left() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.Sorted(maps.Keys(w.Exists))
	for vf, id := range w.VFs {
		all = append(all, "VF "+vf+" of "+id)
	}
	return strings.Join(all, "\n")
}

// Did reports whether the last step was of that kind. The caller is a fault.
func (w *World) Did(prefix string) bool {
	return len(w.Log) > 0 && strings.HasPrefix(w.Log[len(w.Log)-1], prefix)
}

func (w *World) Trace() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.Log, "\n") + "\n"
}

func (w *World) Beginnings() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.began
}

// Failing makes every step of a name fail.
func (w *World) Failing(name string) {
	w.Fail = func(_ int, step string) error {
		if step == name {
			return errors.New("mailbox timeout")
		}
		return nil
	}
}

// Step counts an operation without an effect on the world.
func (w *World) Step(name, line string) error { return w.Do(name, line, func() {}) }

func (w *World) Do(name, line string, effect func()) error {
	w.mu.Lock()
	gate := w.Hold[name]
	w.mu.Unlock()
	if gate != nil {
		<-gate
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Steps++
	n := w.Steps
	if w.Fail != nil {
		if err := w.Fail(n, name); err != nil {
			w.Log = append(w.Log, line+" FAILS")
			return err
		}
	}
	w.Log = append(w.Log, line)
	effect()
	if w.Late != nil {
		return w.Late(n, name)
	}
	return nil
}

// Clone is the world after a crash: all that exists, none of the faults.
func (w *World) Clone() *World {
	c := NewWorld(w.t)
	maps.Copy(c.Exists, w.Exists)
	maps.Copy(c.VFs, w.VFs)
	return c
}

func key(id, ifName, plugin string) string { return id + " " + ifName + " " + plugin }

func result(ifName, netns string) *types100.Result {
	ip, subnet, _ := net.ParseCIDR("10.1.2.3/24")
	subnet.IP = ip
	return &types100.Result{CNIVersion: "1.0.0",
		Interfaces: []*types100.Interface{{Name: ifName, Mac: "02:00:00:00:00:01", Sandbox: netns}},
		IPs:        []*types100.IPConfig{{Interface: types100.Int(0), Address: *subnet, Gateway: net.ParseIP("10.1.2.1")}}}
}

// FindInPath and ExecPlugin make the world the plugins' binaries.
func (w *World) FindInPath(plugin string, _ []string) (string, error) {
	if plugin == "absent" {
		return "", fmt.Errorf("absent: plugin not found: %w", fs.ErrNotExist)
	}
	return plugin, nil
}

func (w *World) ExecPlugin(ctx context.Context, plugin string, stdin []byte, environ []string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var conf struct {
		CNIVersion    string          `json:"cniVersion"`
		PrevResult    json.RawMessage `json:"prevResult"`
		RuntimeConfig json.RawMessage `json:"runtimeConfig"`
	}
	if err := json.Unmarshal(stdin, &conf); err != nil {
		return nil, err
	}
	command, id, ifName := envValue(environ, "CNI_COMMAND"), envValue(environ, "CNI_CONTAINERID"), envValue(environ, "CNI_IFNAME")
	w.see(command, plugin, stdin)
	line := fmt.Sprintf("exec %s %s %s %s", command, id, ifName, plugin)
	if conf.RuntimeConfig != nil {
		line += " " + string(conf.RuntimeConfig)
	}
	if conf.PrevResult != nil {
		line += " prevResult"
	}
	err := w.Do(strings.ToLower(command), line, func() {
		switch command {
		case "ADD":
			w.Exists[key(id, ifName, plugin)] = true
		case "DEL":
			delete(w.Exists, key(id, ifName, plugin))
		}
	})
	if err != nil {
		return nil, err
	}
	switch command {
	case "VERSION":
		return []byte(`{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}`), nil
	case "ADD":
		made := result(ifName, envValue(environ, "CNI_NETNS"))
		if w.Result != nil {
			w.Result(ifName, made)
		}
		r, err := made.GetAsVersion(conf.CNIVersion)
		if err != nil {
			return nil, err
		}
		return json.Marshal(r)
	}
	return nil, nil
}

func (w *World) see(command, plugin string, conf []byte) {
	if w.Stdin != nil {
		w.Stdin(command, plugin, conf)
	}
}

func envValue(environ []string, key string) string {
	for _, v := range environ {
		if value, ok := strings.CutPrefix(v, key+"="); ok {
			return value
		}
	}
	return ""
}

// Use makes another test the one that the world's own checks fail.
func (w *World) Use(t testing.TB) { w.t = t }
