package link

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink/nl"

	"fairlead.dev/fairlead/pkg/device"
)

func ptr[T any](v T) *T { return &v }

// meta-cni E10: one message carries every value, in the order of device.Knobs.
func TestVFInfoCarriesEveryValueInOneAttribute(t *testing.T) {
	tests := []struct {
		name string
		s    device.Settings
		want string // one line an attribute: type, bytes
	}{
		{
			name: "everything, 802.1q by the old attribute",
			s: device.Settings{Driver: "iavf", MTU: ptr(9000), MAC: "02:00:00:00:00:09",
				VLAN: ptr(100), QoS: ptr(3), VLANProto: ptr("802.1q"), AdminMAC: ptr("02:00:00:cc:00:01"),
				MinTxRate: ptr(10), MaxTxRate: ptr(50), SpoofCheck: ptr(false), Trust: ptr(true), LinkState: ptr("disable")},
			want: `
2 02000000 64000000 03000000
1 02000000 020000cc 00010000 00000000 00000000 00000000 00000000 00000000 00000000
6 02000000 0a000000 32000000
4 02000000 00000000
9 02000000 01000000
5 02000000 02000000`,
		},
		{
			name: "802.1ad by the list",
			s:    device.Settings{VLAN: ptr(7), VLANProto: ptr("802.1ad")},
			want: `
12 14000100 02000000 07000000 00000000 88a80000`,
		},
		{
			name: "no VLAN, one of the rates, no MAC",
			s:    device.Settings{VLAN: ptr(0), MaxTxRate: ptr(100), AdminMAC: ptr(device.NoMAC)},
			want: `
2 02000000 00000000 00000000
1 02000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
6 02000000 00000000 64000000`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info, err := vfInfo(2, tt.s)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, attrsText(t, info.Serialize()[4:])); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, s := range []device.Settings{{LinkState: ptr("sideways")}, {AdminMAC: ptr("02:00")}} {
		if _, err := vfInfo(2, s); err == nil {
			t.Errorf("%+v was encoded", s)
		}
	}
}

// A new row of device.Knobs with its place at the PF has to be carried as well.
func TestVFInfoCarriesEveryKnobAtThePF(t *testing.T) {
	all := device.Settings{VLAN: ptr(1), AdminMAC: ptr(device.NoMAC), MinTxRate: ptr(1), MaxTxRate: ptr(1),
		SpoofCheck: ptr(true), Trust: ptr(true), LinkState: ptr("auto")}
	for _, k := range device.KnobsAt(device.AtPF) {
		info, err := vfInfo(2, all.Only(k))
		if err != nil || strings.Count(attrsText(t, info.Serialize()[4:]), "\n") != 1 {
			t.Errorf("%s alone: %v, %s", k.Name, err, attrsText(t, info.Serialize()[4:]))
		}
	}
}

// attrsText prints attributes as a person reads them (on a little-endian machine).
func attrsText(t *testing.T, b []byte) string {
	t.Helper()
	attrs, err := nl.ParseRouteAttr(b)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, a := range attrs {
		fmt.Fprintf(&out, "\n%d", a.Attr.Type&nl.NLA_TYPE_MASK)
		for i := 0; i < len(a.Value); i += 4 {
			out.WriteString(" " + hex.EncodeToString(a.Value[i:i+4]))
		}
	}
	return out.String()
}

func TestParseSettingsTellsMissingKnobsFromOnesThatAreOff(t *testing.T) {
	tests := []struct {
		name  string
		attrs []*nl.RtAttr
		vf    int
		want  device.Settings
	}{
		{
			name: "igb, VLAN 100 with priority 3",
			attrs: []*nl.RtAttr{
				attr(nl.IFLA_VF_MAC, string((&nl.VfMac{Vf: 2, Mac: [32]byte{2, 0, 0, 0xcc, 0, 1}}).Serialize())),
				words(nl.IFLA_VF_VLAN, 2, 100, 3), words(nl.IFLA_VF_RATE, 2, 0, 50),
				words(nl.IFLA_VF_SPOOFCHK, 2, 1), words(nl.IFLA_VF_TRUST, 2, 0), words(nl.IFLA_VF_LINK_STATE, 2, 0),
			},
			vf: 2,
			want: device.Settings{AdminMAC: ptr("02:00:00:cc:00:01"), VLAN: ptr(100), QoS: ptr(3), VLANProto: ptr("802.1q"),
				MinTxRate: ptr(0), MaxTxRate: ptr(50), SpoofCheck: ptr(true), Trust: ptr(false), LinkState: ptr("auto")},
		},
		{
			name: "a driver without rates, spoof check and trust, tags of 802.1ad, link forced down",
			attrs: []*nl.RtAttr{
				attr(nl.IFLA_VF_MAC, string((&nl.VfMac{Vf: 0}).Serialize())), words(nl.IFLA_VF_VLAN, 0, 7, 0),
				nested(nl.IFLA_VF_VLAN_LIST, attr(nl.IFLA_VF_VLAN_INFO, string(append(words(0, 0, 7, 0).Data, 0x88, 0xa8, 0, 0)))),
				words(nl.IFLA_VF_SPOOFCHK, 0, ^uint32(0)), words(nl.IFLA_VF_TRUST, 0, ^uint32(0)), words(nl.IFLA_VF_LINK_STATE, 0, 2),
			},
			want: device.Settings{AdminMAC: ptr(device.NoMAC), VLAN: ptr(7), QoS: ptr(0), VLANProto: ptr("802.1ad"), LinkState: ptr("disable")},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			vf, got, err := parseSettings(message(nil, tt.attrs...))
			if diff := cmp.Diff(tt.want, got); err != nil || vf != tt.vf || diff != "" {
				t.Errorf("VF %d, %v (-want +got):\n%s", vf, err, diff)
			}
		})
	}
	if _, _, err := parseSettings(nil); err == nil {
		t.Error("a VF without a number was accepted")
	}
}
