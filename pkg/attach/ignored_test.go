package attach

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
)

// meta-cni C8: the keys that are known are those that the plugins read.
func TestKnownKeysAreTheOnesThatAreRead(t *testing.T) {
	common := []string{"runtimeConfig", "args", "ipam", "deviceID", "pciBusID"}
	notRead := map[string][]string{"sriov": {"logLevel", "logFile"}, "tuning": {"dataDir"}}
	for plugin, conf := range map[string]any{"sriov": rawVFConf{}, "macvlan": macvlanConf{}, "ipvlan": ipvlanConf{}, "tuning": tuningConf{}} {
		read := notRead[plugin]
		for i := range reflect.TypeOf(conf).NumField() {
			if key := reflect.TypeOf(conf).Field(i).Tag.Get("json"); !slices.Contains(common, key) {
				read = append(read, key)
			}
		}
		slices.Sort(read)
		known := slices.Sorted(slices.Values(network.BuiltInKeys(plugin)))
		if diff := cmp.Diff(read, known); diff != "" {
			t.Errorf("%s: -read +known\n%s", plugin, diff)
		}
	}
}

// meta-cni C8: fields of a VF that the pod's device or link does not have are named, and if
// they would keep the pod from something, there is no such link.
func TestFieldsThatADeviceDoesNotHave(t *testing.T) {
	sriov := func(fields string) string { return `{"name": "fast", "type": "sriov", ` + fields + `}` }
	for _, tt := range []struct {
		name, conf string
		vfio       bool
		want       string
		fails      string
	}{
		{"an MTU on vfio-pci", sriov(`"mtu": 9000`), true, "mtu: the VF is bound to vfio-pci: the program that drives it sets the MTU", ""},
		{"no MTU on vfio-pci", sriov(`"trust": "on"`), true, "", ""},
		{"a fallback", sriov(`"fallback": ["macvlan"], "uplink": "eth1", "vlan": 5, "vlanQoS": 3, "min_tx_rate": 1, "max_tx_rate": 2, "trust": "on", "spoofchk": "off", "link_state": "enable"`), false,
			"vlanQoS, min_tx_rate, max_tx_rate, trust, spoofchk, link_state: only VFs have it, and the pod has a macvlan", ""},
		{"a fallback, defaults", sriov(`"fallback": ["macvlan"], "uplink": "eth1", "vlan": 0, "vlanQoS": 0, "min_tx_rate": 0, "max_tx_rate": 0, "trust": "off", "link_state": "auto"`), false, "", ""},
		{"a fallback that cannot check the sender", sriov(`"fallback": ["macvlan", "ipvlan"], "uplink": "eth1", "spoofchk": "on"`), false, "", "only VFs check the sender's address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, igb)
			r := request(tt.conf, vf1Addr)
			if !tt.vfio {
				r.Device = pci.Address{}
			}
			list, err := listOf("sriov", tt.conf)
			if err != nil {
				t.Fatal(err)
			}
			var fields, reasons []string
			c := Call{SandboxID: "s1", IfName: "net1", Resource: r.Resource, Device: r.Device, Ignored: func(field, reason string) {
				fields = append(fields, field)
				if !slices.Contains(reasons, reason) {
					reasons = append(reasons, reason)
				}
			}}
			_, err = k.set(t.TempDir()).Prepare(t.Context(), c, list)
			if tt.fails == "" && err != nil || tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)) {
				t.Errorf("got %v, want %q", err, tt.fails)
			}
			got := ""
			if len(fields) > 0 {
				got = fmt.Sprint(strings.Join(fields, ", "), ": ", strings.Join(reasons, " | "))
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
