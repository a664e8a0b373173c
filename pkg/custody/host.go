package custody

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"time"

	"fairlead.dev/fairlead/pkg/retry"
)

// hostSource names the host's network in Unknown uses.
const hostSource = "read the host's use of its links"

// hostLinks keeps the host's use of its links in the View.
type hostLinks struct {
	host HostUse
	out  *published
	log  *slog.Logger
}

// follow ends with ctx. If the events end before, it subscribes again.
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
			h.log.Error("cannot read the host's use of its links; no device is handed out until it can be read", "error", err)
			h.out.update(func(next *View) bool { return next.mark(hostSource, err) })
		}
		_ = retry.Sleep(ctx, retryHost)
	}
	return nil
}

const (
	retryHost = time.Second
	// toleratedFailures is the number of failures in a row after which the last table
	// is no longer trusted. It is above 1 because Unhealthy pools make the kubelet refuse
	// pods, and Confirm reads the single netdev anyway.
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
