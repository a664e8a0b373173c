package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/sandbox"
)

// gc releases every sandbox that is not in the runtime's list of valid ones, and hands
// the list to the primary network's plugins.
func gc(ctx context.Context, o Options, c *call) error {
	listed := c.conf.ValidAttachments
	if listed == nil {
		listed = c.conf.Attachments
	}
	if listed == nil {
		// Without a list "nothing is valid" and "nothing was said" are the same text.
		return failed("read the network config", types.ErrInvalidNetworkConfig, errors.New("GC without cni.dev/valid-attachments releases nothing"))
	}
	var valid []sandbox.Valid
	for _, a := range listed {
		valid = append(valid, sandbox.Valid{ID: a.ContainerID, IfName: a.IfName})
	}
	return errors.Join(o.Keeper.Collect(ctx, c.request(), valid...), primaryGC(ctx, o, c, listed))
}

func primaryGC(ctx context.Context, o Options, c *call, valid []types.GCAttachment) error {
	list, err := o.Primary.Conf()
	if err != nil || list.DisableGC {
		return err
	}
	if has, err := version.GreaterThanOrEqualTo(list.CNIVersion, "1.1.0"); err != nil || !has {
		return err
	}
	raw, err := json.Marshal(valid)
	if err != nil {
		return fmt.Errorf("encode the valid attachments: %w", err)
	}
	add := network.Object{"cni.dev/valid-attachments": raw, "cni.dev/attachments": raw}
	var errs []error
	for i := range list.Plugins {
		if err := runNodeCommand(ctx, c, "GC", list, i, add); err != nil {
			errs = append(errs, fmt.Errorf("primary network %s: %w", list.Name, err))
		}
	}
	return errors.Join(errs...)
}
