package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/cni/run"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

// resultVersion is the version that results are kept and passed around in.
const resultVersion = "1.0.0"

// delegate runs one attachment's config list: the built-in first member, if it is
// one, in the agent, every other as a plugin's binary. It keeps to the order and
// the inputs of libcni, whose own runner is not used because it keeps a second
// record of results and configs in a cache of its own; here the ledger is the only one.
type delegate struct {
	attachers Attachers
	exec      invoke.Exec
	path      string // CNI_PATH
	sandbox   ledger.Sandbox
}

func (d delegate) env() AttachEnv {
	return AttachEnv{SandboxID: d.sandbox.ID, Exec: d.exec, Path: d.path}
}

// bind makes the attachment; env is d.env with the interface's place. On an error
// some of it may be left: release undoes it.
func (d delegate) bind(ctx context.Context, env AttachEnv, a *ledger.Attachment) (_ *types100.Result, err error) {
	defer caught(&err)
	list, err := parseList(a)
	if err != nil {
		return nil, err
	}
	var result types.Result
	for i, plugin := range list.Plugins {
		if i == 0 && a.Kind != kindExec {
			result, err = d.bindBuiltin(ctx, env, a, list)
		} else {
			result, err = d.add(ctx, a, list, i, result)
		}
		if err != nil {
			if len(list.Plugins) > 1 {
				return nil, fmt.Errorf("plugin %d of the list, %s: %w", i+1, plugin.Type, err)
			}
			return nil, err
		}
	}
	return types100.NewResultFromResult(result)
}

// bindBuiltin lends the attacher the first member's config in place of the list.
func (d delegate) bindBuiltin(ctx context.Context, env AttachEnv, a *ledger.Attachment, list network.ConfList) (*types100.Result, error) {
	attacher, own, err := d.builtin(*a, list)
	if err != nil {
		return nil, err
	}
	result, err := attacher.Bind(ctx, env, &own, d.sandbox.Netns)
	// What it learned on the way (an ifindex, a shared link) is needed to undo it as well.
	own.Config, own.Phase = a.Config, a.Phase
	*a = own
	if err == nil && result == nil {
		result = &types100.Result{CNIVersion: resultVersion}
	}
	return result, err
}

func (d delegate) builtin(a ledger.Attachment, list network.ConfList) (Attacher, ledger.Attachment, error) {
	attacher, ok := d.attachers.For(a.Kind)
	if !ok {
		return nil, a, fmt.Errorf("this agent has no built-in %s: the record is of another release; run the agent that wrote it", a.Kind)
	}
	conf, err := list.Stdin(0, nil)
	a.Config = conf
	return attacher, a, err
}

// add runs ADD of member i.
func (d delegate) add(ctx context.Context, a *ledger.Attachment, list network.ConfList, i int, prev types.Result) (types.Result, error) {
	raw, err := resultJSON(prev, list.CNIVersion)
	if err != nil {
		return nil, fmt.Errorf("converting the previous plugin's result: %w", err)
	}
	stdin, err := list.Stdin(i, raw)
	if err != nil {
		return nil, err
	}
	file, err := d.exec.FindInPath(list.Plugins[i].Type, strings.Split(d.path, ":"))
	if err != nil {
		return nil, err
	}
	return invoke.ExecPluginWithResult(ctx, file, stdin, d.args("ADD", a), d.exec)
}

func (d delegate) args(command string, a *ledger.Attachment) *invoke.Args {
	return &invoke.Args{Command: command, ContainerID: d.sandbox.ID, NetNS: d.sandbox.Netns, PluginArgsStr: a.CNIArgs,
		IfName: a.IfName, Path: d.path}
}

// release undoes the attachment from its record alone. Members are undone in
// reverse; one that fails does not keep the others from it. deviceBack is true where
// the device of a built-in network is as it was, whatever else failed: the addresses
// of an ipam that is out of reach are no reason to keep a VF from other pods.
func (d delegate) release(ctx context.Context, a ledger.Attachment) (deviceBack bool, err error) {
	defer caught(&err)
	list, err := parseList(&a)
	if err != nil {
		return false, err
	}
	prev, err := prevResult(a, list)
	if err != nil {
		prev = nil // better a DEL without it than none
	}
	var errs []error
	for i := len(list.Plugins) - 1; i >= 0; i-- {
		if i == 0 && a.Kind != kindExec {
			err := d.releaseBuiltin(ctx, a, list)
			deviceBack = err == nil || returnedDevice(err)
			errs = append(errs, err)
		} else if err := d.run(ctx, "DEL", a, list, i, prev); err != nil && !neverRan(a, err) {
			errs = append(errs, err)
		}
	}
	return deviceBack, errors.Join(errs...)
}

func returnedDevice(err error) bool {
	var back interface{ DeviceBack() bool }
	return errors.As(err, &back) && back.DeviceBack()
}

// neverRan reports a plugin that is not installed, of an attachment that was never
// complete: that is why it was not, and there is nothing to undo.
func neverRan(a ledger.Attachment, err error) bool {
	return errors.Is(err, run.ErrNotFound) && len(a.Result) == 0
}

func (d delegate) releaseBuiltin(ctx context.Context, a ledger.Attachment, list network.ConfList) error {
	attacher, own, err := d.builtin(a, list)
	if err != nil {
		return err
	}
	return attacher.Release(ctx, d.env(), own, d.sandbox.Netns)
}

// check verifies the attachment.
func (d delegate) check(ctx context.Context, a ledger.Attachment) error {
	list, err := parseList(&a)
	if err != nil {
		return err
	}
	if a.Kind != kindExec {
		attacher, own, err := d.builtin(a, list)
		if err != nil {
			return err
		}
		if err := attacher.Check(ctx, d.env(), own, d.sandbox.Netns); err != nil {
			return err
		}
	}
	// CHECK came with 0.4.0; a list may decline it.
	if can, err := version.GreaterThanOrEqualTo(list.CNIVersion, "0.4.0"); err != nil || !can || list.DisableCheck {
		return err
	}
	prev, err := prevResult(a, list)
	if err != nil {
		return err
	}
	for i := range list.Plugins {
		if i == 0 && a.Kind != kindExec {
			continue
		}
		if err := d.run(ctx, "CHECK", a, list, i, prev); err != nil {
			return err
		}
	}
	return nil
}

// run runs a member with a command that has no result.
func (d delegate) run(ctx context.Context, command string, a ledger.Attachment, list network.ConfList, i int, prev json.RawMessage) error {
	stdin, err := list.Stdin(i, prev)
	if err != nil {
		return err
	}
	file, err := d.exec.FindInPath(list.Plugins[i].Type, strings.Split(d.path, ":"))
	if err != nil {
		return err
	}
	return invoke.ExecPluginWithoutResult(ctx, file, stdin, d.args(command, &a), d.exec)
}

func parseList(a *ledger.Attachment) (network.ConfList, error) {
	var list network.ConfList
	if err := json.Unmarshal(a.Config, &list); err != nil {
		return list, fmt.Errorf("the recorded config of %s: %w", a.Network, err)
	}
	return list, nil
}

// prevResult is the recorded result in the version of the list; nil where there is
// none, or where the version (before 0.4.0) has no use for it.
func prevResult(a ledger.Attachment, list network.ConfList) (json.RawMessage, error) {
	if len(a.Result) == 0 {
		return nil, nil
	}
	if can, err := version.GreaterThanOrEqualTo(list.CNIVersion, "0.4.0"); err != nil || !can {
		return nil, err
	}
	result, err := types100.NewResult(a.Result)
	if err != nil {
		return nil, fmt.Errorf("the recorded result of %s: %w", a.Network, err)
	}
	return resultJSON(result, list.CNIVersion)
}

// resultJSON writes a result in the given version; nil stays nil.
func resultJSON(result types.Result, version string) (json.RawMessage, error) {
	if result == nil {
		return nil, nil
	}
	converted, err := result.GetAsVersion(version)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := converted.PrintTo(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
