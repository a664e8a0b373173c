package ipam

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/invoke"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// binary is a plugin's program on the host.
type binary struct {
	exec invoke.Exec
	typ  string
	args Args
	conf json.RawMessage
	pool pool // of a host-local; zero for other types
}

func (b binary) add(ctx context.Context) (*types100.Result, error) {
	if err := b.pool.checkForeign(); err != nil {
		return nil, err
	}
	path, err := b.find()
	if err != nil {
		return nil, err
	}
	r, err := invoke.ExecPluginWithResult(ctx, path, b.conf, b.args.invocation("ADD"), b.exec)
	if err != nil {
		return nil, err
	}
	return types100.NewResultFromResult(r)
}

func (b binary) del(ctx context.Context) error { return b.run(ctx, "DEL") }

func (b binary) check(ctx context.Context) error { return b.run(ctx, "CHECK") }

func (b binary) run(ctx context.Context, command string) error {
	path, err := b.find()
	if err != nil {
		return err
	}
	return invoke.ExecPluginWithoutResult(ctx, path, b.conf, b.args.invocation(command), b.exec)
}

func (b binary) find() (string, error) {
	if b.exec == nil {
		return "", errors.New("it is not built in, and plugins cannot be run here")
	}
	return b.exec.FindInPath(b.typ, filepath.SplitList(b.args.Path))
}

func (a Args) invocation(command string) *invoke.Args {
	return &invoke.Args{
		Command: command, ContainerID: a.SandboxID, NetNS: a.Netns, IfName: a.IfName,
		PluginArgsStr: a.CNIArgs, Path: a.Path,
	}
}
