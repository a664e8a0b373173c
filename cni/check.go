package cni

import "context"

// check verifies every network of a sandbox.
func check(ctx context.Context, o Options, c *call) error {
	return o.Keeper.Verify(ctx, c.request())
}
