package attach

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/ledger"
)

func TestParseVFConf(t *testing.T) {
	tests := []struct {
		name, conf, cniArgs string
		want                string // the values asked for, as JSON of the record
	}{
		{"nothing asked for", `{}`, "", `{"index":0}`},
		{"as the SR-IOV operator renders it", `{"cniVersion":"1.0.0","type":"sriov","name":"n","vlan":0,"vlanQoS":0,"vlanProto":"802.1q","link_state":"auto","logLevel":"info","ipam":{}}`, "",
			`{"index":0,"vlan":0,"qos":0,"vlanProto":"802.1q","linkState":"auto"}`},
		{"the largest VLAN, any case of the protocol", `{"vlan": 4094, "vlanQoS": 7, "vlanProto": "802.1aD"}`, "", `{"index":0,"vlan":4094,"qos":7,"vlanProto":"802.1ad"}`},
		{"equal rates", `{"min_tx_rate": 100, "max_tx_rate": 100}`, "", `{"index":0,"minTxRateMbps":100,"maxTxRateMbps":100}`},
		{"a minimum and no limit", `{"min_tx_rate": 100, "max_tx_rate": 0}`, "", `{"index":0,"minTxRateMbps":100,"maxTxRateMbps":0}`},
		{"an empty trunk is none", `{"vlanTrunk": []}`, "", `{"index":0}`},
		{"the conf's MAC", `{"mac": "02-00-00-CC-00-01"}`, "", `{"index":0,"mac":"02:00:00:cc:00:01"}`},
		{"CNI_ARGS before the conf", `{"mac": "02:00:00:cc:00:01"}`, "IgnoreUnknown=1;MAC=02:00:00:cc:00:02", `{"index":0,"mac":"02:00:00:cc:00:02"}`},
		{"the capability before all", `{"mac": "02:00:00:cc:00:01", "runtimeConfig": {"mac": "02:00:00:cc:00:03"}}`, "MAC=02:00:00:cc:00:02", `{"index":0,"mac":"02:00:00:cc:00:03"}`},
		{"trust and spoofchk", `{"trust": "on", "spoofchk": "off"}`, "", `{"index":0,"spoofCheck":false,"trust":true}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parseVFConf(json.RawMessage(tt.conf), tt.cniArgs)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, plainJSON(t, ledger.VFState{Settings: c.Asked})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func plainJSON(t *testing.T, s ledger.VFState) string {
	t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestConfErrorsNameFieldReasonAndRemedy(t *testing.T) {
	vf := func(conf, args string) error { _, err := parseVFConf(json.RawMessage(conf), args); return err }
	macvlan := func(conf, args string) error { _, err := parseMacvlan(json.RawMessage(conf), args); return err }
	ipvlan := func(conf, _ string) error { _, err := parseIPvlan(json.RawMessage(conf)); return err }
	tests := []struct {
		parse            func(conf, args string) error
		conf, args, want string
	}{
		{vf, `{"vlan": 4095}`, "", `field "vlan": 4095 is no VLAN; 1 to 4094 are, 0 is none`},
		{vf, `{"vlan": -1}`, "", `field "vlan": -1 is no VLAN`},
		{vf, `{"vlan": "100"}`, "", `field "vlan" cannot be a string`},
		{vf, `{"vlan": 1.5}`, "", `field "vlan" cannot be a number 1.5`},
		{vf, `{"vlanQoS": 3}`, "", `field "vlanQoS": a priority is part of a VLAN tag: set vlan too`},
		{vf, `{"vlan": 0, "vlanQoS": 3}`, "", `field "vlanQoS": a priority`},
		{vf, `{"vlan": 5, "vlanQoS": 8}`, "", `field "vlanQoS": 8 is no priority; 0 to 7 are`},
		{vf, `{"vlan": 5, "vlanProto": "802.1x"}`, "", `field "vlanProto": "802.1x" is neither`},
		{vf, `{"vlanProto": "802.1ad"}`, "", `field "vlanProto": 802.1ad is a kind of VLAN tag: set vlan too`},
		{vf, `{"trust": "yes"}`, "", `field "trust": "yes" is neither "on" nor "off"`},
		{vf, `{"trust": true}`, "", `field "trust" cannot be a bool`},
		{vf, `{"spoofchk": "true"}`, "", `field "spoofchk": "true" is neither "on" nor "off"`},
		{vf, `{"link_state": "up"}`, "", `field "link_state": "up" is none of auto, enable, disable`},
		{vf, `{"min_tx_rate": 200, "max_tx_rate": 100}`, "", `field "min_tx_rate": 200 Mbit/s is above max_tx_rate, 100`},
		{vf, `{"max_tx_rate": -1}`, "", `field "max_tx_rate": -1 Mbit/s is below 0`},
		{vf, `{"mtu": 67}`, "", `field "mtu": 67 is below 68`},
		{vf, `{"mtu": -5}`, "", `field "mtu": -5 is below 68`},
		{vf, `{"mac": "03:00:00:00:00:01"}`, "", `field "mac": 03:00:00:00:00:01 is a group address`},
		{vf, `{"mac": "00:00:00:00:00:00"}`, "", `field "mac": all zero is no address`},
		{vf, `{"mac": "02:00:00:00:00"}`, "", `field "mac": "02:00:00:00:00" is no MAC`},
		{vf, `{"mac": "02:00:00:00:00:01:02:03"}`, "", `field "mac"`},
		{vf, `{}`, "MAC=x", `field "CNI_ARGS MAC": "x" is no MAC`},
		{vf, `{"runtimeConfig": {"mac": "ff:ff:ff:ff:ff:ff"}}`, "", `field "runtimeConfig.mac": ff:ff:ff:ff:ff:ff is a group address`},
		{vf, `{"deviceID": "mlx5_core.sf.4"}`, "", `field "deviceID": "mlx5_core.sf.4" is not a PCI address`},
		{vf, `{"fallback": ["bridge"]}`, "", `field "fallback": "bridge" is none; there are macvlan and ipvlan`},
		{vf, `{"vlan": 5000, "trust": "maybe"}`, "", `field "vlan": 5000 is no VLAN; 1 to 4094 are, 0 is none; field "trust": "maybe"`},
		{vf, `{"vlan": 5`, "", `not valid JSON`},
		{vf, `[]`, "", `not valid JSON`},
		{macvlan, `{"mode": "source"}`, "", `field "mode": "source" is none of [bridge private vepa passthru]`},
		{macvlan, `{"linkInContainer": "true"}`, "", `field "linkInContainer" cannot be a string`},
		{macvlan, `{"mac": "01:00:5e:00:00:01"}`, "", `field "mac": 01:00:5e:00:00:01 is a group address`},
		{macvlan, `{"mtu": "9000"}`, "", `field "mtu" cannot be a string`},
		{ipvlan, `{"mode": "bridge"}`, "", `field "mode": "bridge" is none of [l2 l3 l3s]`},
		{ipvlan, `{"linkInContainer": 1}`, "", `field "linkInContainer" cannot be a number`},
		{ipvlan, `{"runtimeConfig": {"mac": "02:00:00:00:00:01"}}`, "", `an ipvlan interface has its uplink's MAC`},
		{ipvlan, `{"mtu": 5}`, "", `field "mtu": 5 is below 68`},
	}
	for _, tt := range tests {
		t.Run(tt.conf+tt.args, func(t *testing.T) {
			err := tt.parse(tt.conf, tt.args)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}
