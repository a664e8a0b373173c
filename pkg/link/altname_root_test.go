//go:build root

package link_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

// security S8: a pod gives its VF as many altnames as the kernel takes. The VF is
// still found, and so are the links that a listing has after it.
func TestAltNameBomb(t *testing.T) {
	h := handle(t)
	vf := veth(t, h, "vf0", "vf0peer")
	nic := veth(t, h, "nic0", "nic0peer") // behind it in every listing
	if err := h.IP.AddAddress(nic.Index, link.IPAddress{IPNet: cidr("192.0.2.1/24")}); err != nil {
		t.Fatal(err)
	}
	addAltNames(t, h, vf.Index, maxAltNames)
	if err := h.AddAltName(vf.Index, "one-more"); err == nil {
		t.Fatal("the kernel takes more altnames than this test knows")
	}

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	byIndex, err := h.ByIndex(vf.Index)
	if err != nil || len(byIndex.AltNames) != maxAltNames {
		t.Errorf("ByIndex: %d altnames, %v", len(byIndex.AltNames), err)
	}
	if l, err := h.ByName(altName(maxAltNames - 1)); err != nil || l.Index != vf.Index {
		t.Errorf("ByName: link %d, %v", l.Index, err)
	}
	names(t, h, "lo", "vf0", "vf0peer", "nic0", "nic0peer")
	if used := inUse(t, h); used["nic0"] != "with the address 192.0.2.1/24" {
		t.Errorf("in use: %v", used)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("this took %d KiB", used>>10)
	}
	for _, name := range byIndex.AltNames {
		if err := h.DeleteAltName(vf.Index, name); err != nil {
			t.Fatal(err)
		}
	}
}

// maxAltNames, times 127 bytes, a zero and a header, is what one attribute holds.
const maxAltNames = 496

// security S8: the events of such a link do not end the subscriptions.
func TestAltNameBombInEvents(t *testing.T) {
	path := netnstest.New(t)
	h := handleAt(t, path)
	vf := veth(t, h, "vf0", "vf0peer")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var events <-chan link.Event
	inside(t, path, func() (err error) {
		events, err = link.Subscribe(ctx)
		return err
	})
	uses := watchUse(t, path)
	addAltNames(t, h, vf.Index, maxAltNames)
	if err := h.Rename(vf.Index, "net1"); err != nil {
		t.Fatal(err)
	}
	if err := h.SetUp(vf.Index); err != nil {
		t.Fatal(err)
	}
	await(t, events, func(e link.Event) bool { return e.Lost || e.Link.Name == "net1" })
	if u, err := uses.Of(vf.Index); err != nil || u.Name != "net1" {
		t.Errorf("the table has %+v, %v", u, err)
	}
}

func altName(n int) string { return fmt.Sprintf("%0127d", n) }

// addAltNames gives a link many altnames, a few hundred in one message.
func addAltNames(t *testing.T, h *link.Handle, index, count int) {
	t.Helper()
	for from := 0; from < count; from += 100 {
		list := nl.NewRtAttr(unix.IFLA_PROP_LIST|unix.NLA_F_NESTED, nil)
		for n := from; n < min(from+100, count); n++ {
			list.AddChild(nl.NewRtAttr(unix.IFLA_ALT_IFNAME, nl.ZeroTerminated(altName(n))))
		}
		req := nl.NewNetlinkRequest(unix.RTM_NEWLINKPROP, unix.NLM_F_ACK)
		ifi := nl.NewIfInfomsg(unix.AF_UNSPEC)
		ifi.Index = int32(index)
		req.AddData(ifi)
		req.AddData(list)
		err := h.Do(func() error {
			_, err := req.Execute(unix.NETLINK_ROUTE, 0)
			return err
		})
		if err != nil && !strings.Contains(err.Error(), "exists") {
			t.Fatal(err)
		}
	}
}
