package attach

import (
	"context"
	"fmt"
	"testing"

	"fairlead.dev/fairlead/pkg/pci"
)

const allKnobs = `{"cniVersion": "1.0.0", "name": "fast", "type": "sriov", "vlan": 100, "mac": "02:00:00:cc:00:01",
	"spoofchk": "off", "trust": "on", "max_tx_rate": 50, "mtu": 9000}`

// meta-cni E3, E4: the kernel walks all VFs of a PF to report one, and every message
// holds the node's link lock.
func TestMessagesOfAnADD(t *testing.T) {
	tests := []struct {
		name, conf                   string
		addMessages, addDumps        int // at most; Prepare is part of it
		delMessages, delDumps, reads int // reads of the whole PF in sysfs, of ADD and DEL
	}{
		{"a plain VF", plain, 12, 1, 12, 1, 1},
		{"a VF with all knobs", allKnobs, 16, 2, 20, 2, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newNodeOf(t, 256)
			s := k.set(t.TempDir())
			add, del := addAndDel(t, k, s, tt.conf)
			t.Logf("ADD %+v, DEL %+v", add, del)
			if add.messages > tt.addMessages || add.dumps > tt.addDumps {
				t.Errorf("ADD took %+v, want at most %d messages and %d dumps", add, tt.addMessages, tt.addDumps)
			}
			if del.messages > tt.delMessages || del.dumps > tt.delDumps {
				t.Errorf("DEL took %+v, want at most %d messages and %d dumps", del, tt.delMessages, tt.delDumps)
			}
			if reads := add.pfReads + del.pfReads; reads > tt.reads {
				t.Errorf("sysfs read the whole PF %d times, want %d", reads, tt.reads)
			}
		})
	}
}

// cost counts the questions of a call to the kernel.
type cost struct{ messages, dumps, pfReads int }

func addAndDel(t testing.TB, k *fakeKernel, s *Set, conf string) (add, del cost) {
	t.Helper()
	a := attacher{s, "sriov"}
	k.messages, k.dumps, k.pfReads = 0, 0, 0
	att, err := a.Prepare(context.Background(), request(conf, vf0Addr))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Bind(context.Background(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	add = cost{k.messages, k.dumps, k.pfReads}
	k.messages, k.dumps, k.pfReads = 0, 0, 0
	if err := a.Release(context.Background(), env, att, podNS); err != nil {
		t.Fatal(err)
	}
	return add, cost{k.messages, k.dumps, k.pfReads}
}

// newNodeOf has a PF with the given number of VFs.
func newNodeOf(t testing.TB, vfs int) *fakeKernel {
	k := newNode(t, igb)
	pf := k.spaces[""].links["eth1"]
	for n := len(pf.vfs); n < vfs; n++ {
		addr := pci.MustParseAddress(fmt.Sprintf("0000:02:%02x.%d", n/8, n%8))
		k.addVF(pf, addr, fmt.Sprintf("02:00:00:01:00:%02x", n), "igbvf", fmt.Sprintf("vf%d", n))
	}
	return k
}

func BenchmarkMessages(b *testing.B) {
	for name, conf := range map[string]string{"plain": plain, "all knobs": allKnobs} {
		b.Run(name, func(b *testing.B) {
			k := newNodeOf(b, 256)
			s := k.set(b.TempDir())
			var add, del cost
			for b.Loop() {
				add, del = addAndDel(b, k, s, conf)
			}
			b.ReportMetric(float64(add.messages), "ADD-msgs")
			b.ReportMetric(float64(add.dumps), "ADD-dumps")
			b.ReportMetric(float64(del.messages), "DEL-msgs")
			b.ReportMetric(float64(del.dumps), "DEL-dumps")
		})
	}
}

// meta-cni E10: three networks of a pod share one handle on each side.
func TestHandlesOfThreeNetworks(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	handles := s.Open(env.call(podNS).Netns)
	for i, conf := range []string{plain, `{"type": "macvlan", "master": "eth1"}`, `{"type": "ipvlan", "master": "eth1"}`} {
		list, err := listOf("", conf)
		if err != nil {
			t.Fatal(err)
		}
		c := env.call(podNS)
		c.Handles, c.IfName = handles, fmt.Sprintf("net%d", i+1)
		if i == 0 {
			c.Device = vf0Addr
		}
		att, err := s.Prepare(t.Context(), c, list)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Add(t.Context(), c, &att); err != nil {
			t.Fatal(err)
		}
	}
	if k.opened != 2 {
		t.Errorf("%d handles were opened, want 2", k.opened)
	}
	handles.Close()
	if k.closed != 2 {
		t.Errorf("%d handles were closed, want 2", k.closed)
	}
}
