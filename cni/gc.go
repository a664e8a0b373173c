package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/pkg/network"
)

// gc releases every sandbox that is not in the runtime's list of valid ones, and
// hands the list to the primary network's plugins.
func (s *Server) gc(ctx context.Context, c *call) error {
	listed := c.conf.ValidAttachments
	if listed == nil {
		listed = c.conf.Attachments
	}
	if listed == nil {
		// Without a list "nothing is valid" and "nothing was said" are the same text.
		return step("reading the network config", types.ErrInvalidNetworkConfig, errors.New("GC without cni.dev/valid-attachments releases nothing"))
	}
	valid := map[types.GCAttachment]bool{}
	for _, a := range listed {
		valid[a] = true
	}
	sandboxes, err := s.o.Ledger.Sandboxes()
	if err != nil {
		return step("reading the ledger", types.ErrIOFailure, err)
	}
	var errs []error
	for _, sandbox := range sandboxes {
		// A sandbox made since the list was drawn up is not in it and yet valid.
		if valid[types.GCAttachment{ContainerID: sandbox.ID, IfName: sandbox.IfName}] || !sandbox.Created.Before(c.at) {
			continue
		}
		if err := s.releaseUnlessBusy(ctx, sandbox.ID, c.exec, s.cniPath(c)); err != nil {
			errs = append(errs, fmt.Errorf("sandbox %s of pod %s: %w", shortID(sandbox.ID), sandbox.Pod, err))
		}
	}
	errs = append(errs, s.primaryGC(ctx, c, listed))
	return errors.Join(errs...)
}

// releaseUnlessBusy releases a sandbox, but not under the hands of a call.
func (s *Server) releaseUnlessBusy(ctx context.Context, id string, exec invoke.Exec, path string) error {
	unlock, free := s.locks.tryLock(id)
	if !free {
		return nil
	}
	defer unlock()
	sandbox, ok, err := s.o.Ledger.Sandbox(id)
	if err != nil || !ok {
		return err
	}
	return s.release(ctx, sandbox, exec, path)
}

func (s *Server) primaryGC(ctx context.Context, c *call, valid []types.GCAttachment) error {
	list, err := s.o.Primary.Conf()
	if err != nil || list.DisableGC {
		return err
	}
	if has, err := version.GreaterThanOrEqualTo(list.CNIVersion, "1.1.0"); err != nil || !has {
		return err
	}
	d := delegate{exec: c.exec, path: s.cniPath(c)}
	var errs []error
	for i := range list.Plugins {
		add := map[string]any{"cni.dev/valid-attachments": valid, "cni.dev/attachments": valid}
		if err := d.runNodeCommand(ctx, "GC", list, i, add); err != nil {
			errs = append(errs, fmt.Errorf("primary network %s: %w", list.Name, err))
		}
	}
	return errors.Join(errs...)
}

// runNodeCommand runs a member with a command that is of the node, not of a sandbox.
func (d delegate) runNodeCommand(ctx context.Context, command string, list network.ConfList, i int, add map[string]any) error {
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
	file, err := d.exec.FindInPath(list.Plugins[i].Type, strings.Split(d.path, ":"))
	if err != nil {
		return err
	}
	return invoke.ExecPluginWithoutResult(ctx, file, stdin, &invoke.Args{Command: command, Path: d.path}, d.exec)
}
