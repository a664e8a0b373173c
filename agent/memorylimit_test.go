package agent

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/kube"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/sandbox"
)

const mib = 1 << 20

// memoryParts are the parts of the agent's memory that somebody else can fill, in the order of
// docs/design/memory.md.
func memoryParts() []struct {
	part, bound string
	bytes       int
} {
	const pods = 250 // of a node
	return []struct {
		part, bound string
		bytes       int
	}{
		{"the process without work", "measured", 48 * mib},
		{"net-attach-defs, parsed", "budget", kube.NetworksBudget},
		{"their names and versions", "10,000 × 800 bytes", 10_000 * 800},
		{"annotations of the node's pods", "250 × 2 × 64 KiB", pods * 2 * network.MaxAnnotationBytes},
		{"objects of 1.5 MB on their way through the decoder", "(4 requests + 2 watches) × 6 MiB", (kube.LargeRequests + 2) * 6 * mib},
		{"ADDs of usual size", "250 × 256 KiB", pods * sandbox.SmallAttach},
		{"ADDs of pods with large networks", "budget", sandbox.LargeAttaches},
		{"records that are being released", "250 × 3 × 256 KiB", pods * sandbox.RecordCopies * network.MaxPodConfigBytes},
	}
}

// S7: if everything is as large as it may be at the same time, the agent stays below the part
// of its limit that Go may use. The design page has the sum.
func TestTheBoundsStayBelowTheMemoryLimit(t *testing.T) {
	var table strings.Builder
	sum := 0
	for _, p := range memoryParts() {
		sum += p.bytes
		fmt.Fprintf(&table, "| %s | %s | %d |\n", p.part, p.bound, (p.bytes+mib-1)/mib)
	}
	fmt.Fprintf(&table, "| sum | | %d |\n", (sum+mib-1)/mib)
	manifest, page := read(t, "../deployments/fairlead.yaml"), read(t, "../docs/design/memory.md")
	found := regexp.MustCompile(`limits: \{memory: (\d+)Mi\}`).FindStringSubmatch(manifest)
	if found == nil {
		t.Fatal("the manifest has no memory limit")
	}
	limit, _ := strconv.Atoi(found[1])
	if allowed := limit * mib / 100 * heapShare; sum > allowed {
		t.Errorf("the parts add up to %d MiB, and %d %% of the limit are %d MiB", sum/mib, heapShare, allowed/mib)
	}
	if !strings.Contains(page, table.String()) || !strings.Contains(page, fmt.Sprintf("%d MiB", limit)) {
		t.Errorf("docs/design/memory.md does not have the limit of %d MiB and this table:\n%s", limit, table.String())
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLimitHeap(t *testing.T) {
	old := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(old)
	for _, tt := range []struct {
		env             string
		container, want int64
	}{{"", 1000, 900}, {"", 0, math.MaxInt64}, {"5GiB", 1000, math.MaxInt64}} {
		t.Setenv("GOMEMLIMIT", tt.env)
		debug.SetMemoryLimit(math.MaxInt64)
		limitHeap(tt.container)
		if got := debug.SetMemoryLimit(-1); got != tt.want {
			t.Errorf("GOMEMLIMIT=%q, container %d: %d, want %d", tt.env, tt.container, got, tt.want)
		}
	}
}
