package cni

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/cni/wire"
)

// replayBeforeServing works tombstones off before the first call is served, for so
// long that a plugin that hangs, or a thousand tombstones, keep no pod from starting.
func (s *Server) replayBeforeServing(ctx context.Context, group *sync.WaitGroup) {
	done := make(chan struct{})
	group.Go(func() { // each DEL has its own limit, and ctx ends them all
		defer close(done)
		s.ReplayTombstones(ctx)
	})
	select {
	case <-done:
	case <-time.After(replayTimeout):
		s.log.Warn("working off the DELs from while the agent was away takes long; it goes on beside the calls")
	}
}

// sideBySide is how many sandboxes are released at a time without a call for it.
const sideBySide = 4

// ReplayTombstones does the DELs that the shim answered while the agent was away.
// A tombstone is removed when its DEL has succeeded, which includes that what
// could not be undone is recorded for a retry. Where a replay is under way, it
// leaves them to that one.
func (s *Server) ReplayTombstones(ctx context.Context) {
	if !s.replaying.TryLock() {
		return
	}
	defer s.replaying.Unlock()
	tombs, err := s.o.Tombstones.List()
	if err != nil {
		s.log.Error("reading the tombstones", "error", err)
	}
	var group errgroup.Group
	group.SetLimit(sideBySide)
	for _, tomb := range tombs {
		group.Go(func() error {
			if ctx.Err() == nil {
				s.replay(ctx, tomb)
			}
			return nil
		})
	}
	_ = group.Wait()
}

func (s *Server) replay(ctx context.Context, tomb wire.Tombstone) {
	log := s.log.With("sandbox", tomb.Request.ContainerID, "interface", tomb.Request.IfName)
	if tomb.Damage != "" {
		log.Warn("a tombstone is damaged; the sandbox is released by its name", "damage", tomb.Damage)
	}
	// One plugin that hangs must not keep the agent from serving.
	ctx, cancel := context.WithTimeout(ctx, undoTimeout)
	defer cancel()
	tomb.Request.Command = "DEL"
	c, _ := parseCall(tomb.Request, s.o.HostExec, s.o.Now()) // no error: a DEL is served whatever its config
	if err := s.del(ctx, c); err != nil {
		log.Error("working a tombstone off; it stays for a retry", "error", err)
		s.retryLater()
		return
	}
	if err := s.o.Tombstones.Remove(tomb); err != nil {
		log.Error("removing a tombstone; its DEL will be done once more, which is harmless", "error", err)
		return
	}
	log.Info("worked off a DEL from while the agent was away", "pod", c.pod.String(), "at", tomb.At)
}
