package kube

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// NetworksBudget bounds the net-attach-defs of the cluster that are kept parsed, in bytes
	// of memory. The others are requested and parsed for each pod that names them. That is
	// slower, and needs the API server.
	NetworksBudget = 32 << 20
	// largeNetwork is the size from which on a net-attach-def counts as large. Ordinary ones
	// have about 2 KiB. Large ones get half of the budget: whoever may create net-attach-defs
	// cannot crowd out everybody's with a few hundred.
	largeNetwork = 16 << 10
)

// budget counts the memory of kept objects, by key. An object counts from the moment at which
// it is parsed: the informer's handlers hear of it much later if there are many.
type budget struct {
	mu   sync.Mutex // guards the rest
	kept map[string]keptObject
	used int
}

type keptObject struct {
	uid  types.UID
	size int
}

func newBudget() *budget { return &budget{kept: map[string]keptObject{}} }

// keep reports whether an object of the size may be kept, in place of an earlier one with
// the key.
func (b *budget) keep(key string, uid types.UID, size int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropLocked(key)
	limit := NetworksBudget
	if size > largeNetwork {
		limit /= 2
	}
	if b.used+size > limit {
		return false
	}
	b.kept[key] = keptObject{uid, size}
	b.used += size
	return true
}

// drop forgets an object that was deleted, unless another one has its key by now.
func (b *budget) drop(key string, uid types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept[key].uid == uid {
		b.dropLocked(key)
	}
}

// dropLocked is drop; b.mu is held.
func (b *budget) dropLocked(key string) {
	b.used -= b.kept[key].size
	delete(b.kept, key)
}
