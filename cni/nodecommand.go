package cni

import (
	"context"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"

	"fairlead.dev/fairlead/pkg/network"
)

// runNodeCommand runs member i of a list with a command that is about the node, not
// about a sandbox.
func runNodeCommand(ctx context.Context, c *call, command string, list network.ConfList, i int, add network.Object) error {
	conf := list.Member(i).With(add)
	file, err := c.exec.FindInPath(list.Plugins[i].Type, strings.Split(c.path, ":"))
	if err != nil {
		return err
	}
	return invoke.ExecPluginWithoutResult(ctx, file, conf.JSON(), &invoke.Args{Command: command, Path: c.path}, c.exec)
}
