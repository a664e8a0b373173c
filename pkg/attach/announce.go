package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// announcement is an address that the neighbours are told of. Tentative means that
// another host may have it: duplicate address detection still runs.
type announcement struct {
	ip        net.IP
	tentative bool
}

// announce sends a gratuitous ARP request for each IPv4 address, and an
// unsolicited neighbour advertisement for each IPv6 one, from the calling
// thread's namespace. Both go out as whole frames: a socket of the address family
// refuses to send from an IPv6 address that is still tentative.
func announce(index int, mac string, list []announcement) error {
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		return fmt.Errorf("announce from MAC %q: not an Ethernet address", mac)
	}
	// Protocol 0: it receives nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	defer unix.Close(fd)
	var errs []error
	for _, a := range list {
		frame := advertisement(hw, a.ip, !a.tentative)
		if v4 := a.ip.To4(); v4 != nil {
			frame = gratuitousARP(hw, v4)
		}
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
			errs = append(errs, fmt.Errorf("announce %s: %w", a.ip, err))
		}
	}
	return errors.Join(errs...)
}

// gratuitousARP is a broadcast ARP request of an address for itself (RFC 5227).
func gratuitousARP(hw net.HardwareAddr, ip net.IP) []byte {
	f := ethernet("\xff\xff\xff\xff\xff\xff", hw, unix.ETH_P_ARP)
	f = append(f, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, their lengths, request
	f = append(append(f, hw...), ip...)
	return append(append(f, 0, 0, 0, 0, 0, 0), ip...)
}

// advertisement is a neighbour advertisement to all nodes (RFC 4861, 7.2.6). With the
// override flag they replace the MAC that they have cached. Without it they only
// verify it: RFC 4429, 3.3 forbids the flag for an address that may be a duplicate.
func advertisement(hw net.HardwareAddr, ip net.IP, override bool) []byte {
	allNodes := net.ParseIP("ff02::1")
	na := []byte{136, 0, 0, 0, 0, 0, 0, 0}
	if override {
		na[4] = 0x20
	}
	na = append(na, ip...)
	na = append(append(na, 2, 1), hw...) // option: target link-layer address
	binary.BigEndian.PutUint16(na[2:], icmpChecksum(ip, allNodes, na))

	f := ethernet("\x33\x33\x00\x00\x00\x01", hw, unix.ETH_P_IPV6)
	f = append(f, 0x60, 0, 0, 0, 0, byte(len(na)), unix.IPPROTO_ICMPV6, 255)
	f = append(append(f, ip...), allNodes...)
	return append(f, na...)
}

func ethernet(dst string, src net.HardwareAddr, etherType uint16) []byte {
	f := append([]byte(dst), src...)
	return binary.BigEndian.AppendUint16(f, etherType)
}

// icmpChecksum covers the pseudo header of RFC 8200, 8.1, and the message.
func icmpChecksum(src, dst net.IP, message []byte) uint16 {
	b := append(append([]byte{}, src...), dst...)
	b = append(b, 0, 0, 0, byte(len(message)), 0, 0, 0, unix.IPPROTO_ICMPV6)
	b = append(b, message...)
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
