//go:build root

package link_test

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

// devices B9: the use of 1,000 links, by a listing and by a table that one change
// reaches.
func BenchmarkUse1000Links(b *testing.B) {
	path := netnstest.New(b)
	h := handleAt(b, path)
	var l link.Link
	for n := range 500 { // pairs
		l = veth(b, h, fmt.Sprintf("v%d", n), fmt.Sprintf("p%d", n))
		if err := h.AddAddress(l.Index, link.Address{IPNet: cidr(fmt.Sprintf("10.%d.%d.1/24", n/256, n%256))}); err != nil {
			b.Fatal(err)
		}
		if err := h.SetUp(l.Index); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("listing", func(b *testing.B) {
		defer reportCPU(b)()
		b.ReportAllocs()
		for b.Loop() {
			if uses, err := h.Uses(); err != nil || len(uses) != 500 {
				b.Fatal(len(uses), err)
			}
		}
	})
	uses := watchUse(b, path)
	address := cidr("192.0.2.1/24")
	flip := func(b *testing.B, n int) {
		var err error
		if n%2 == 0 {
			err = h.AddAddress(l.Index, link.Address{IPNet: address})
		} else {
			err = h.DeleteAddress(l.Index, address)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	even := func(b *testing.B, n int) { // leaves the link without the address
		if n%2 == 1 {
			flip(b, 1)
		}
	}
	b.Run("change/floor", func(b *testing.B) { // the cost of the change itself, and of the watch
		defer reportCPU(b)()
		n := 0
		for ; b.Loop(); n++ {
			flip(b, n)
		}
		even(b, n)
	})
	b.Run("change", func(b *testing.B) {
		defer reportCPU(b)()
		b.ReportAllocs()
		n := 0
		for ; b.Loop(); n++ {
			flip(b, n)
			if _, err := uses.Of(l.Index); err != nil {
				b.Fatal(err)
			}
		}
		even(b, n)
	})
	b.Run("change/all", func(b *testing.B) { // with a new map of all links in use
		defer reportCPU(b)()
		b.ReportAllocs()
		n := 0
		for ; b.Loop(); n++ {
			flip(b, n)
			if _, err := uses.All(); err != nil {
				b.Fatal(err)
			}
		}
		even(b, n)
	})
	b.Run("question", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if all, err := uses.All(); err != nil || len(all) != 500 {
				b.Fatal(len(all), err)
			}
		}
	})
}

// reportCPU adds the CPU time of the process and of the kernel for it: other than the
// time passed, it means something on a loaded machine.
func reportCPU(b *testing.B) (done func()) {
	used := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

func BenchmarkOpen(b *testing.B) {
	path := netnstest.New(b)
	b.ReportAllocs()
	for b.Loop() {
		h, err := link.OpenAt(path)
		if err != nil {
			b.Fatal(err)
		}
		h.Close()
	}
}

func BenchmarkByName(b *testing.B) {
	h := handle(b)
	veth(b, h, "eth3", "peer")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.ByName("eth3"); err != nil {
			b.Fatal(err)
		}
	}
}
