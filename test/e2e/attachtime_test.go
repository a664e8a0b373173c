//go:build lab

package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	"fairlead.dev/fairlead/test/scenario"
)

// BenchmarkAttach is ADD and DEL of one pod at a time by kind of attachment, as the
// agent measures them: from the shim's request to its reply, the primary network's
// plugins included. The lab's nodes are emulated: compare kinds, not machines.
func BenchmarkAttach(b *testing.B) {
	install(b)
	b.Cleanup(func() {
		if err := cluster.Delete(context.Background(), scenario.AttachTimeNamespace); err != nil {
			b.Error(err)
		}
	})
	if err := scenario.StartAttachTime(b.Context(), cluster); err != nil {
		b.Fatal(err)
	}
	for _, kind := range scenario.AttachKinds() {
		b.Run(kind.Name, func(b *testing.B) {
			var adds, dels []time.Duration
			for range b.N {
				add, del, err := scenario.AttachTime(b.Context(), cluster, kind)
				if err != nil {
					b.Fatalf("%v\n%s", err, cluster.Diagnose(b.Context(), scenario.AttachTimeNamespace))
				}
				adds, dels = append(adds, add), append(dels, del)
			}
			b.ReportMetric(0, "ns/op") // most of an iteration is the kubelet's
			b.ReportMetric(milliseconds(adds, 50), "ADD-p50-ms")
			b.ReportMetric(milliseconds(adds, 90), "ADD-p90-ms")
			b.ReportMetric(milliseconds(dels, 50), "DEL-p50-ms")
		})
	}
}

// milliseconds returns a percentile of the values.
func milliseconds(values []time.Duration, percent int) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return float64(sorted[(len(sorted)-1)*percent/100]) / float64(time.Millisecond)
}
