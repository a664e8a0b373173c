package ipam

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/invoke"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

func addExec(ctx context.Context, exec invoke.Exec, typ string, args Args, conf json.RawMessage) (*types100.Result, error) {
	path, err := find(exec, typ, args)
	if err != nil {
		return nil, err
	}
	r, err := invoke.ExecPluginWithResult(ctx, path, conf, args.invocation("ADD"), exec)
	if err != nil {
		return nil, err
	}
	return types100.NewResultFromResult(r)
}

func runExec(ctx context.Context, exec invoke.Exec, command, typ string, args Args, conf json.RawMessage) error {
	path, err := find(exec, typ, args)
	if err != nil {
		return err
	}
	return invoke.ExecPluginWithoutResult(ctx, path, conf, args.invocation(command), exec)
}

func find(exec invoke.Exec, typ string, args Args) (string, error) {
	if exec == nil {
		return "", errors.New("is not built in, and there is no way to run plugins here")
	}
	return exec.FindInPath(typ, filepath.SplitList(args.Path))
}

func (a Args) invocation(command string) *invoke.Args {
	return &invoke.Args{
		Command: command, ContainerID: a.SandboxID, NetNS: a.Netns, IfName: a.IfName,
		PluginArgsStr: a.CNIArgs, Path: a.Path,
	}
}
