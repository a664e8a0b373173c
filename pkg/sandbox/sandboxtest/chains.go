package sandboxtest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
)

// Open returns no handles. It, Prepare, Add, Check, Del and DeleteLinks make the world
// the chains: a first member of type sriov, macvlan or ipvlan is built in, every other is
// a program.
func (w *World) Open(ledger.Netns) *attach.Handles { return nil }

// DeleteLinks is a short cut; a fault of it changes nothing.
func (w *World) DeleteLinks(_ context.Context, all []ledger.Attachment, ns ledger.Netns) error {
	return w.Step("links", fmt.Sprint("links ", len(all), " ", ns.Path))
}

func builtIn(p network.Plugin) bool {
	return p.Builtin && slices.Contains([]string{"sriov", "macvlan", "ipvlan"}, p.Type)
}

// Prepare reads the original state of a VF.
func (w *World) Prepare(_ context.Context, c attach.Call, list network.ConfList) (ledger.Attachment, error) {
	a := ledger.Attachment{Phase: ledger.Intent, CNIVersion: list.CNIVersion, DisableCheck: list.DisableCheck, DisableGC: list.DisableGC}
	for i, p := range list.Plugins {
		conf := list.Member(i).JSON()
		m := ledger.Member{Type: p.Type, Plugin: attach.PluginBinary, Config: conf, Device: namedBy(conf)}
		if i == 0 && builtIn(p) {
			if err := w.prepareBuiltIn(c, &a, &m); err != nil {
				return a, err
			}
		}
		a.Members = append(a.Members, m)
	}
	return a, nil
}

// namedBy is the device that a program finds in its config.
func namedBy(raw json.RawMessage) pci.Address {
	var conf struct {
		DeviceID string `json:"deviceID"`
		PCIBusID string `json:"pciBusID"`
	}
	_ = json.Unmarshal(raw, &conf)
	address, _ := pci.ParseAddress(cmp.Or(conf.DeviceID, conf.PCIBusID))
	return address
}

func (w *World) prepareBuiltIn(c attach.Call, a *ledger.Attachment, m *ledger.Member) error {
	var conf struct {
		Fallback        []string `json:"fallback"`
		Master          string   `json:"master"`
		LinkInContainer bool     `json:"linkInContainer"`
	}
	if err := json.Unmarshal(m.Config, &conf); err != nil {
		return err
	}
	m.Plugin, m.Device = m.Type, pci.Address{}
	switch {
	case conf.LinkInContainer:
		m.Child = &ledger.ChildMember{Uplink: conf.Master, InPod: true}
	case m.Type != "sriov":
		m.Child = &ledger.ChildMember{Uplink: "eth0"}
	case !c.Device.IsZero():
		w.mu.Lock()
		owner := w.VFs[c.Device.String()]
		w.mu.Unlock()
		if owner != "" {
			w.t.Errorf("original state of %s was read while sandbox %s has it", c.Device, owner)
		}
		mtu := 1500
		m.Device = c.Device
		m.VF = &ledger.VFMember{Original: ledger.VFState{PF: pci.MustParseAddress("0000:3b:00.0"), Settings: device.Settings{MTU: &mtu}}}
	case len(conf.Fallback) == 0 || len(c.Uplinks) == 0:
		return errors.New("no device")
	default:
		m.Plugin, m.Child = conf.Fallback[0], &ledger.ChildMember{Uplink: c.Uplinks[0]}
		a.Fallback = &ledger.Fallback{From: "sriov", Reason: "the pod has no device"}
	}
	return w.Step("prepare", "prepare "+c.IfName+" "+m.Type)
}

// Add makes the members in order. It leaves undoing them after an error to Del, the
// harder case for the keeper.
func (w *World) Add(ctx context.Context, c attach.Call, a *ledger.Attachment) (*types100.Result, error) {
	var result types.Result
	for i := range a.Members {
		var err error
		if m := &a.Members[i]; m.Plugin != attach.PluginBinary {
			result, err = w.bind(ctx, c, m)
		} else {
			result, err = w.run(ctx, "ADD", c, *m, result)
		}
		if err != nil {
			return nil, err
		}
	}
	return types100.NewResultFromResult(result)
}

// bind moves a VF in at once; a link that is born in the pod waits for its turn.
func (w *World) bind(ctx context.Context, c attach.Call, m *ledger.Member) (*types100.Result, error) {
	w.mu.Lock()
	w.began++
	w.mu.Unlock()
	if m.VF == nil {
		if err := c.Order.Turn(ctx); err != nil {
			return nil, err
		}
	}
	err := w.Do("bind", fmt.Sprintf("bind %s %s %s", c.SandboxID, c.IfName, m.Plugin), func() {
		w.Exists[key(c.SandboxID, c.IfName, m.Plugin)] = true
		if m.Device.IsZero() {
			return
		}
		if owner := w.VFs[m.Device.String()]; owner != "" && owner != c.SandboxID {
			w.t.Errorf("VF %s given to %s while %s has it", m.Device, c.SandboxID, owner)
		}
		w.VFs[m.Device.String()] = c.SandboxID
	})
	if err != nil {
		return nil, err
	}
	c.Order.Made()
	if m.VF != nil {
		m.VF.Ifindex = c.Order.Ifindex
	}
	if w.Configure != nil {
		w.Configure(c.IfName)
	}
	r := result(c.IfName, c.Netns.Path)
	r.Interfaces[0].Mtu = 9000
	if w.Result != nil {
		w.Result(c.IfName, r)
	}
	return r, nil
}

// run runs a member that is a program.
func (w *World) run(ctx context.Context, command string, c attach.Call, m ledger.Member, prev types.Result) (types.Result, error) {
	var conf map[string]any
	if err := json.Unmarshal(m.Config, &conf); err != nil {
		return nil, err
	}
	if prev != nil {
		converted, err := prev.GetAsVersion(conf["cniVersion"].(string))
		if err != nil {
			return nil, err
		}
		conf["prevResult"] = converted
	}
	stdin, err := json.Marshal(conf)
	if err != nil {
		return nil, err
	}
	file, err := c.Exec.FindInPath(m.Type, strings.Split(c.Path, ":"))
	if err != nil {
		return nil, err
	}
	args := &invoke.Args{Command: command, ContainerID: c.SandboxID, NetNS: c.Netns.Path, PluginArgsStr: c.CNIArgs, IfName: c.IfName, Path: c.Path}
	if command == "ADD" {
		return invoke.ExecPluginWithResult(ctx, file, stdin, args, c.Exec)
	}
	return nil, invoke.ExecPluginWithoutResult(ctx, file, stdin, args, c.Exec)
}

// Check checks the members in order.
func (w *World) Check(ctx context.Context, c attach.Call, a ledger.Attachment) error {
	for _, m := range a.Members {
		var err error
		if m.Plugin == attach.PluginBinary {
			_, err = w.run(ctx, "CHECK", c, m, recorded(c))
		} else {
			err = w.Step("check", fmt.Sprintf("check %s %s %s", c.SandboxID, c.IfName, m.Plugin))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func recorded(c attach.Call) types.Result {
	if c.Prev == nil {
		return nil
	}
	return c.Prev
}

// Del undoes the members in reverse. It resets a VF whoever has it, as a kernel would:
// that it is called for a VF of another sandbox is what must not happen.
func (w *World) Del(ctx context.Context, c attach.Call, a *ledger.Attachment) error {
	w.mu.Lock()
	w.DelNetns = append(w.DelNetns, c.Netns.Path)
	w.mu.Unlock()
	var errs []error
	for i := len(a.Members) - 1; i >= 0; i-- {
		m := &a.Members[i]
		if m.Released {
			continue
		}
		var err error
		if m.Plugin == attach.PluginBinary {
			_, err = w.run(ctx, "DEL", c, *m, recorded(c))
			if errors.Is(err, fs.ErrNotExist) && len(a.Result) == 0 {
				err = nil // it never ran
			}
		} else {
			err = w.unbind(c, m)
		}
		m.Released = err == nil
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (w *World) unbind(c attach.Call, m *ledger.Member) error {
	err := w.Do("release", fmt.Sprintf("release %s %s %s", c.SandboxID, c.IfName, m.Plugin), func() {
		delete(w.Exists, key(c.SandboxID, c.IfName, m.Plugin))
		if m.Device.IsZero() || m.DeviceReturned {
			return
		}
		if owner := w.VFs[m.Device.String()]; owner != "" && owner != c.SandboxID {
			w.t.Errorf("VF %s reset for %s while %s has it", m.Device, c.SandboxID, owner)
		}
		delete(w.VFs, m.Device.String())
	})
	if err == nil && w.Owing != nil && !m.Device.IsZero() {
		m.DeviceReturned = true
		return w.Owing
	}
	return err
}
