package agent

import (
	"os"
	"runtime/debug"
)

// heapShare is the part of the container's memory limit, in percent, that Go's heap and stacks
// may have. The kernel counts sockets and cached files too.
const heapShare = 90

// limitHeap has Go collect garbage harder before the container reaches its limit. The bounds
// of the parts keep the live memory below that: docs/design/memory.md. An administrator's
// GOMEMLIMIT wins.
func limitHeap(container int64) {
	if container > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(container / 100 * heapShare)
	}
}
