package sandbox

import (
	"context"
	"slices"
	"sync"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// order keeps the interfaces of a pod in the order of its networks, the primary's
// first, although they are made side by side. People and programs take interfaces
// in the order in which the kernel lists them, which is by ifindex.
//
// A link that is born in the pod gets the next free index: it waits for its turn. A
// VF brings its index from the host, and its move takes long: it is moved at once,
// to the index that will be its own if each network before it makes one interface.
// If that is wrong, only the order suffers.
type order struct {
	made  []latch // the interface is there, or will not be
	ended []latch // the attachment is complete, or failed
	last  int     // the highest ifindex in the pod before there was any; 0: unknown
}

func newOrder(sandbox ledger.Sandbox, lastIfindex func(path string) int) *order {
	o := &order{made: latches(len(sandbox.Attachments)), ended: latches(len(sandbox.Attachments))}
	if slices.ContainsFunc(sandbox.Attachments, movesVF) {
		o.last = lastIfindex(sandbox.Netns.Path)
	}
	return o
}

func movesVF(a ledger.Attachment) bool {
	return slices.ContainsFunc(a.Members, func(m ledger.Member) bool { return m.Plugin == attach.PluginSRIOV })
}

// place returns the place of attachment i.
func (o *order) place(i int) attach.Order {
	place := attach.Order{
		Turn: func(ctx context.Context) error { return wait(ctx, o.made[:i]) },
		Made: o.made[i].open,
		Last: func(ctx context.Context) error { return wait(ctx, o.ended[:i]) },
	}
	if o.last > 0 {
		place.Ifindex = o.last + 1 + i
	}
	return place
}

// end marks attachment i as complete, or failed.
func (o *order) end(i int) {
	o.made[i].open()
	o.ended[i].open()
}

// latch is opened once and stays open.
type latch struct {
	once   *sync.Once
	opened chan struct{}
}

func latches(n int) []latch {
	all := make([]latch, n)
	for i := range all {
		all[i] = latch{new(sync.Once), make(chan struct{})}
	}
	return all
}

func (l latch) open() { l.once.Do(func() { close(l.opened) }) }

func wait(ctx context.Context, all []latch) error {
	for _, l := range all {
		select {
		case <-l.opened:
		case <-ctx.Done():
		}
		if ctx.Err() != nil { // also if both have come
			return context.Cause(ctx)
		}
	}
	return nil
}

// lastIfindex is the highest ifindex in a namespace: of lo, and of the tunnels
// that some kernel modules put into every namespace. If a namespace cannot be read, the
// calls that work in it report why.
func lastIfindex(netns string) int {
	h, err := link.OpenAt(netns)
	if err != nil {
		return 0
	}
	defer h.Close()
	links, err := h.List()
	last := 0
	if err == nil {
		for _, l := range links {
			last = max(last, l.Index)
		}
	}
	return last
}
