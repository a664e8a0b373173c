package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/cni/run"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// world is what exists on the node: "sandbox interface plugin" for each plugin
// whose ADD has had an effect, and who has which VF. Every operation on it is one
// step, which can be made to fail.
type world struct {
	version.PluginDecoder
	t  testing.TB
	mu sync.Mutex // guards what follows

	exists map[string]bool
	vfs    map[string]string // VF → sandbox
	log    []string
	steps  int
	began  int                               // Binds of built-in networks
	fail   func(step int, name string) error // before the step has its effect
	late   func(step int, name string) error // after it
	hold   map[string]chan struct{}          // a step of that name waits here
}

func newWorld(t testing.TB) *world {
	return &world{t: t, exists: map[string]bool{}, vfs: map[string]string{}, hold: map[string]chan struct{}{}}
}

func (w *world) left() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.Sorted(maps.Keys(w.exists))
	for vf, id := range w.vfs {
		all = append(all, "VF "+vf+" of "+id)
	}
	return strings.Join(all, "\n")
}

// did reports whether the last step was of that kind. The caller is a fault.
func (w *world) did(prefix string) bool {
	return len(w.log) > 0 && strings.HasPrefix(w.log[len(w.log)-1], prefix)
}

func (w *world) trace() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.log, "\n") + "\n"
}

func (w *world) beginnings() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.began
}

// failing makes every step of a name fail.
func (w *world) failing(name string) {
	w.fail = func(_ int, step string) error {
		if step == name {
			return errors.New("mailbox timeout")
		}
		return nil
	}
}

// step counts an operation without an effect on the world.
func (w *world) step(name, line string) error { return w.do(name, line, func() {}) }

func (w *world) do(name, line string, effect func()) error {
	w.mu.Lock()
	gate := w.hold[name]
	w.mu.Unlock()
	if gate != nil {
		<-gate
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps++
	n := w.steps
	if w.fail != nil {
		if err := w.fail(n, name); err != nil {
			w.log = append(w.log, line+" FAILS")
			return err
		}
	}
	w.log = append(w.log, line)
	effect()
	if w.late != nil {
		return w.late(n, name)
	}
	return nil
}

// clone is the world after a crash: all that exists, none of the faults.
func (w *world) clone() *world {
	c := newWorld(w.t)
	maps.Copy(c.exists, w.exists)
	maps.Copy(c.vfs, w.vfs)
	return c
}

// For makes the world the built-in attachers.
func (w *world) For(kind string) (Attacher, bool) {
	switch kind {
	case "sriov", "macvlan", "ipvlan":
		return fakeAttacher{w}, true
	}
	return nil, false
}

// DeleteLinks is the attachers' short cut; a fault of it changes nothing.
func (w *world) DeleteLinks(netns string) error { return w.step("links", "links "+netns) }

type fakeAttacher struct{ w *world }

func (f fakeAttacher) Prepare(_ context.Context, r AttachRequest) (ledger.Attachment, error) {
	var conf struct {
		Type     string   `json:"type"`
		Name     string   `json:"name"`
		Fallback []string `json:"fallback"`
	}
	if err := json.Unmarshal(r.Config, &conf); err != nil {
		return ledger.Attachment{}, err
	}
	a := ledger.Attachment{Kind: conf.Type, Config: r.Config}
	if conf.Type == "sriov" {
		if r.Device.IsZero() {
			if len(conf.Fallback) == 0 || len(r.Uplinks) == 0 {
				return a, errors.New("no device")
			}
			a.Kind, a.FallbackFrom, a.FallbackReason = conf.Fallback[0], "sriov", "the pod has no device"
			a.Link = &ledger.LinkState{Uplink: r.Uplinks[0]}
		} else {
			f.w.mu.Lock()
			owner := f.w.vfs[r.Device.String()]
			f.w.mu.Unlock()
			if owner != "" {
				f.w.t.Errorf("original state of %s was read while sandbox %s has it", r.Device, owner)
			}
			mtu := 1500
			a.VF = &ledger.VFState{PF: pci.MustParseAddress("0000:3b:00.0"), Settings: device.Settings{MTU: &mtu}}
		}
	}
	return a, f.w.step("prepare", "prepare "+r.IfName+" "+conf.Type)
}

// Bind moves a VF in at once; a link that is born in the pod waits for its turn.
func (f fakeAttacher) Bind(ctx context.Context, env AttachEnv, a *ledger.Attachment, netns string) (*types100.Result, error) {
	f.w.mu.Lock()
	f.w.began++
	f.w.mu.Unlock()
	if a.Device.IsZero() {
		if err := env.Turn(ctx); err != nil {
			return nil, err
		}
	}
	err := f.w.do("bind", fmt.Sprintf("bind %s %s %s", env.SandboxID, a.IfName, a.Kind), func() {
		f.w.exists[key(env.SandboxID, a.IfName, a.Kind)] = true
		if !a.Device.IsZero() {
			if owner := f.w.vfs[a.Device.String()]; owner != "" && owner != env.SandboxID {
				f.w.t.Errorf("VF %s given to %s while %s has it", a.Device, env.SandboxID, owner)
			}
			f.w.vfs[a.Device.String()] = env.SandboxID
		}
	})
	if err != nil {
		return nil, err
	}
	env.Made()
	a.Link = &ledger.LinkState{Ifindex: env.Ifindex, MTU: 9000}
	return result(a.IfName, netns), nil
}

// Release resets the VF whoever has it, as a kernel would: that it is called for
// a VF of another sandbox is what must not happen.
func (f fakeAttacher) Release(_ context.Context, env AttachEnv, a ledger.Attachment, _ string) error {
	return f.w.do("release", fmt.Sprintf("release %s %s %s", env.SandboxID, a.IfName, a.Kind), func() {
		delete(f.w.exists, key(env.SandboxID, a.IfName, a.Kind))
		if owner := f.w.vfs[a.Device.String()]; owner != "" && owner != env.SandboxID {
			f.w.t.Errorf("VF %s reset for %s while %s has it", a.Device, env.SandboxID, owner)
		}
		delete(f.w.vfs, a.Device.String())
	})
}

func (f fakeAttacher) Check(_ context.Context, env AttachEnv, a ledger.Attachment, _ string) error {
	return f.w.step("check", fmt.Sprintf("check %s %s %s", env.SandboxID, a.IfName, a.Kind))
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
func (w *world) FindInPath(plugin string, _ []string) (string, error) {
	if plugin == "absent" {
		return "", fmt.Errorf("absent: %w", run.ErrNotFound)
	}
	return plugin, nil
}

func (w *world) ExecPlugin(ctx context.Context, plugin string, stdin []byte, environ []string) ([]byte, error) {
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
	line := fmt.Sprintf("exec %s %s %s %s", command, id, ifName, plugin)
	if conf.RuntimeConfig != nil {
		line += " " + string(conf.RuntimeConfig)
	}
	if conf.PrevResult != nil {
		line += " prevResult"
	}
	err := w.do(strings.ToLower(command), line, func() {
		switch command {
		case "ADD":
			w.exists[key(id, ifName, plugin)] = true
		case "DEL":
			delete(w.exists, key(id, ifName, plugin))
		}
	})
	if err != nil {
		return nil, err
	}
	switch command {
	case "VERSION":
		return []byte(`{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}`), nil
	case "ADD":
		return resultJSON(result(ifName, envValue(environ, "CNI_NETNS")), conf.CNIVersion)
	}
	return nil, nil
}
