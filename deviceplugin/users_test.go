package deviceplugin

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
)

// sandbox is a pod's that holds VF i.
func sandbox(i int, resource string) ledger.Sandbox {
	return ledger.Sandbox{
		ID: "s1", Pod: ledger.PodRef{Namespace: "ns", Name: "web"},
		Attachments: []ledger.Attachment{{IfName: "net1", Device: vfAddr(i), Resource: resource, Phase: ledger.Bound}},
	}
}

// m#499, cni#215: while a pod has a VF, the configuration is edited and the VF is
// in another pool. To the kubelet it is a free device there.
func TestHeldVFInAnotherPool(t *testing.T) {
	dir := shortDir(t)
	k := startKubelet(t, dir)
	n := newNode(t, dir)
	n.update(pool("f.io/old", 0, 1))
	k.sees("f.io/old", "10.0@1 10.2@1")
	if _, err := k.allocate("f.io/old", ids(0)...); err != nil {
		t.Fatal(err)
	}
	n.update(pool("f.io/old", 0, 1))
	k.sees("f.io/old", "10.0@1 10.2@1") // the kubelet knows who has it

	n.update(pool("f.io/new", 0, 1))
	k.sees("f.io/new", "10.0@1(Unhealthy) 10.2@1")
	_, err := k.allocate("f.io/new", ids(0)...)
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "still held as f.io/old by a container") {
		t.Errorf("the VF is given away a second time: %v", err)
	}
	n.book.free()
	k.sees("f.io/new", "10.0@1 10.2@1") // with no news of the devices
}

// The pod came after the last look at the ledger.
func TestAllocateRefusesAHeldVF(t *testing.T) {
	b := newBench(t, igb(2))
	s, err := inventory.New(inventory.Options{FS: b.tree.FS()}).Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, allocated, attached, want string }{
		{"nobody", "", "-", ""},
		{"allocated under its own resource", "f/fast", "-", ""},
		{"attached, its allocation is not on record", "", "f/fast", ""},
		{"allocated as another", "f/old", "-", "still held as f/old by a container"},
		{"allocated and attached as another", "f/old", "f/old", "still held as f/old by pod ns/web"},
		{"attached as another", "", "f/old", "still held as f/old by pod ns/web"},
		{"attached by a network that names it", "", "", "held by pod ns/web, one of whose networks names it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.ledger.free()
			if tt.allocated != "" {
				b.ledger.kept = []ledger.Allocation{{Resource: tt.allocated, Device: vfAddr(0)}}
			}
			if tt.attached != "-" {
				b.ledger.sandboxes = []ledger.Sandbox{sandbox(0, tt.attached)}
			}
			_, err := b.allocateFrom(s, pool("f/fast", 0, 1), ids(0))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// A node whose own network runs over a VF must not lose it to a pod.
func TestVFThatTheHostUses(t *testing.T) {
	dir := shortDir(t)
	k := startKubelet(t, dir)
	n := newNode(t, dir)
	all := pool("f.io/fast", 0, 1)
	n.update(all)
	k.sees("f.io/fast", "10.0@1 10.2@1")

	// The address comes later, and nothing tells of it but the next Allocate.
	n.host.Store(&map[string]string{"ens1f0v1": "with the address 192.0.2.1/24"})
	_, err := k.allocate("f.io/fast", ids(1)...)
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "the host uses its netdev ens1f0v1 with the address 192.0.2.1/24") {
		t.Errorf("the host's VF is given away: %v", err)
	}
	k.sees("f.io/fast", "10.0@1 10.2@1(Unhealthy)")
	n.host.Store(nil)
	k.sees("f.io/fast", "10.0@1 10.2@1")
}

// What cannot be known is no reason to give a VF away.
func TestAllocateWhereUsersAreUnknown(t *testing.T) {
	b := newBench(t, igb(2))
	b.opts.HostUse = func() (map[string]string, error) { return nil, unix.ENOBUFS }
	if _, err := b.allocate(t, pool("f/fast", 0, 1), ids(0)); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("error %v", err)
	}
}
