package deviceplugin

import (
	"errors"
	"strings"
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

// op#1046, devices A3: a pod must not get a VF that a profile is about to remove. The
// kubelet knows before the profile's check runs, so that no pod fails.
func TestVFThatIsBeingChangedIsNotHandedOut(t *testing.T) {
	dir := shortDir(t)
	k := startKubelet(t, dir)
	n := newNode(t, dir)
	n.update(pool("f.io/fast", 0, 2))
	k.sees("f.io/fast", "10.0@1 10.2@1 10.4@1")
	withhold := func(vfs ...int) func() {
		t.Helper()
		var addrs []pci.Address
		for _, i := range vfs {
			addrs = append(addrs, vfAddr(i))
		}
		checked := 0
		end, err := n.Withhold(addrs, func(vf pci.Address) error {
			checked++
			for _, d := range n.State().Pools[0].Devices {
				if d.VF.Address == vf && d.Reason != "a profile is changing it" {
					t.Errorf("checked while the reason of %s is %q", vf, d.Reason)
				}
			}
			if s := n.servers["f.io/fast"]; s.sent != s.version {
				t.Error("checked before the kubelet was sent the list")
			}
			return nil
		})
		if err != nil || checked != len(vfs) {
			t.Fatalf("%v after %d checks", err, checked)
		}
		return end
	}
	end := withhold(0, 1)
	k.sees("f.io/fast", "10.0@1(Unhealthy) 10.2@1(Unhealthy) 10.4@1")
	other := withhold(0)
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
	k.sees("f.io/fast", "10.0@1(Unhealthy) 10.2@1 10.4@1")
	granted(1)
	other()
	k.sees("f.io/fast", "10.0@1 10.2@1 10.4@1")
	granted(0)
}

// devices A3: between the list and the change the kubelet may still choose the VF. Its
// pod gets it, and the check finds it on record.
func TestAllocateWhileTheListIsOnItsWay(t *testing.T) {
	dir := shortDir(t)
	k := startKubelet(t, dir)
	n := newNode(t, dir)
	n.update(pool("f.io/fast", 0, 0))
	k.sees("f.io/fast", "10.0@1")
	n.withheld.add([]pci.Address{vfAddr(0)}, 1)
	n.reassign()
	k.sees("f.io/fast", "10.0@1(Unhealthy)")
	if _, err := k.allocate("f.io/fast", ids(0)...); err != nil {
		t.Errorf("refused before the change begins: %v", err)
	}
}

// A kubelet that does not read keeps no profile from its work.
func TestWithholdWithAKubeletThatDoesNotRead(t *testing.T) {
	n := newNode(t, shortDir(t))
	n.opts.Patience = 20 * time.Millisecond
	n.update(pool("f.io/fast", 0, 0))
	waitUntil(t, func() bool { return len(n.State().Problems) > 0 }) // its server is there
	n.servers["f.io/fast"].count(1)                                  // a stream that sends nothing
	end, err := n.Withhold([]pci.Address{vfAddr(0)}, func(pci.Address) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	end()
}

// After a change, a VF is inspected before it is Healthy again: the snapshot may be older.
func TestWithheldVFComesBackInspected(t *testing.T) {
	dir := shortDir(t)
	k := startKubelet(t, dir)
	n := newNode(t, dir)
	kernel := pool("f.io/fast", 0, 0)
	kernel.Selectors[0].Driver = device.KernelDriver
	n.update(kernel)
	k.sees("f.io/fast", "10.0@1")
	end, err := n.Withhold([]pci.Address{vfAddr(0)}, func(pci.Address) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	n.tree.LoadDriver("vfio-pci")
	if err := n.tree.FS().BindDriver(vfAddr(0), "vfio-pci"); err != nil {
		t.Fatal(err)
	}
	end()
	if got := n.State().Pools[0].Devices[0].Reason; !strings.Contains(got, "it is bound to vfio-pci") {
		t.Errorf("its reason is %q", got)
	}
}

// devices A3: a PF stands for its VFs while their number changes.
func TestWithholdOfAPF(t *testing.T) {
	dir := shortDir(t)
	k := startKubelet(t, dir)
	n := newNode(t, dir)
	n.update(pool("f.io/fast", 0, 6))
	k.sees("f.io/fast", "10.0@1 10.2@1 10.4@1")
	end, err := n.Withhold([]pci.Address{pfAddr}, func(pci.Address) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	k.sees("f.io/fast", "10.0@1(Unhealthy) 10.2@1(Unhealthy) 10.4@1(Unhealthy)")
	for _, numVFs := range []int{0, 4} {
		if err := n.tree.FS().SetNumVFs(pfAddr, numVFs); err != nil {
			t.Fatal(err)
		}
	}
	n.update(pool("f.io/fast", 0, 6))
	k.sees("f.io/fast", "10.0@1(Unhealthy) 10.2@1(Unhealthy) 10.4@1(Unhealthy) 10.6@1(Unhealthy)")
	end()
	k.sees("f.io/fast", "10.0@1 10.2@1 10.4@1 10.6@1")
}

func TestWithholdKeepsNothingAfterAFailedCheck(t *testing.T) {
	n := newNode(t, shortDir(t))
	held := errors.New("held")
	end, err := n.Withhold([]pci.Address{vfAddr(0), vfAddr(1)}, func(vf pci.Address) error {
		if len(n.withheld.functions) != 2 || len(n.desk.changing) != 2 {
			t.Errorf("checked with %v withheld, want both VFs", n.withheld.functions)
		}
		if vf == vfAddr(1) {
			return held
		}
		return nil
	})
	if !errors.Is(err, held) || end != nil || len(n.withheld.functions)+len(n.desk.changing) != 0 {
		t.Errorf("%v, withheld %v; want the check's error and none", err, n.withheld.functions)
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
	srv := newServer("f/fast", &b.opts, m.suspects)
	pf := igb(1)
	snapshot := inventory.NewSnapshot([]device.PF{pf}, nil)
	b.desk.devices(snapshot)
	srv.set(Assign(snapshot, []device.Pool{pool("f/fast", 0, 0)}, b.desk.View()).Pools[0].Devices)

	allocated, checked := make(chan error), make(chan int, 1)
	go func() {
		_, err := srv.Allocate(t.Context(), &v1beta1.AllocateRequest{ContainerRequests: []*v1beta1.ContainerAllocateRequest{{DevicesIds: ids(0)}}})
		allocated <- err
	}()
	<-slow.writing
	go m.Withhold([]pci.Address{vfAddr(0)}, func(pci.Address) error {
		checked <- len(slow.allocations())
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
