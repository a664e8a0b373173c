//go:build root

package attach

import (
	"context"
	"testing"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
	"fairlead.dev/fairlead/pkg/pci"
)

const benchConf = `{"cniVersion": "1.0.0", "name": "fast", "type": "macvlan", "master": "up0", "mtu": 1400,
	"ipam": {"type": "static", "addresses": [{"address": "10.1.0.2/24"}]}}`

// BenchmarkMacvlan has the floor beside each: only the netlink messages that every
// implementation needs, on handles that are open already.
func BenchmarkMacvlan(b *testing.B) {
	n := newTestNode(b)
	pod := netnstest.New(b)
	host, inside := n.handle(n.host), n.handle(pod)
	b.Cleanup(func() { host.Close(); inside.Close() })
	uplink, err := host.ByName("up0")
	if err != nil {
		b.Fatal(err)
	}
	floorBind := func() link.Link {
		l, err := host.AddMacvlan(link.Spec{Name: "net1", Parent: uplink.Index, MTU: 1400, Group: linkGroup}, "bridge", 0, inside)
		if err == nil {
			err = inside.IP.AddAddress(l.Index, link.IPAddress{IPNet: mustCIDR("10.1.0.2/24")})
		}
		if err == nil {
			err = inside.SetUp(l.Index)
		}
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	bind := func() ledger.Attachment { return n.bind("macvlan", benchConf, pod, "net1", "s1", pci.Address{}) }

	b.Run("bind", func(b *testing.B) {
		for b.Loop() {
			att := bind()
			b.StopTimer()
			n.release(att, pod, "s1")
			b.StartTimer()
		}
	})
	b.Run("bind/floor", func(b *testing.B) {
		for b.Loop() {
			l := floorBind()
			b.StopTimer()
			_ = inside.Delete(l.Index)
			b.StartTimer()
		}
	})
	b.Run("release", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			att := bind()
			b.StartTimer()
			n.release(att, pod, "s1")
		}
	})
	b.Run("release/floor", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			l := floorBind()
			b.StartTimer()
			_ = inside.Delete(l.Index)
		}
	})
}

// BenchmarkVFMove moves a veth end, which goes through the same kernel path as a
// VF's netdev, without a NIC's work.
func BenchmarkVFMove(b *testing.B) {
	n := newTestNode(b)
	n.veth("eth3", "peer")
	pod := netnstest.New(b)
	conf := `{"cniVersion": "1.0.0", "name": "fast", "type": "sriov"}`
	a := attacher{n.set, "sriov"}
	b.Run("bind", func(b *testing.B) {
		for b.Loop() {
			att := n.bind("sriov", conf, pod, "net1", "s1", vethAddr)
			b.StopTimer()
			n.release(att, pod, "s1")
			b.StartTimer()
		}
	})
	b.Run("release", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			att := n.bind("sriov", conf, pod, "net1", "s1", vethAddr)
			b.StartTimer()
			if err := a.Release(context.Background(), env, att, pod); err != nil {
				b.Fatal(err)
			}
		}
	})
}
