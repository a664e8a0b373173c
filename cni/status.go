package cni

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/pkg/network"
)

// status reports whatever keeps an ADD from working: no primary network, caches that are
// not filled, a plugin's binary that is missing, or an error of a plugin's own STATUS.
func status(ctx context.Context, o Options, c *call, ready *readiness) error {
	var errs []error
	if err := o.Cluster.Ready(); err != nil {
		errs = append(errs, err)
	}
	list, err := o.Primary.Conf()
	if err != nil {
		errs = append(errs, err)
	} else {
		errs = append(errs, primaryStatus(ctx, o, c, list, ready))
	}
	if err := errors.Join(errs...); err != nil {
		return failed("check readiness", types.ErrPluginNotAvailable, err)
	}
	return nil
}

// primaryStatus asks each plugin for its STATUS, which came with 1.1.0. Of an older one it
// only sees whether it is installed.
//
// The kubelet has the runtime ask every five seconds, so no program is run for each
// question: an answer without an error is valid for readyFor. An error is asked for again.
func primaryStatus(ctx context.Context, o Options, c *call, list network.ConfList, ready *readiness) error {
	hasStatus, err := version.GreaterThanOrEqualTo(list.CNIVersion, "1.1.0")
	if err != nil {
		return err
	}
	for i, p := range list.Plugins {
		if _, err := o.HostExec.FindInPath(p.Type, strings.Split(c.path, ":")); err != nil {
			return fmt.Errorf("primary network %s: %w", list.Name, err)
		}
		if !hasStatus || ready.is(i, list, o.Now()) {
			continue
		}
		if err := runNodeCommand(ctx, c, "STATUS", p.Type, list.Member(i)); err != nil {
			return fmt.Errorf("primary network %s: %w", list.Name, err)
		}
		ready.note(i, list, o.Now())
	}
	return nil
}

// readyFor is how long a plugin that was ready is taken for ready.
const readyFor = 30 * time.Second

// readiness remembers which plugins were ready, by their place in the list.
type readiness struct {
	mu   sync.Mutex // guards last
	last map[int]readyPlugin
}

type readyPlugin struct {
	conf []byte // it has been asked with this config
	at   time.Time
}

func (r *readiness) is(i int, list network.ConfList, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.last[i]
	return ok && now.Sub(last.at) < readyFor && bytes.Equal(last.conf, list.Member(i).JSON())
}

func (r *readiness) note(i int, list network.ConfList, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[int]readyPlugin{}
	}
	r.last[i] = readyPlugin{list.Member(i).JSON(), now}
}
