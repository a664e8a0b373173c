package device

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// full has a value for every setting.
func full() Settings {
	return Settings{
		Driver: "igbvf", MAC: "02:00:00:00:00:01", AdminMAC: ptr("02:00:00:00:00:01"), MTU: ptr(9000), VLAN: ptr(100), QoS: ptr(3),
		VLANProto: ptr(Proto8021AD), SpoofCheck: ptr(false), Trust: ptr(true), LinkState: ptr("enable"), MinTxRate: ptr(10), MaxTxRate: ptr(200),
	}
}

// Every field of Settings has a row, except the netdev's MAC, which goes with the one at the
// PF. A setting that no row copies would be forgotten by every loop.
func TestKnobsCoverSettings(t *testing.T) {
	s := full()
	for _, v := range reflect.ValueOf(s).Fields() {
		if v.IsZero() {
			t.Fatalf("full() leaves a field out: %+v", s)
		}
	}
	want := s
	want.MAC = ""
	if diff := cmp.Diff(want, s.Only(Knobs...)); diff != "" {
		t.Errorf("the rows copy (-want +got):\n%s", diff)
	}
}

func TestKnobs(t *testing.T) {
	for _, k := range Knobs {
		t.Run(k.Name, func(t *testing.T) {
			s := full()
			if k.Has(Settings{}) || !k.Has(s) {
				t.Error("Has does not tell a value from none")
			}
			if !k.Equal(s, full()) || k.Text(s) == "" {
				t.Errorf("Equal or Text is wrong for %q", k.Text(s))
			}
			if k.Same(s, Settings{}) || k.Same(Settings{}, s) {
				t.Error("no value is the same as a value")
			}
			if k.Default == nil {
				return
			}
			var d Settings
			if k.Default(&d); !k.Has(d) || k.Equal(d, s) {
				t.Errorf("the default is %+v", d)
			}
		})
	}
}

func TestKnobEquality(t *testing.T) {
	tests := map[string]struct {
		knob string
		a, b Settings
		want bool
	}{
		"untagged has no protocol":       {"VLAN", Settings{VLAN: ptr(0), VLANProto: ptr(Proto8021AD)}, Settings{VLAN: ptr(0)}, true},
		"tagged has":                     {"VLAN", Settings{VLAN: ptr(5), VLANProto: ptr(Proto8021AD)}, Settings{VLAN: ptr(5)}, false},
		"no protocol is 802.1q":          {"VLAN", Settings{VLAN: ptr(5), VLANProto: ptr(Proto8021Q)}, Settings{VLAN: ptr(5)}, true},
		"priority differs":               {"VLAN", Settings{VLAN: ptr(5), QoS: ptr(1)}, Settings{VLAN: ptr(5)}, false},
		"one rate":                       {"rate", Settings{MaxTxRate: ptr(5)}, Settings{MinTxRate: ptr(0), MaxTxRate: ptr(5)}, true},
		"the kernel's choice is igbvf":   {KnobDriver, Settings{Driver: KernelDriver}, Settings{Driver: "igbvf"}, true},
		"the kernel's choice is no vfio": {KnobDriver, Settings{Driver: "vfio-pci"}, Settings{Driver: KernelDriver}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, k := range Knobs {
				if k.Name == tt.knob && k.Equal(tt.a, tt.b) != tt.want {
					t.Errorf("Equal = %v", !tt.want)
				}
			}
		})
	}
}

func TestDiffer(t *testing.T) {
	want := Settings{VLAN: ptr(100), Trust: ptr(true), SpoofCheck: ptr(true), MTU: ptr(9000)}
	have := Settings{VLAN: ptr(100), Trust: ptr(false), LinkState: ptr("auto"), MTU: ptr(1500)}
	var names []string
	for _, k := range Differ(AtPF, want, have) {
		names = append(names, k.Name)
	}
	if diff := cmp.Diff([]string{"spoof check", "trust"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
