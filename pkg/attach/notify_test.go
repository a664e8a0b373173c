package attach

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// meta-cni D3: ADD does not wait for a carrier. The neighbours are told when there is one, as
// long as the VF is in the pod.
func TestAnnouncementWaitsForTheCarrierBehindADD(t *testing.T) {
	const conf = `{"name": "fast", "type": "sriov", "ipam": {"type": "static", "addresses": [{"address": "10.1.0.2/24"}]}}`
	told := []string{"10.1.0.2 is at " + vf0MAC}
	for _, tt := range []struct {
		name  string
		after func(k *fakeKernel) // ADD
		want  []string
		pause int
	}{
		{"comes soon", func(k *fakeKernel) {
			wait := func() {}
			k.pending = append(k.pending, wait, wait, func() { k.vfs[vf0Addr].netdev.Carrier = true })
		}, told, 3},
		{"never comes", func(*fakeKernel) {}, nil, carrierTries},
		{"the namespace ends", func(k *fakeKernel) { k.spaces[podNS].gone = true }, nil, 1},
		{"the VF goes", func(k *fakeKernel) { k.spaces[podNS].links = nil }, nil, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, igb)
			k.slowCarrier = true
			s := k.set(t.TempDir())
			var work []func()
			s.later = func(w func()) { work = append(work, w) }
			pauses, pause := 0, s.pause
			s.pause = func(ctx context.Context, d time.Duration) error { pauses++; return pause(ctx, d) }
			att := prepared(t, s, "sriov", request(conf, vf0Addr))
			if _, err := attacherOf(t, s, "sriov").Bind(t.Context(), env, &att, podNS); err != nil {
				t.Fatal(err)
			}
			if pauses != 0 || len(work) != 1 || len(k.spaces[podNS].told) > 0 {
				t.Fatalf("ADD made %d pauses, left %d pieces of work, and told %v", pauses, len(work), k.spaces[podNS].told)
			}
			space, opened := k.spaces[podNS], k.opened-k.closed
			tt.after(k)
			work[0]()
			if diff := cmp.Diff(tt.want, space.told); diff != "" {
				t.Error(diff)
			}
			if pauses != tt.pause {
				t.Errorf("%d looks, want %d", pauses, tt.pause)
			}
			if k.opened-k.closed != opened {
				t.Error("a handle on the namespace is left open")
			}
		})
	}
}
