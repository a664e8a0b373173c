//go:build root

package link_test

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

func TestMacvlanIsBornInTheTargetWithEverythingSet(t *testing.T) {
	host, pod := handle(t), handle(t)
	uplink := veth(t, host, "up0", "up0peer")
	spec := link.Spec{Name: "net1", Parent: uplink.Index, MTU: 1400, MAC: "02:00:00:cc:00:01", Group: 77}
	got, err := host.AddMacvlan(spec, "bridge", 0, pod)
	if err != nil {
		t.Fatal(err)
	}
	want := link.Link{Name: "net1", Kind: "macvlan", Mode: "bridge", MTU: 1400, MAC: "02:00:00:cc:00:01", Group: 77}
	got = link.Link{Name: got.Name, Kind: got.Kind, Mode: got.Mode, MTU: got.MTU, MAC: got.MAC, Group: got.Group}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := host.ByName("net1"); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("net1 lies in the host's namespace too: %v", err)
	}
	if _, err := host.AddMacvlan(spec, "bridge", 0, pod); !errors.Is(err, link.ErrExists) {
		t.Errorf("a second net1: %v, want ErrExists", err)
	}
	names(t, pod, "lo", "net1")
}

// A VF that a dead pod left as net1 in the host must not keep others from having a net1.
func TestMacvlanIsBornThoughTheHostHasALinkOfThatName(t *testing.T) {
	host, pod := handle(t), handle(t)
	uplink := veth(t, host, "net1", "peer")
	if _, err := host.AddMacvlan(link.Spec{Name: "net1", Parent: uplink.Index}, "bridge", 0, pod); err != nil {
		t.Fatal(err)
	}
	names(t, pod, "lo", "net1")
	names(t, host, "lo", "net1", "peer")
}

func TestMoveCarriesTheFinalNameAndIndex(t *testing.T) {
	host, pod := handle(t), handle(t)
	vf := veth(t, host, "eth3", "peer")
	if err := host.SetUp(vf.Index); err != nil {
		t.Fatal(err)
	}
	const index = 77
	if err := host.MoveTo(vf.Index, pod, "net1", index); err != nil {
		t.Fatal(err)
	}
	moved, err := pod.ByName("net1")
	if err != nil {
		t.Fatal(err)
	}
	if moved.Up || moved.MAC != vf.MAC || moved.Index != index {
		t.Errorf("arrived as %+v: want it down, with MAC %s and index %d", moved, vf.MAC, index)
	}
	names(t, host, "lo", "peer")
	names(t, pod, "lo", "net1")
}

func TestMoveToATakenIndexGetsAnother(t *testing.T) {
	host, pod := handle(t), handle(t)
	there := veth(t, pod, "eth0", "eth0peer")
	vf := veth(t, host, "eth3", "peer")
	if err := host.MoveTo(vf.Index, pod, "net1", there.Index); err != nil {
		t.Fatal(err)
	}
	names(t, host, "lo", "peer")
	names(t, pod, "eth0", "eth0peer", "lo", "net1")
}

func TestMoveToATakenNameLeavesTheLinkWhereItWas(t *testing.T) {
	host, pod := handle(t), handle(t)
	veth(t, pod, "net1", "net2")
	vf := veth(t, host, "eth3", "peer")
	if err := host.MoveTo(vf.Index, pod, "net1", 0); !errors.Is(err, link.ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	names(t, host, "eth3", "lo", "peer")
	names(t, pod, "lo", "net1", "net2")
}

// meta-cni E10: why MoveTo looks the name up first. The kernel moves before it
// renames, so that its own EEXIST leaves the link on the wrong side.
func TestTheKernelMovesBeforeItRenames(t *testing.T) {
	host, pod := handle(t), handle(t)
	veth(t, pod, "net1", "net2")
	vf := veth(t, host, "eth3", "peer")
	if err := host.MoveTo(vf.Index, blind{pod}, "net1", 0); !errors.Is(err, link.ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	names(t, host, "lo", "peer")
	names(t, pod, "eth3", "lo", "net1", "net2")
}

// blind is a target in which no link is found.
type blind struct{ *link.Handle }

func (blind) ByName(string) (link.Link, error) { return link.Link{}, &link.Error{Err: unix.ENODEV} }

func TestDeleteGroupSparesOthers(t *testing.T) {
	host, pod := handle(t), handle(t)
	uplink := veth(t, host, "up0", "up0peer")
	for _, name := range []string{"net1", "net2", "net3"} {
		if _, err := host.AddMacvlan(link.Spec{Name: name, Parent: uplink.Index, Group: 77}, "bridge", 0, pod); err != nil {
			t.Fatal(err)
		}
	}
	veth(t, pod, "eth0", "eth0peer")
	if err := pod.DeleteGroup(77); err != nil {
		t.Fatal(err)
	}
	names(t, pod, "eth0", "eth0peer", "lo")
	if err := pod.DeleteGroup(77); err != nil {
		t.Errorf("a group without links: %v", err)
	}
}

func TestChangesAreReadBack(t *testing.T) {
	h := handle(t)
	l := veth(t, h, "eth3", "peer")
	steps := []struct {
		name string
		do   func() error
	}{
		{"SetMTU", func() error { return h.SetMTU(l.Index, 1300) }},
		{"SetMAC", func() error { return h.SetMAC(l.Index, "02:00:00:cc:00:02") }},
		{"Rename", func() error { return h.Rename(l.Index, "renamed") }},
		{"SetUp", func() error { return h.SetUp(l.Index) }},
		{"SetDown", func() error { return h.SetDown(l.Index) }},
		{"SetUp again", func() error { return h.SetUp(l.Index) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	got, err := h.ByIndex(l.Index)
	if err != nil {
		t.Fatal(err)
	}
	if got.MTU != 1300 || got.MAC != "02:00:00:cc:00:02" || got.Name != "renamed" || !got.Up {
		t.Errorf("got %+v", got)
	}
	if err := h.SetMTU(l.Index, 10); !errors.Is(err, unix.EINVAL) {
		t.Errorf("MTU 10: %v, want EINVAL", err)
	}
	if err := h.SetMTU(9999, 1500); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("a link that is not there: %v, want ErrNotFound", err)
	}
}

func TestAltNamesAreFound(t *testing.T) {
	h := handle(t)
	l := veth(t, h, "eth3", "peer")
	long := "a-name-of-more-than-fifteen-bytes"
	for _, alt := range []string{"fast0", long} {
		if err := h.AddAltName(l.Index, alt); err != nil {
			t.Fatal(err)
		}
	}
	for _, alt := range []string{"fast0", long} {
		got, err := h.ByName(alt)
		if err != nil || got.Index != l.Index {
			t.Errorf("ByName(%q) = %+v, %v", alt, got, err)
		}
	}
	got, _ := h.ByIndex(l.Index)
	if diff := cmp.Diff([]string{"fast0", long}, got.AltNames); diff != "" {
		t.Error(diff)
	}
}

// pkg/attach relies on these answers (cni#250, cni#445).
func TestAltNamesAreTaken(t *testing.T) {
	h, pod := handle(t), handle(t)
	l := veth(t, h, "eth3", "peer")
	if err := h.AddAltName(l.Index, "fast0"); err != nil {
		t.Fatal(err)
	}
	if err := h.AddAltName(l.Index, "peer"); !errors.Is(err, link.ErrExists) {
		t.Errorf("another link's name: %v, want ErrExists", err)
	}
	if err := h.Rename(l.Index, "fast0"); !errors.Is(err, link.ErrExists) {
		t.Errorf("its own altname: %v, want ErrExists", err)
	}
	if err := h.DeleteAltName(l.Index, "fast0"); err != nil {
		t.Fatal(err)
	}
	if err := h.DeleteAltName(l.Index, "fast0"); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("one that is not there: %v, want ErrNotFound", err)
	}
	if err := h.Rename(l.Index, "fast0"); err != nil {
		t.Error(err)
	}
	if err := h.AddAltName(l.Index, "net2"); err != nil {
		t.Fatal(err)
	}
	veth(t, pod, "net2", "net3")
	if err := h.MoveTo(l.Index, pod, "net1", 0); err != nil && !errors.Is(err, link.ErrExists) { // before kernel 6.6 it moves
		t.Errorf("to where its altname is taken: %v, want ErrExists", err)
	} else if err != nil {
		names(t, h, "fast0", "lo", "peer")
	}
}

func TestSettingsOfALinkWithoutVFs(t *testing.T) {
	h := handle(t)
	l := veth(t, h, "eth3", "peer")
	if _, err := h.VFs(l.Index); !errors.Is(err, link.ErrUnsupported) {
		t.Errorf("VFs of a veth: %v, want ErrUnsupported", err)
	}
	vlan, trust, mtu, proto := 100, true, 9000, device.Proto8021AD
	for _, s := range []device.Settings{{VLAN: &vlan}, {VLAN: &vlan, VLANProto: &proto}, {Trust: &trust}} {
		if err := h.SetVF(l.Index, 0, s); !errors.Is(err, link.ErrUnsupported) {
			t.Errorf("%+v of a veth's VF: %v, want ErrUnsupported", s, err)
		}
	}
	if err := h.SetVF(l.Index, 0, device.Settings{MTU: &mtu}); err != nil {
		t.Errorf("nothing for the PF: %v", err)
	}
}

func TestAddressesAndRoutes(t *testing.T) {
	h := handle(t)
	l := veth(t, h, "eth3", "peer")
	if err := h.SetUp(l.Index); err != nil {
		t.Fatal(err)
	}
	if err := h.IP.AddAddress(l.Index, link.IPAddress{IPNet: cidr("10.1.0.5/24")}); err != nil {
		t.Fatal(err)
	}
	if err := h.IP.AddAddress(l.Index, link.IPAddress{IPNet: cidr("10.1.0.5/24")}); !errors.Is(err, link.ErrExists) {
		t.Errorf("the address twice: %v, want ErrExists", err)
	}
	if _, err := h.IP.DefaultLink(); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("default route of an empty table: %v, want ErrNotFound", err)
	}
	gw := net.ParseIP("10.1.0.1").To4()
	for _, dst := range []string{"10.9.0.0/16", "0.0.0.0/0"} {
		if err := h.IP.AddRoute(link.Route{Link: l.Index, Dst: cidr(dst), GW: gw}); err != nil {
			t.Fatal(err)
		}
	}
	routes, err := h.IP.Routes(l.Index)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range routes {
		if r.Table == unix.RT_TABLE_MAIN && r.Dst.IP.To4() != nil {
			got = append(got, r.String())
		}
	}
	want := []string{"0.0.0.0/0 via 10.1.0.1", "10.1.0.0/24", "10.9.0.0/16 via 10.1.0.1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if def, err := h.IP.DefaultLink(); err != nil || def.Name != "eth3" {
		t.Errorf("DefaultLink = %+v, %v", def, err)
	}
}

func TestAnOptimisticAddressIsUsableAtOnce(t *testing.T) {
	path := netnstest.New(t)
	h := handleAt(t, path)
	for _, sysctl := range []string{"0", "1"} {
		l := veth(t, h, "eth"+sysctl, "peer"+sysctl)
		inside(t, path, func() error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/eth"+sysctl+"/optimistic_dad", []byte(sysctl), 0)
		})
		if err := h.IP.AddAddress(l.Index, link.IPAddress{IPNet: cidr("fd00::5/64"), Optimistic: true}); err != nil {
			t.Fatal(err)
		}
		got, err := h.IP.Addresses(l.Index)
		if err != nil || len(got) != 1 || got[0].Optimistic != (sysctl == "1") || !got[0].Tentative {
			t.Errorf("optimistic_dad=%s: got %+v, %v", sysctl, got, err)
		}
	}
}

func TestSubscribeReportsComingAndGoing(t *testing.T) {
	path := netnstest.New(t)
	h := handleAt(t, path)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var events <-chan link.Event
	inside(t, path, func() (err error) {
		events, err = link.Subscribe(ctx)
		return err
	})
	l := veth(t, h, "eth3", "peer")
	await(t, events, func(e link.Event) bool { return e.Link.Name == "eth3" && !e.Gone })
	if err := h.Delete(l.Index); err != nil {
		t.Fatal(err)
	}
	await(t, events, func(e link.Event) bool { return e.Link.Index == l.Index && e.Gone })
	cancel()
	for range events { // closed once ctx has ended
	}
}

func TestOpenAtTellsThatTheNamespaceIsGone(t *testing.T) {
	path := netnstest.New(t)
	netnstest.Remove(t, path)
	h, err := link.OpenAt(path)
	if err == nil {
		h.Close()
	}
	if !netns.IsGone(err) {
		t.Errorf("got %v, want an error that IsGone knows", err)
	}
}
