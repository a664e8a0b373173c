package cni

import (
	"context"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"

	"fairlead.dev/fairlead/pkg/network"
)

// runNodeCommand runs a plugin with a command that is about the node, not about a sandbox.
func runNodeCommand(ctx context.Context, c *call, command, plugin string, conf network.Object) error {
	file, err := c.exec.FindInPath(plugin, strings.Split(c.path, ":"))
	if err != nil {
		return err
	}
	return invoke.ExecPluginWithoutResult(ctx, file, conf.JSON(), &invoke.Args{Command: command, Path: c.path}, c.exec)
}
