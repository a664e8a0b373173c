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

// gc releases every sandbox that is not in the runtime's list of valid ones. It hands the
// list to the primary network's plugins, and to the programs of the other networks the
// interfaces that these have on record.
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
	return errors.Join(o.Keeper.Collect(ctx, c.request(), valid...), primaryGC(ctx, o, c, listed), secondaryGC(ctx, o, c, listed))
}

func primaryGC(ctx context.Context, o Options, c *call, valid []types.GCAttachment) error {
	list, err := o.Primary.Conf()
	if err != nil || list.DisableGC {
		return err
	}
	if has, err := version.GreaterThanOrEqualTo(list.CNIVersion, "1.1.0"); err != nil || !has {
		return err
	}
	add, err := validAttachments(valid)
	if err != nil {
		return err
	}
	var errs []error
	for i := range list.Plugins {
		if err := runNodeCommand(ctx, c, "GC", list.Plugins[i].Type, list.Member(i).With(add)); err != nil {
			errs = append(errs, fmt.Errorf("primary network %s: %w", list.Name, err))
		}
	}
	return errors.Join(errs...)
}

// secondaryGC collects for the networks on record. One that has the primary's CNI name
// shares its state, so the primary's interfaces are valid for it too.
func secondaryGC(ctx context.Context, o Options, c *call, primary []types.GCAttachment) error {
	networks, err := o.Keeper.ProgramNetworks()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range networks {
		valid := []types.GCAttachment{}
		if list, err := o.Primary.Conf(); err == nil && list.Name == n.Name {
			valid = append(valid, primary...)
		}
		for _, i := range n.Interfaces {
			valid = append(valid, types.GCAttachment{ContainerID: i.ID, IfName: i.IfName})
		}
		add, err := validAttachments(valid)
		if err != nil {
			return err
		}
		for _, p := range n.Programs {
			if err := runNodeCommand(ctx, c, "GC", p.Type, p.Config.With(add)); err != nil {
				errs = append(errs, fmt.Errorf("network %s: %w", n.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// validAttachments has the list under both names that the specification has given it.
func validAttachments(valid []types.GCAttachment) (network.Object, error) {
	raw, err := json.Marshal(valid)
	if err != nil {
		return nil, fmt.Errorf("encode the valid attachments: %w", err)
	}
	return network.Object{"cni.dev/valid-attachments": raw, "cni.dev/attachments": raw}, nil
}
