//go:build root

package attach

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

// The neighbours hear of both addresses: caught at the other end of the wire.
func TestAddressesAreAnnounced(t *testing.T) {
	n := newTestNode(t)
	n.veth("eth3", "peer")
	pod := netnstest.New(t)
	wire := n.capture("peer")
	conf := `{"name": "fast", "type": "sriov", "mac": "02:00:00:cc:00:01", "ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24"}, {"address": "fd00::5/64"}]}}`
	n.bind("sriov", conf, pod, "net1", "s1", vethAddr)
	mac, _ := net.ParseMAC("02:00:00:cc:00:01")
	for name, frame := range map[string][]byte{
		"gratuitous ARP":          gratuitousARP(mac, net.ParseIP("10.1.0.5").To4()),
		"neighbour advertisement": advertisement(mac, net.ParseIP("fd00::5"), false),
	} {
		if !wire(string(frame)) {
			t.Errorf("no %s on the wire", name)
		}
	}
}

// capture listens at a host link; the returned function waits for a frame.
func (n *testNode) capture(name string) func(frame string) bool {
	n.t.Helper()
	h := n.handle(n.host)
	defer h.Close()
	l, err := h.ByName(name)
	if err != nil {
		n.t.Fatal(err)
	}
	var fd int
	n.inside(n.host, func() (err error) {
		const all = uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: l.Index, Protocol: all})
	})
	n.t.Cleanup(func() { unix.Close(fd) })
	seen := map[string]bool{}
	return func(frame string) bool {
		limit := unix.Timeval{Sec: 5}
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
		buf := make([]byte, 2048)
		for !seen[frame] {
			got, _, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				return false
			}
			seen[string(buf[:got])] = true
		}
		return true
	}
}

func mustCIDR(s string) net.IPNet {
	ip, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return net.IPNet{IP: ip, Mask: n.Mask}
}
