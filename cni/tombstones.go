package cni

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"fairlead.dev/fairlead/cni/wire"
)

const (
	// replaySoon is the pause between a tombstone and its replay: the shim may be
	// writing more.
	replaySoon = time.Second
	// replayPause is the pause before tombstones that are left are tried again.
	replayPause = 15 * time.Second
	// replayAnyway is how often the directory is read without any news of it.
	replayAnyway = 5 * time.Minute
)

// replayer does the DELs that the shim answered while the agent was away.
type replayer struct {
	o Options

	mu       sync.Mutex // guards underWay
	underWay map[string]bool
}

func newReplayer(o Options) *replayer { return &replayer{o: o, underWay: map[string]bool{}} }

// beforeServing replays tombstones before the first call is served. Its time is
// limited: neither a plugin that hangs nor a thousand tombstones keep pods from starting.
func (r *replayer) beforeServing(ctx context.Context, group *sync.WaitGroup) {
	replayed := make(chan struct{})
	group.Go(func() { // each DEL has its own limit, and ctx ends them all
		defer close(replayed)
		r.replay(ctx)
	})
	select {
	case <-replayed:
	case <-time.After(replayBudget):
		r.o.Log.Warn("replaying DELs missed during downtime is slow; serving new calls meanwhile")
	}
}

// loop replays tombstones until ctx ends: a shim may leave one while the agent is about
// to serve, or if the agent dies within a DEL. Nothing waits for a DEL: one that hangs
// delays no other.
func (r *replayer) loop(ctx context.Context) {
	news, lost, stop := watch(r.o.Tombstones.Dir)
	defer stop()
	var replays sync.WaitGroup // each ends with its DEL
	defer replays.Wait()
	timer := time.NewTimer(replaySoon)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-news:
			timer.Reset(replaySoon)
			continue
		case <-lost: // more news than the kernel keeps
			timer.Reset(replaySoon)
			continue
		case <-timer.C:
		}
		if left := r.start(ctx, &replays); left > 0 || news == nil {
			timer.Reset(replayPause)
		} else {
			timer.Reset(replayAnyway)
		}
	}
}

// watch reports changes of a directory; nil if the kernel cannot.
func watch(dir string) (news <-chan fsnotify.Event, lost <-chan error, stop func()) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, nil, func() {}
	}
	if err := errors.Join(os.MkdirAll(dir, 0o700), w.Add(dir)); err != nil {
		_ = w.Close()
		return nil, nil, func() {}
	}
	return w.Events, w.Errors, func() { _ = w.Close() }
}

// replay replays all tombstones and waits for the end.
func (r *replayer) replay(ctx context.Context) {
	var replays sync.WaitGroup // each ends with its DEL
	r.start(ctx, &replays)
	replays.Wait()
}

// start begins the DELs that are not under way, and returns how many tombstones there
// are. The keeper bounds each DEL, and how many run programs at a time.
func (r *replayer) start(ctx context.Context, replays *sync.WaitGroup) int {
	tombs, err := r.o.Tombstones.List()
	if err != nil {
		r.o.Log.Error("reading the tombstones", "error", err)
	}
	for _, tomb := range tombs {
		key := tomb.Request.ContainerID + "@" + tomb.Request.IfName
		if !r.begin(key) {
			continue
		}
		replays.Go(func() {
			defer r.end(key)
			r.replayOne(ctx, tomb)
		})
	}
	return len(tombs)
}

func (r *replayer) begin(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.underWay[key] {
		return false
	}
	r.underWay[key] = true
	return true
}

func (r *replayer) end(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.underWay, key)
}

// replayOne does one DEL. The tombstone goes when the DEL has succeeded, which includes
// that the rest is recorded for a retry.
func (r *replayer) replayOne(ctx context.Context, tomb wire.Tombstone) {
	log := r.o.Log.With("sandbox", tomb.Request.ContainerID, "interface", tomb.Request.IfName)
	if tomb.Damage != "" {
		log.Warn("a tombstone is damaged; the sandbox is released by its name", "damage", tomb.Damage)
	}
	tomb.Request.Command = "DEL"
	c, _ := parseCall(tomb.Request, r.o.HostExec, r.o) // no error: a DEL is served whatever its config
	request := c.request()
	request.Queued = true
	if err := r.o.Keeper.Release(ctx, request); err != nil {
		log.Error("replaying a DEL; its tombstone stays for a retry", "pod", c.pod.String(), "error", err)
		return
	}
	if err := r.o.Tombstones.Remove(tomb); err != nil {
		log.Error("removing a tombstone; its DEL will be done again, which is harmless", "error", err)
		return
	}
	log.Info("replayed a DEL missed during downtime", "pod", c.pod.String(), "at", tomb.At)
}
