// Package ipam gets the addresses of one interface and gives them back.
//
// Built in are host-local, whose state files stay readable and writable by the
// stock plugin, and static; any other type is a plugin binary, run through the
// caller's invoke.Exec, and so is a host-local whose conf names files of the host
// that an agent in a container does not see. The package puts no address on a
// link: pkg/attach does.
package ipam

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/containernetworking/cni/pkg/invoke"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// Args says whose addresses they are. SandboxID and IfName are the key.
type Args struct {
	SandboxID string
	IfName    string
	Netns     string
	CNIArgs   string // CNI_ARGS: "IP=10.1.2.3;GATEWAY=…"
	Path      string // where plugin binaries are: CNI_PATH
	DataDir   string // host-local's, unless the conf names one; empty: the stock plugin's
}

// Type is the conf's IPAM type; empty where the network has no addresses.
func Type(conf json.RawMessage) (string, error) {
	var c struct {
		IPAM struct {
			Type string `json:"type"`
		} `json:"ipam"`
	}
	if err := json.Unmarshal(conf, &c); err != nil {
		return "", fmt.Errorf("ipam: %w", err)
	}
	return c.IPAM.Type, nil
}

// Add allocates addresses as the "ipam" section of a plugin's conf says. On an
// error nothing stays allocated by a built-in type; for the others call Del.
func Add(ctx context.Context, exec invoke.Exec, args Args, conf json.RawMessage) (*types100.Result, error) {
	b, typ, err := backendFor(exec, args, conf)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, fmt.Errorf(`ipam: the conf has no "ipam" with a "type"`)
	}
	result, err := b.add(ctx)
	if err != nil {
		return nil, fmt.Errorf("ipam %s: %w", typ, err)
	}
	return result, nil
}

// Del gives back what Add allocated under the same key. Nothing to give back is
// no error, and a conf without a backend is one that Add has failed on. A plugin
// that is not installed is an fs.ErrNotExist.
func Del(ctx context.Context, exec invoke.Exec, args Args, conf json.RawMessage) error {
	b, typ, err := backendFor(exec, args, conf)
	if err != nil || b == nil {
		return nil
	}
	if err := b.del(ctx); err != nil {
		return fmt.Errorf("ipam %s: %w", typ, err)
	}
	return nil
}

// Check verifies that the addresses are still allocated. Plugin binaries want
// the ADD's result as "prevResult" in conf.
func Check(ctx context.Context, exec invoke.Exec, args Args, conf json.RawMessage) error {
	b, typ, err := backendFor(exec, args, conf)
	if err != nil || b == nil {
		return err
	}
	if err := b.check(ctx); err != nil {
		return fmt.Errorf("ipam %s: %w", typ, err)
	}
	return nil
}

// backend serves one interface's addresses.
type backend interface {
	add(context.Context) (*types100.Result, error)
	del(context.Context) error
	check(context.Context) error
}

// backendFor goes by the conf alone, so that Del finds the backend that Add had.
// It is nil where the network has no addresses.
func backendFor(exec invoke.Exec, args Args, conf json.RawMessage) (backend, string, error) {
	typ, err := Type(conf)
	if err != nil {
		return nil, "", err
	}
	switch typ {
	case "":
		return nil, "", nil
	case "static":
		return static{args, conf}, typ, nil
	case "host-local":
		p, err := openPool(args, conf)
		if err != nil {
			return nil, typ, fmt.Errorf("ipam %s: %w", typ, err)
		}
		if !p.onlyOnHost {
			return hostLocal{p, args, conf}, typ, nil
		}
	}
	return binary{exec, typ, args, conf}, typ, nil
}
