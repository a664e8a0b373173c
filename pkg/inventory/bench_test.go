package inventory_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// bigNode is a node with 8 PFs of 128 VFs each.
func bigNode(b *testing.B) *sysfstest.Tree {
	b.Helper()
	tree := sysfstest.New(b)
	for i := range 8 {
		tree.AddPF(nic(pci.Address{Bus: uint8(0x20 + 0x10*i)}, fmt.Sprintf("ens%d", i), 128))
	}
	return tree
}

// The promise: under 100 ms.
func BenchmarkCold1024VFs(b *testing.B) {
	tree := bigNode(b)
	started := cpuTime(b)
	for b.Loop() {
		s, err := inventory.New(inventory.Options{FS: tree.FS()}).Refresh(context.Background())
		if err != nil || s.NumVFs() != 1024 {
			b.Fatalf("%v VFs, %v", s, err)
		}
	}
	b.ReportMetric(float64((cpuTime(b)-started).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// cpuTime returns the CPU time that this process has used. On a busy machine it is more
// meaningful than the clock.
func cpuTime(b *testing.B) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// The promise: under 5 ms, without the pause that collects events.
func BenchmarkOneChangeOf1024VFs(b *testing.B) {
	tree := bigNode(b)
	inv := inventory.New(inventory.Options{FS: tree.FS()})
	if _, err := inv.Refresh(context.Background()); err != nil {
		b.Fatal(err)
	}
	vf := sysfstest.VFAddress(pci.Address{Bus: 0x50}, 128, 2, 77)
	mtu := 1500
	for b.Loop() {
		b.StopTimer()
		mtu++
		tree.SetAttr(vf, "net/ens3v77/mtu", fmt.Sprint(mtu))
		b.StartTimer()
		if err := inv.Update(vf); err != nil {
			b.Fatal(err)
		}
		if _, got, _ := inv.Snapshot().VF(vf); got.MTU != mtu {
			b.Fatalf("MTU %d, want %d", got.MTU, mtu)
		}
	}
}
