package cni

import (
	"context"
	"sync"
	"time"

	"fairlead.dev/fairlead/cni/wire"
)

// replayPause is how often tombstones are looked for: a shim may leave one while the
// agent is about to serve, or dies within a DEL.
const replayPause = 15 * time.Second

// replayer does the DELs that the shim answered while the agent was away.
type replayer struct {
	o Options

	mu       sync.Mutex // guards underWay
	underWay map[string]bool
}

func newReplayer(o Options) *replayer { return &replayer{o: o, underWay: map[string]bool{}} }

// beforeServing replays tombstones before the first call is served, but for so short a
// time that neither a plugin that hangs nor a thousand tombstones keep pods from starting.
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

// loop replays tombstones until ctx ends. Nothing waits for a DEL: one that hangs
// delays no other.
func (r *replayer) loop(ctx context.Context) {
	timer := time.NewTicker(replayPause)
	defer timer.Stop()
	var replays sync.WaitGroup // each ends with its DEL
	defer replays.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			r.start(ctx, &replays)
		}
	}
}

// replay replays all tombstones and waits for the end.
func (r *replayer) replay(ctx context.Context) {
	var replays sync.WaitGroup // each ends with its DEL
	r.start(ctx, &replays)
	replays.Wait()
}

// start begins the DELs that are not under way. The keeper bounds each, and how many
// run programs at a time.
func (r *replayer) start(ctx context.Context, replays *sync.WaitGroup) {
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
