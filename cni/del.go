package cni

import "context"

// del releases a sandbox. It succeeds once everything is undone, or once the rest is
// recorded for a retry.
func del(ctx context.Context, o Options, c *call) error {
	return o.Keeper.Release(ctx, c.request())
}
