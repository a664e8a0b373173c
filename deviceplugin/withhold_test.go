package deviceplugin

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1beta1 "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// op#1046: a pod must not get a VF that a profile is about to remove.
func TestVFThatIsBeingChangedIsNotHandedOut(t *testing.T) {
	dir := shortDir(t)
	k := startKubelet(t, dir)
	n := newNode(t, dir)
	n.update(pool("f.io/fast", 0, 2))
	k.sees("f.io/fast", "10.0@1 10.2@1 10.4@1")
	free := func(pci.Address) error { return nil }
	end, err := n.Withhold([]pci.Address{vfAddr(0), vfAddr(1)}, free)
	if err != nil {
		t.Fatal(err)
	}
	other, err := n.Withhold([]pci.Address{vfAddr(0)}, free)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(i int) {
		t.Helper()
		if _, err := k.allocate("f.io/fast", ids(i)...); status.Code(err) != codes.Unavailable {
			t.Errorf("VF %d: %v, want it refused", i, err)
		}
	}
	granted := func(i int) {
		t.Helper()
		if _, err := k.allocate("f.io/fast", ids(i)...); err != nil {
			t.Errorf("VF %d: %v", i, err)
		}
	}
	refused(0)
	refused(1)
	granted(2)
	end()
	end() // once more changes nothing
	refused(0)
	granted(1)
	other()
	granted(0)
}

func TestWithholdKeepsNothingAfterAFailedCheck(t *testing.T) {
	n := newNode(t, shortDir(t))
	held := errors.New("held")
	end, err := n.Withhold([]pci.Address{vfAddr(0), vfAddr(1)}, func(vf pci.Address) error {
		if len(n.withheld.vfs) != 2 {
			t.Errorf("checked with %v withheld, want both VFs", n.withheld.vfs)
		}
		if vf == vfAddr(1) {
			return held
		}
		return nil
	})
	if !errors.Is(err, held) || end != nil || len(n.withheld.vfs) != 0 {
		t.Errorf("%v, withheld %v; want the check's error and none", err, n.withheld.vfs)
	}
}

// slowBook has a disk that takes its time.
type slowBook struct {
	*book
	writing, written chan struct{}
}

func (b slowBook) PutAllocations(a []ledger.Allocation) error {
	close(b.writing)
	<-b.written
	return b.book.PutAllocations(a)
}

// A VF that is being handed out is on record when the check looks.
func TestWithholdWaitsForTheRecord(t *testing.T) {
	b := newBench(t, igb(1))
	slow := slowBook{b.ledger, make(chan struct{}), make(chan struct{})}
	b.opts.Ledger = slow
	m := New(b.opts)
	srv := newServer("f/fast", &b.opts)
	srv.withheld = m.withheld
	pf := igb(1)
	srv.set(Assign(inventory.NewSnapshot([]device.PF{pf}, nil), []device.Pool{pool("f/fast", 0, 0)}, nil).Pools[0].Devices)

	allocated, checked := make(chan error), make(chan int, 1)
	go func() {
		_, err := srv.Allocate(t.Context(), &v1beta1.AllocateRequest{ContainerRequests: []*v1beta1.ContainerAllocateRequest{{DevicesIds: ids(0)}}})
		allocated <- err
	}()
	<-slow.writing
	go m.Withhold([]pci.Address{vfAddr(0)}, func(pci.Address) error {
		kept, _ := slow.Allocations()
		checked <- len(kept)
		return nil
	})
	select {
	case n := <-checked:
		t.Fatalf("checked with %d allocations on record, while one is being written", n)
	case <-time.After(20 * time.Millisecond):
	}
	close(slow.written)
	if err := <-allocated; err != nil {
		t.Fatal(err)
	}
	if n := <-checked; n != 1 {
		t.Errorf("checked with %d allocations on record, want 1", n)
	}
}
