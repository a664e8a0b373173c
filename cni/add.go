package cni

import (
	"context"

	"github.com/containernetworking/cni/pkg/types"
)

// add makes all networks of a sandbox and returns the primary's result.
func add(ctx context.Context, o Options, c *call) (types.Result, error) {
	result, err := o.Keeper.Attach(ctx, c.request())
	if err != nil {
		return nil, err
	}
	return result, nil
}
