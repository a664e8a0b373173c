//go:build root

package link_test

import (
	"errors"
	"os"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
)

// security S9, meta-cni A3: the settings that a pod can change can be read and restored.
func TestAttributesAreReadAndWrittenBack(t *testing.T) {
	h := handle(t)
	l := veth(t, h, "eth3", "peer")
	if l.NoARP || !l.Multicast || l.TxQLen == 0 || l.GSOMaxSize == 0 || l.GSOMaxSegs == 0 {
		t.Errorf("a new veth: %+v", l)
	}
	changed := link.Attributes{Alias: ptr("\x1b[2J"), TxQLen: ptr(7), Group: ptr(uint32(64030)),
		GSOMaxSize: ptr(9000), GSOMaxSegs: ptr(3), GROMaxSize: ptr(9001), GSOIPv4MaxSize: ptr(9002), GROIPv4MaxSize: ptr(9003),
		ARP: ptr(false), Multicast: ptr(false), Promisc: ptr(true), AllMulti: ptr(true), Up: ptr(true)}
	if err := h.SetAttributes(l.Index, changed); err != nil {
		t.Fatal(err)
	}
	got, err := h.ByIndex(l.Index)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(changed, attributesOf(got)); diff != "" {
		t.Error(diff)
	}
	was := attributesOf(l)
	if err := h.SetAttributes(l.Index, was); err != nil {
		t.Fatal(err)
	}
	got, err = h.ByIndex(l.Index)
	if diff := cmp.Diff(was, attributesOf(got)); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if err := h.SetAttributes(9999, link.Attributes{}); err != nil {
		t.Errorf("nothing to set: %v", err)
	}
	if err := h.SetAttributes(9999, link.Attributes{TxQLen: ptr(1)}); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("a link that is not there: %v, want ErrNotFound", err)
	}
}

func ptr[T any](v T) *T { return &v }

func attributesOf(l link.Link) link.Attributes {
	arp := !l.NoARP
	return link.Attributes{Alias: &l.Alias, TxQLen: &l.TxQLen, Group: &l.Group,
		GSOMaxSize: &l.GSOMaxSize, GSOMaxSegs: &l.GSOMaxSegs, GROMaxSize: &l.GROMaxSize,
		GSOIPv4MaxSize: &l.GSOIPv4MaxSize, GROIPv4MaxSize: &l.GROIPv4MaxSize,
		ARP: &arp, Multicast: &l.Multicast, Promisc: &l.Promisc, AllMulti: &l.AllMulti, Up: &l.Up}
}

// security S9: the XDP program of the last pod.
func TestXDPProgramsAreSeenAndDetached(t *testing.T) {
	modes := map[string][]int{
		"generic": {unix.XDP_FLAGS_SKB_MODE}, "driver": {unix.XDP_FLAGS_DRV_MODE},
		"none": nil,
	}
	for name, flags := range modes {
		t.Run(name, func(t *testing.T) {
			h := handle(t)
			l := veth(t, h, "eth3", "peer")
			program := xdpPass(t)
			for _, f := range flags {
				err := h.Do(func() error {
					return netlink.LinkSetXdpFdWithFlags(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.Index}}, program, f)
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if l, err := h.ByIndex(l.Index); err != nil || l.XDP != (len(flags) > 0) {
				t.Errorf("before: XDP %t, %v", l.XDP, err)
			}
			if err := h.DetachXDP(l.Index); err != nil {
				t.Error(err)
			}
			if l, err := h.ByIndex(l.Index); err != nil || l.XDP {
				t.Errorf("after: XDP %t, %v", l.XDP, err)
			}
		})
	}
}

// xdpPass loads the smallest XDP program: "return XDP_PASS".
func xdpPass(t *testing.T) int {
	t.Helper()
	program := [...]uint64{0x00000002_000000b7, 0x95} // r0 = XDP_PASS; exit
	license := [...]byte{'M', 'I', 'T', 0}
	attr := struct {
		programType, instructions uint32
		program, license          uint64
		_                         [96]byte
	}{
		programType: unix.BPF_PROG_TYPE_XDP, instructions: uint32(len(program)),
		program: uint64(uintptr(unsafe.Pointer(&program))), license: uint64(uintptr(unsafe.Pointer(&license))),
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		t.Fatal(os.NewSyscallError("bpf", errno))
	}
	t.Cleanup(func() { unix.Close(int(fd)) })
	return int(fd)
}
