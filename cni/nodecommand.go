package cni

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"

	"fairlead.dev/fairlead/pkg/network"
)

// runNodeCommand runs member i of a list with a command that is about the node, not
// about a sandbox.
func runNodeCommand(ctx context.Context, c *call, command string, list network.ConfList, i int, add map[string]any) error {
	stdin, err := list.Stdin(i, nil)
	if err != nil {
		return err
	}
	var conf map[string]any
	if err := json.Unmarshal(stdin, &conf); err != nil {
		return err
	}
	for k, v := range add {
		conf[k] = v
	}
	if stdin, err = json.Marshal(conf); err != nil {
		return err
	}
	file, err := c.exec.FindInPath(list.Plugins[i].Type, strings.Split(c.path, ":"))
	if err != nil {
		return err
	}
	return invoke.ExecPluginWithoutResult(ctx, file, stdin, &invoke.Args{Command: command, Path: c.path}, c.exec)
}
