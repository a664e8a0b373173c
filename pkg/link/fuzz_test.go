package link

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/test/fuzz"
)

// addMessages adds one message of each kind that is read.
func addMessages(f *testing.F) {
	f.Helper()
	vlan := nested(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, "vlan\x00"), nested(unix.IFLA_INFO_DATA, words(nl.IFLA_VLAN_ID, 5)))
	f.Add(uint16(unix.RTM_NEWLINK), linkMessage(7, attr(unix.IFLA_IFNAME, "net1\x00"), num32(unix.IFLA_LINK, 3),
		nested(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, "vxlan\x00"), nested(unix.IFLA_INFO_DATA, num32(nl.IFLA_VXLAN_LINK, 3)))))
	f.Add(uint16(unix.RTM_NEWLINK), linkMessage(7, attr(unix.IFLA_ADDRESS, "\x02\x00\x00\xCC\x00\x01"), num32(unix.IFLA_MTU, 9000), attr(unix.IFLA_OPERSTATE, "\x06"),
		attr(unix.IFLA_PARENT_DEV_NAME, "0000:01:10.0\x00"), nested(unix.IFLA_PROP_LIST, attr(unix.IFLA_ALT_IFNAME, "enp1s16\x00")), vlan))
	f.Add(uint16(unix.RTM_DELLINK), linkMessage(7, num32(unix.IFLA_MASTER, 7)))
	f.Add(uint16(unix.RTM_NEWLINK), linkMessage(7, nested(unix.IFLA_VFINFO_LIST, nested(nl.IFLA_VF_INFO, wholeVF(1)...))))
	f.Add(uint16(unix.RTM_NEWADDR), message(nl.NewIfAddrmsg(unix.AF_INET).Serialize(), attr(unix.IFA_ADDRESS, "\xc0\x00\x02\x01"), attr(unix.IFA_LOCAL, "\xc0\x00\x02\x01")))
	f.Add(uint16(unix.RTM_DELADDR), message(nl.NewIfAddrmsg(unix.AF_INET6).Serialize(), attr(unix.IFA_ADDRESS, "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01")))
	f.Add(uint16(unix.RTM_NEWROUTE), message(nl.NewRtMsg().Serialize(), attr(unix.RTA_MULTIPATH, "\x08\x00\x00\x00\x07\x00\x00\x00")))
	f.Add(uint16(unix.RTM_NEWROUTE), message(nl.NewRtMsg().Serialize(), attr(unix.RTA_GATEWAY, "\xc0\x00\x02\xfe"), num32(unix.RTA_OIF, 7), num32(unix.RTA_TABLE, 1000)))
}

// Names and aliases in these messages come from pods. No bytes may end the agent, a
// decoder makes no more than it reads, and the table of uses stays consistent.
func FuzzMessages(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, typ uint16, payload []byte) {
		fuzz.Allocates(t, len(payload), func() {
			checkUses(t, typ, payload)
			checkLink(t, payload)
			checkRoute(t, payload)
			_, _, err := parseAddress(payload)
			fuzz.Refused(t, err)
			fuzz.Refused(t, kernelError(unix.NlMsghdr{Type: unix.NLMSG_ERROR, Flags: unix.NLM_F_ACK_TLVS}, payload))
			checkVFs(t, payload)
		})
	})
}

// checkUses applies a message, and the message that takes it back.
func checkUses(t *testing.T, typ uint16, payload []byte) {
	t.Helper()
	table := &useTable{links: map[int]linkRow{}, addresses: map[int][]addressKey{}, defaults: map[int]struct{}{}, sources: map[netip.Addr]struct{}{}}
	_, err := table.apply(typ, payload)
	fuzz.Refused(t, err)
	_ = table.all()
	fuzz.Refused(t, table.addDefault(payload))
	if len(table.links) > 1 || len(table.addresses) > 1 {
		t.Errorf("one message made %d links and %d addresses", len(table.links), len(table.addresses))
	}
	if back, ok := map[uint16]uint16{unix.RTM_NEWLINK: unix.RTM_DELLINK, unix.RTM_NEWADDR: unix.RTM_DELADDR}[typ]; ok && err == nil {
		_, err := table.apply(back, payload)
		if err != nil || len(table.links)+len(table.addresses) > 0 {
			t.Errorf("taken back: %v, %+v", err, table)
		}
	}
}

func checkLink(t *testing.T, payload []byte) {
	t.Helper()
	l, err := parse(payload)
	if fuzz.Refused(t, err); err != nil {
		return
	}
	for _, name := range append([]string{l.Name, l.Alias, l.ParentDev, l.Kind}, l.AltNames...) {
		if bytes.ContainsRune([]byte(name), 0) {
			t.Errorf("a name with a zero byte: %q", name)
		}
	}
	if !slices.Contains(append([]string{""}, operStates[:]...), l.OperState) {
		t.Errorf("state %q", l.OperState)
	}
}

// checkRoute checks a route's destination: it has the size of an address, and a mask unless
// the prefix is longer than that.
func checkRoute(t *testing.T, payload []byte) {
	t.Helper()
	r, unicast, err := parseRoute(payload)
	if fuzz.Refused(t, err); err != nil || !unicast {
		return
	}
	_ = r.String()
	if n := len(r.Dst.IP); n != 4 && n != 16 || r.Dst.Mask == nil && int(payload[1]) <= 8*n {
		t.Errorf("route %+v", r)
	}
}

func checkVFs(t *testing.T, attrs []byte) {
	t.Helper()
	vfs, err := vfList(attrs)
	fuzz.Refused(t, err)
	for _, raw := range vfs {
		vf, s, err := parseSettings(raw)
		if fuzz.Refused(t, err); err != nil {
			continue
		}
		if vf < 0 || s.VLAN != nil && s.VLANProto == nil || s.AdminMAC != nil && len(*s.AdminMAC) != 17 {
			t.Errorf("VF %d: %+v", vf, s)
		}
	}
}

// An answer of the kernel: its messages are those of the request's number, and nothing is
// read after its end.
func FuzzAnswer(f *testing.F) {
	const seq, port = 7, 9
	header := func(typ, flags uint16, payload []byte) []byte {
		b := native.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(payload)))
		b = native.AppendUint16(native.AppendUint16(b, typ), flags)
		b = append(native.AppendUint32(native.AppendUint32(b, seq), port), payload...)
		return append(b, make([]byte, aligned(len(b))-len(b))...)
	}
	one := header(unix.RTM_NEWLINK, unix.NLM_F_MULTI, linkMessage(7, attr(unix.IFLA_IFNAME, "net1\x00")))
	done := header(unix.NLMSG_DONE, unix.NLM_F_MULTI, []byte{0, 0, 0, 0})
	f.Add(slices.Concat(one, done))
	f.Add(header(unix.NLMSG_ERROR, 0, slices.Concat([]byte{0xea, 0xff, 0xff, 0xff}, make([]byte, 16))))
	f.Add(header(unix.NLMSG_ERROR, unix.NLM_F_CAPPED|unix.NLM_F_ACK_TLVS, slices.Concat([]byte{0xea, 0xff, 0xff, 0xff}, make([]byte, 16), []byte("\x0c\x00\x01\x00reason\x00\x00"))))
	f.Add(header(unix.RTM_NEWLINK, unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR, nil))
	f.Add(slices.Concat(done, one))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		var links []Link
		a := answer{seq: seq, port: port, each: func(_ uint16, payload []byte) error {
			l, err := parse(payload)
			links = append(links, l)
			return err
		}}
		fuzz.Allocates(t, len(datagram), func() { a.read(datagram) })
		if fuzz.Refused(t, a.err); len(links) > len(datagram)/unix.SizeofNlMsghdr {
			t.Errorf("%d links in %d bytes", len(links), len(datagram))
		}
		if was := len(links); a.complete {
			if a.read(one); len(links) != was {
				t.Error("a message after the end was read")
			}
		}
	})
}
