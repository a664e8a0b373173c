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
	made []chan struct{} // closed when the interface is there, or will not be
	once []sync.Once
	last int // the highest ifindex in the pod before there was any; 0: unknown
}

func (s *Server) newOrder(sandbox ledger.Sandbox) *order {
	o := &order{made: make([]chan struct{}, len(sandbox.Attachments)), once: make([]sync.Once, len(sandbox.Attachments))}
	for i := range o.made {
		o.made[i] = make(chan struct{})
	}
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
	env.Turn = func(ctx context.Context) error { return o.wait(ctx, i) }
	env.Made = func() { o.done(i) }
	return env
}

// done marks attachment i's interface as there. It may be called again.
func (o *order) done(i int) { o.once[i].Do(func() { close(o.made[i]) }) }

// wait returns when the interfaces before attachment i are there.
func (o *order) wait(ctx context.Context, i int) error {
	for _, made := range o.made[:i] {
		select {
		case <-made:
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
