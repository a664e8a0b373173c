package cni

import (
	"context"

	"fairlead.dev/fairlead/cni/wire"
)

// ReplayTombstones does the DELs that the shim answered while the agent was away.
// A tombstone is removed when its DEL has succeeded, which includes that what
// could not be undone is recorded for a retry.
func (s *Server) ReplayTombstones(ctx context.Context) {
	tombs, err := s.o.Tombstones.List()
	if err != nil {
		s.log.Error("reading the tombstones", "error", err)
	}
	for _, tomb := range tombs {
		if ctx.Err() != nil {
			return
		}
		s.replay(ctx, tomb)
	}
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
