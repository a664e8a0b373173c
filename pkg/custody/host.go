package custody

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"time"

	"fairlead.dev/fairlead/pkg/retry"
)

// hostSource is the host's network in Unknown uses.
const hostSource = "read what the host uses its links for"

// hostLinks follows what the host uses its links for.
type hostLinks struct {
	host HostUse
	out  *published
	log  *slog.Logger
}

// follow begins again if the events end, until ctx does.
func (h *hostLinks) follow(ctx context.Context) error {
	for failures := 0; ctx.Err() == nil; {
		tables, err := h.host.Watch(ctx)
		if err == nil {
			for table := range tables {
				failures = 0
				h.set(table)
			}
			err = errors.New("the kernel's events ended")
		}
		if ctx.Err() != nil {
			break
		}
		if failures++; failures == toleratedFailures {
			h.log.Error("what the host uses its links for cannot be read; no device is handed out until it can", "error", err)
			h.out.update(func(next *View) bool { return next.mark(hostSource, err) })
		}
		_ = retry.Sleep(ctx, retryHost)
	}
	return nil
}

const (
	retryHost = time.Second
	// toleratedFailures in a row let the last table expire. Confirm reads the single
	// netdev anyway, and a pool that is Unhealthy has pods refused.
	toleratedFailures = 5
)

func (h *hostLinks) set(table map[string]HostLink) {
	h.out.update(func(next *View) bool {
		changed := next.mark(hostSource, nil)
		if reflect.DeepEqual(next.host, table) {
			return changed
		}
		next.host = table
		return true
	})
}
