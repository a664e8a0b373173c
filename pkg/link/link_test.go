package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestParseReadsWhatTheKernelSends(t *testing.T) {
	ifi := nl.NewIfInfomsg(unix.AF_UNSPEC)
	ifi.Type, ifi.Index, ifi.Flags = unix.ARPHRD_ETHER, 7, unix.IFF_UP|unix.IFF_LOWER_UP
	msg := message(ifi.Serialize(),
		attr(unix.IFLA_IFNAME, "net1\x00"), attr(unix.IFLA_ADDRESS, "\x02\x00\x00\xCC\x00\x01"),
		num32(unix.IFLA_MTU, 9000), num32(unix.IFLA_MAX_MTU, 9216), num32(unix.IFLA_LINK, 3), num32(unix.IFLA_GROUP, 5),
		num32(unix.IFLA_MASTER, 9), attr(unix.IFLA_OPERSTATE, "\x06"),
		attr(unix.IFLA_PARENT_DEV_NAME, "0000:01:10.0\x00"),
		nested(unix.IFLA_PROP_LIST, attr(unix.IFLA_ALT_IFNAME, "enp1s16\x00"), attr(unix.IFLA_ALT_IFNAME, "fast0\x00")),
		nested(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, "macvlan\x00"),
			nested(unix.IFLA_INFO_DATA, num32(nl.IFLA_MACVLAN_MODE, nl.MACVLAN_MODE_BRIDGE))))
	got, err := parse(msg)
	if err != nil {
		t.Fatal(err)
	}
	want := Link{Index: 7, Name: "net1", AltNames: []string{"enp1s16", "fast0"}, Type: "ether", Kind: "macvlan",
		MAC: "02:00:00:cc:00:01", MTU: 9000, MaxMTU: 9216, Up: true, Carrier: true, OperState: "up", Group: 5,
		Parent: 3, Master: 9, ParentDev: "0000:01:10.0", Mode: "bridge"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := parse([]byte{1, 2, 3}); err == nil {
		t.Error("a cut-off message was taken for a link")
	}
}

func TestErrorsKeepErrnoAndMeaning(t *testing.T) {
	tests := []struct {
		err      error
		is, isNo []error
	}{
		{unix.ENODEV, []error{ErrNotFound, unix.ENODEV}, []error{ErrExists, ErrUnsupported}},
		{unix.EEXIST, []error{ErrExists, unix.EEXIST}, []error{ErrNotFound}},
		{fmt.Errorf("%w: no such knob", unix.EOPNOTSUPP), []error{ErrUnsupported, unix.EOPNOTSUPP}, []error{ErrNotFound}},
		{unix.EPROTONOSUPPORT, []error{ErrUnsupported}, []error{ErrNotFound}},
		{syscall.Errno(524), []error{ErrUnsupported}, nil},
		{unix.EADDRNOTAVAIL, []error{unix.EADDRNOTAVAIL}, []error{ErrNotFound, ErrUnsupported}},
		{io.EOF, []error{io.EOF}, []error{ErrNotFound, ErrExists, ErrUnsupported}},
	}
	for _, tt := range tests {
		err := wrap("set MTU 9000 of", linkNumber(7), tt.err)
		for _, want := range tt.is {
			if !errors.Is(err, want) {
				t.Errorf("%v is not %v", err, want)
			}
		}
		for _, no := range tt.isNo {
			if errors.Is(err, no) {
				t.Errorf("%v is %v", err, no)
			}
		}
		var e *Error
		if !errors.As(err, &e) || e.Op != "set MTU 9000 of" || e.Object != "link 7" {
			t.Errorf("%v lost its operation or object", err)
		}
	}
	if wrap("x", "y", nil) != nil {
		t.Error("no error became one")
	}
}

func message(header []byte, attrs ...*nl.RtAttr) []byte {
	for _, a := range attrs {
		header = append(header, a.Serialize()...)
	}
	return header
}

func attr(typ int, value string) *nl.RtAttr { return nl.NewRtAttr(typ, []byte(value)) }

func num32(typ int, v uint32) *nl.RtAttr { return words(typ, v) }

func words(typ int, vs ...uint32) *nl.RtAttr {
	var b []byte
	for _, v := range vs {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return nl.NewRtAttr(typ, b)
}

// An address that any link gets when it is up does not show that somebody uses it.
func TestAddressInUse(t *testing.T) {
	for text, want := range map[string]bool{
		"192.0.2.7/24": true, "169.254.1.1/16": false, "fe80::1/64": false, "2001:db8::7/64": true,
		"2001:db8::7/64 expires": false, // of a router's advertisements
		"192.0.2.7/24 expires":   true,  // of DHCP, which somebody runs
	} {
		address, expires := strings.CutSuffix(text, " expires")
		ip, subnet, err := net.ParseCIDR(address)
		if err != nil {
			t.Fatal(err)
		}
		subnet.IP = ip
		if got := (Address{IPNet: *subnet, Expires: expires}).InUse(); got != want {
			t.Errorf("%s: in use %t, want %t", text, got, want)
		}
	}
}
