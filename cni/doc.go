// Package cni is the runtime's door to the keeper of sandboxes (pkg/sandbox): it serves
// the CNI socket that the shim calls, one file per verb, and replays the DELs that the
// shim answered while the agent was away.
//
// It translates: a request on the wire becomes a sandbox.Request, the keeper's errors
// become CNI codes, and plugin binaries are run by the shim at the other end of the
// connection (conversation), or by HostExec if no shim is there. It keeps no record and
// attaches nothing itself.
package cni

import (
	"context"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/sandbox"
)

// Keeper keeps the node's sandboxes; *sandbox.Keeper is one.
type Keeper interface {
	Attach(context.Context, sandbox.Request) (*types100.Result, error)
	Release(context.Context, sandbox.Request) error
	Verify(context.Context, sandbox.Request) error
	Collect(context.Context, sandbox.Request, ...sandbox.Valid) error
	ProgramNetworks() ([]sandbox.ProgramNetwork, error)
}

// Cluster reports for STATUS what keeps ADDs from working: caches that are not filled,
// an API server out of reach.
type Cluster interface {
	Ready() error
}

// Primary is the cluster's own network; *confdir.Primary is one.
type Primary interface {
	Conf() (network.ConfList, error)
}
