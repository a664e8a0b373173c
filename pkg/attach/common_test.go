package attach

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/invoke"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
)

const hostLocal = `"ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "routes": [{"dst": "10.9.0.0/16"}]}`

// full asks for everything that an igb can do.
const full = `{"cniVersion": "1.0.0", "name": "fast", "type": "sriov", "vlan": 100, "vlanQoS": 3, "vlanProto": "802.1Q", "mac": "02:00:00:CC:00:01",
	"spoofchk": "off", "trust": "on", "link_state": "auto", "max_tx_rate": 50, "mtu": 9000, "logLevel": "whatever", ` + hostLocal + `}`

const plain = `{"cniVersion": "1.0.0", "name": "fast", "type": "sriov"}`

// Request is one network to attach, of one plugin.
type Request struct {
	SandboxID, Netns, IfName string
	Pod                      ledger.PodRef
	Network                  string
	Config                   json.RawMessage
	CNIArgs                  string
	Resource                 string
	Device                   pci.Address
	Named                    bool
	Uplinks                  []string
}

// Env has the parts of a Call that the record of an attachment does not have.
type Env struct {
	SandboxID string
	Exec      invoke.Exec
	Order     Order
}

var env = Env{SandboxID: "s1"}

func request(conf string, device pci.Address) Request {
	return Request{SandboxID: "s1", Netns: podNS, IfName: "net1", Pod: ledger.PodRef{Namespace: "ns", Name: "p"}, Network: "ns/fast",
		Config: json.RawMessage(conf), Resource: "fairlead.dev/fast", Device: device}
}

// attacher makes networks of one plugin by the chain runner.
type attacher struct {
	*Set
	kind string
}

func attacherOf(t *testing.T, s *Set, kind string) attacher {
	t.Helper()
	return attacher{s, kind}
}

func (a attacher) Prepare(ctx context.Context, r Request) (ledger.Attachment, error) {
	list, err := listOf(a.kind, string(r.Config))
	if err != nil {
		return ledger.Attachment{}, err
	}
	return a.Set.Prepare(ctx, Call{SandboxID: r.SandboxID, IfName: r.IfName, Pod: r.Pod, Network: r.Network, Netns: ledger.Netns{Path: r.Netns},
		CNIArgs: r.CNIArgs, Resource: r.Resource, Device: r.Device, Named: r.Named, Uplinks: r.Uplinks}, list)
}

// listOf is a chain of the given plugins' configs; those without a type are of kind.
func listOf(kind string, confs ...string) (network.ConfList, error) {
	list := network.ConfList{CNIVersion: "1.0.0", Name: "fast"}
	for _, conf := range confs {
		fields, err := network.ParseObject([]byte(conf))
		if err != nil {
			return list, err
		}
		var head struct {
			CNIVersion, Name, Type string
			Builtin                *bool
		}
		if err := json.Unmarshal([]byte(conf), &head); err != nil {
			return list, err
		}
		if head.Name != "" {
			list.Name = head.Name
		}
		if head.CNIVersion != "" {
			list.CNIVersion = head.CNIVersion
		}
		if head.Type == "" {
			head.Type = kind
		}
		list.Plugins = append(list.Plugins, network.Plugin{Type: head.Type, Builtin: head.Builtin == nil || *head.Builtin, Fields: fields})
	}
	return list, nil
}

func (a attacher) Bind(ctx context.Context, env Env, att *ledger.Attachment, netns string) (*types100.Result, error) {
	return a.Add(ctx, env.call(netns), att)
}

// Release works on a copy of the record, as a keeper does that ends before it is written.
func (a attacher) Release(ctx context.Context, env Env, att ledger.Attachment, netns string) error {
	return a.Del(ctx, env.call(netns), new(clone(att)))
}

func (a attacher) Check(ctx context.Context, env Env, att ledger.Attachment, netns string) error {
	return a.Set.Check(ctx, env.call(netns), att)
}

func (e Env) call(netns string) Call {
	return Call{SandboxID: e.SandboxID, Netns: ledger.Netns{Path: netns}, Exec: e.Exec, Order: e.Order}
}

func clone(att ledger.Attachment) ledger.Attachment {
	raw, err := json.Marshal(att)
	if err != nil {
		panic(err)
	}
	var back ledger.Attachment
	if err := json.Unmarshal(raw, &back); err != nil {
		panic(err)
	}
	return back
}

// prepared runs Prepare and passes the record through JSON, as the ledger does.
func prepared(t *testing.T, s *Set, kind string, r Request) ledger.Attachment {
	t.Helper()
	att, err := attacherOf(t, s, kind).Prepare(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return stored(t, att)
}

func stored(t *testing.T, att ledger.Attachment) ledger.Attachment {
	t.Helper()
	return clone(att)
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// taken lists the addresses that host-local has given in network "fast".
func taken(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "fast"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if strings.Count(e.Name(), ".") == 3 {
			names = append(names, e.Name())
		}
	}
	return names
}
