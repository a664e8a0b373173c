package inventory

import (
	"context"
	"log/slog"
	"path/filepath"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// Host returns the options for a real node: sysfs below root, and the kernel's events and
// answers in the caller's network namespace, which must be the host's.
func Host(root string, links *link.Handle, log *slog.Logger) Options {
	return Options{
		FS:       sysfs.New(root),
		AltNames: Links{links},
		Eswitch:  Eswitch,
		Names:    NewPCINames(log, root, filepath.Join(root, hostRoot)).Lookup,
		Events:   []Source{LinkEvents{}, Uevents{Log: log}},
		Log:      log,
	}
}

// hostRoot is the host's file system, as a privileged container with the host's PIDs sees it.
// The agent's image has no PCI id database, but most hosts have one.
const hostRoot = "proc/1/root"

// Links asks rtnetlink for altnames, without VF data.
type Links struct{ Handle *link.Handle }

// All implements AltNames.
func (l Links) All() (map[string][]string, error) {
	links, err := l.Handle.List()
	if err != nil {
		return nil, err
	}
	names := map[string][]string{}
	for _, link := range links {
		if len(link.AltNames) > 0 {
			names[link.Name] = link.AltNames
		}
	}
	return names, nil
}

// Of implements AltNames.
func (l Links) Of(netdev string) ([]string, error) {
	link, err := l.Handle.ByName(netdev)
	return link.AltNames, err
}

// LinkEvents is the source of rtnetlink's messages. They report changes that uevents do not:
// MTU, MAC, link state, and a netdev that moved to another namespace.
type LinkEvents struct{}

// Open implements Source.
func (LinkEvents) Open(ctx context.Context) (<-chan Event, error) {
	links, err := link.Subscribe(ctx)
	if err != nil {
		return nil, err
	}
	events := make(chan Event)
	go func() {
		defer close(events)
		for l := range links {
			select {
			case events <- Event{Netdev: l.Link.Name, Lost: l.Lost}:
			case <-ctx.Done(): // links is closed too
			}
		}
	}()
	return events, nil
}
