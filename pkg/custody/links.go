package custody

import (
	"context"
	"errors"
	"sync/atomic"

	"fairlead.dev/fairlead/pkg/link"
)

// Links returns the HostUse of a handle's network namespace.
func Links(h *link.Handle) HostUse { return &links{handle: h} }

type links struct {
	handle *link.Handle
	table  atomic.Pointer[link.UseTable] // nil until Watch
}

// Watch ends with ctx, or with the kernel's events.
func (l *links) Watch(ctx context.Context) (<-chan map[string]HostLink, error) {
	ctx, cancel := context.WithCancel(ctx)
	var table *link.UseTable
	err := l.handle.Do(func() (err error) {
		table, err = link.WatchUse(ctx)
		return err
	})
	if err != nil {
		cancel()
		return nil, err
	}
	l.table.Store(table)
	tables := make(chan map[string]HostLink)
	go func() { // ends when the table ends or cannot be read
		defer close(tables)
		defer cancel()
		for {
			uses, err := table.All()
			if err != nil {
				return
			}
			select {
			case tables <- byName(uses):
			case <-ctx.Done():
				return
			}
			if _, more := <-table.Changed(); !more {
				return
			}
		}
	}()
	return tables, nil
}

// Of is as current as a listing: the table applies the kernel's messages first. If the
// table cannot be read, as between two Watches, Of lists the links.
func (l *links) Of(netdev string) (HostLink, error) {
	found, err := l.handle.ByName(netdev)
	if errors.Is(err, link.ErrNotFound) {
		return HostLink{}, nil // moved to another namespace
	}
	if err != nil {
		return HostLink{}, err
	}
	use, err := l.use(found.Index)
	if errors.Is(err, link.ErrNotFound) {
		return HostLink{}, nil
	}
	return hostLink(use), err
}

func (l *links) use(index int) (link.Use, error) {
	if t := l.table.Load(); t != nil {
		if use, err := t.Of(index); err == nil || errors.Is(err, link.ErrNotFound) {
			return use, err
		}
	}
	return l.handle.Use(index)
}

func byName(uses map[int]link.Use) map[string]HostLink {
	out := make(map[string]HostLink, len(uses))
	for _, u := range uses {
		out[u.Name] = hostLink(u)
	}
	return out
}

func hostLink(u link.Use) HostLink {
	onTop := u.OnTop
	u.OnTop = nil
	return HostLink{OnTop: onTop, How: u.String()}
}
