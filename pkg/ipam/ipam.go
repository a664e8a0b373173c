// Package ipam gets the addresses of one interface and releases them.
//
// host-local and static are built in. The state files of host-local are those of the stock
// plugin, under the same lock, so both can be used. Any other type is a plugin binary,
// which runs through the caller's invoke.Exec. So does a host-local whose conf names files
// of the host that an agent in a container does not see. The package does not set addresses
// on links: pkg/attach does.
package ipam

import (
	"context"
	"encoding/json"
	"fmt"
	"net"

	"github.com/containernetworking/cni/pkg/invoke"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/quote"
)

// Args identifies the owner of addresses. SandboxID and IfName are the key.
type Args struct {
	SandboxID string
	IfName    string
	Netns     string
	CNIArgs   string // CNI_ARGS: "IP=10.1.2.3;GATEWAY=…"
	Path      string // where plugin binaries are: CNI_PATH
	DataDir   string // for host-local, unless the conf names one; empty: the stock plugin's

	// NewSandbox means that this is the sandbox's first ADD. Then Add does not look for
	// addresses that the interface already holds.
	NewSandbox bool
	// Type is the IPAM type on record, for Del. A conf of another type is an error: the
	// addresses stay allocated. If Type is empty, Del releases whatever the conf names.
	Type string
	// Known has the addresses of the recorded result. Check and Del look at these first.
	// Only if the interface owns no such address, they read the files of the whole network.
	Known []net.IP
}

// head has the fields of a conf that select the backend.
type head struct {
	Name string `json:"name"`
	IPAM struct {
		Type       string `json:"type"`
		DataDir    string `json:"dataDir"`
		ResolvConf string `json:"resolvConf"`
	} `json:"ipam"`
}

// readHead returns the fields that can be read, also with an error.
func readHead(conf json.RawMessage) (head, error) {
	var c head
	if err := json.Unmarshal(conf, &c); err != nil {
		return c, fmt.Errorf("ipam: read the conf: %w", quote.Bound(err)) // with the type, if it could be read
	}
	return c, nil
}

// Add allocates addresses according to the "ipam" section of a plugin's conf. After an error
// of a built-in type, nothing is allocated. After an error of another type, call Del.
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
		return nil, fault(typ, err)
	}
	return result, nil
}

// Del releases the addresses that Add allocated under the same key. It succeeds if there are
// no addresses, and if the conf has no valid backend, because then Add has failed. If a
// plugin is not installed, the error is fs.ErrNotExist.
func Del(ctx context.Context, exec invoke.Exec, args Args, conf json.RawMessage) error {
	b, typ, err := backendFor(exec, args, conf)
	if args.Type != "" && typ != args.Type {
		return fmt.Errorf("the addresses of ipam %s cannot be given back: the record's config does not have that ipam", args.Type)
	}
	if err != nil || b == nil {
		return nil
	}
	if err := b.del(ctx); err != nil {
		return fault(typ, err)
	}
	return nil
}

// Check verifies that the addresses are still allocated. Plugin binaries need the ADD's
// result as "prevResult" in conf.
func Check(ctx context.Context, exec invoke.Exec, args Args, conf json.RawMessage) error {
	b, typ, err := backendFor(exec, args, conf)
	if err != nil || b == nil {
		return err
	}
	if err := b.check(ctx); err != nil {
		return fault(typ, err)
	}
	return nil
}

// fault bounds the texts of plugins, of the stock libraries, and of the values of a
// tenant's conf that they quote (security S7).
func fault(typ string, err error) error {
	return fmt.Errorf("ipam %s: %w", quote.Plain(typ), quote.Bound(err))
}

// backend serves one interface's addresses.
type backend interface {
	add(context.Context) (*types100.Result, error)
	del(context.Context) error
	check(context.Context) error
}

// backendFor decides from the conf only, so that Del finds the backend that Add had.
// It returns nil if the network has no addresses. Meta-plugins are refused here too, and
// not by the parser of net-attach-defs only (security S1).
func backendFor(exec invoke.Exec, args Args, conf json.RawMessage) (backend, string, error) {
	c, err := readHead(conf)
	if err != nil {
		return nil, c.IPAM.Type, err
	}
	if typ := c.IPAM.Type; wire.IsMeta(typ) {
		return nil, typ, fmt.Errorf("ipam %s: it would call Fairlead from within Fairlead without end; use host-local, static, or another ipam plugin", typ)
	}
	var p pool
	switch typ := c.IPAM.Type; typ {
	case "":
		return nil, "", nil
	case "static":
		return static{args, conf}, typ, nil
	case "host-local":
		if p, err = openPool(args, c); err != nil {
			return nil, typ, fault(typ, err)
		}
		if !p.onlyOnHost {
			return hostLocal{p, args, conf}, typ, nil
		}
	}
	return binary{exec, c.IPAM.Type, args, conf, p}, c.IPAM.Type, nil
}
