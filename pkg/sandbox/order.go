package cni

import (
	"context"
	"slices"
	"sync"

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
// Where that is wrong, only the order suffers.
type order struct {
	made  []latch // the interface is there, or will not be
	ended []latch // the attachment is complete, or failed
	last  int     // the highest ifindex in the pod before there was any; 0: unknown
}

func (s *Server) newOrder(sandbox ledger.Sandbox) *order {
	o := &order{made: latches(len(sandbox.Attachments)), ended: latches(len(sandbox.Attachments))}
	moved := func(a ledger.Attachment) bool { return a.Kind != kindExec && !a.Device.IsZero() }
	if slices.ContainsFunc(sandbox.Attachments, moved) {
		o.last = s.lastIfindex(sandbox.Netns)
	}
	return o
}

// place tells attachment i's attacher of its place.
func (o *order) place(env AttachEnv, i int) AttachEnv {
	if o.last > 0 {
		env.Ifindex = o.last + 1 + i
	}
	env.Turn = func(ctx context.Context) error { return wait(ctx, o.made[:i]) }
	env.Made = o.made[i].open
	env.Last = func(ctx context.Context) error { return wait(ctx, o.ended[:i]) }
	return env
}

// end marks attachment i as over and done with.
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
			return context.Cause(ctx)
		}
	}
	return nil
}

// lastIfindex is the highest ifindex in a namespace: of lo, and of the tunnels
// that some kernel modules put into every namespace. What is wrong with a namespace
// that cannot be read is said where something is to be done in it.
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
