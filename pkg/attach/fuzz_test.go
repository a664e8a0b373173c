package attach

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/test/fuzz"
)

// long is a value of which no error may quote all (security S7).
var long = strings.Repeat("x", 60000)

// FuzzConf holds what all later code relies on: whatever a user writes, a conf of a
// built-in member that is accepted is within the rules, and the values in effect are
// accepted again as they are.
func FuzzConf(f *testing.F) {
	for _, seed := range []string{full, plain, `{"vlan": 4095}`, `{"mac": "01:00:00:00:00:00"}`, `{"min_tx_rate": 2, "max_tx_rate": 1}`,
		`{"deviceID": "0000:01:10.0", "fallback": ["macvlan"], "uplink": "eth0"}`, `{"mode": "l2", "mtu": 1400}`, `{"vlanTrunk": [{"id": 5}]}`,
		`{"master": "eth0", "mode": "passthru", "mtu": 9000, "bcqueuelen": 7, "runtimeConfig": {"mac": "02-00-00-00-00-01"}}`,
		`{"vlan": 1e400}`, `{"trust": "` + long + `"}`, `{"mac": "` + long + `", "mode": "` + long + `", "deviceID": "` + long + `"}`, `{"vlan": ` + strings.Repeat("1", 60000) + `}`, long, `{"fallback": [` + strings.Repeat(`"x",`, 10000) + `"x"]}`, "{\"mode\": \"a\u202eb\"}", `{"fallback": ["a","b","c","d"]}`, `{"linkInContainer": true}`} {
		f.Add([]byte(seed), "IgnoreUnknown=1;MAC=02:00:00:00:00:01")
	}
	f.Fuzz(func(t *testing.T, conf []byte, cniArgs string) {
		fuzz.Allocates(t, 3*(len(conf)+len(cniArgs)), func() {
			checkVF(t, conf, cniArgs)
			checkMacvlan(t, conf, cniArgs)
			checkIPvlan(t, conf)
		})
	})
}

func checkVF(t *testing.T, conf []byte, cniArgs string) {
	t.Helper()
	c, err := parseVFConf(conf, cniArgs)
	if fuzz.Refused(t, err); err != nil {
		return
	}
	checkAsked(t, c.Asked)
	for _, kind := range c.Fallback {
		if kind != PluginMacvlan && kind != PluginIPvlan {
			t.Errorf("fallback %q", kind)
		}
	}
	text, ok := withMAC(t, conf, c.Asked.MAC)
	if !ok {
		return
	}
	again, err := parseVFConf(text, "")
	if err != nil || !reflect.DeepEqual(again.Asked, c.Asked) || again.Device != c.Device {
		t.Errorf("with the MAC in effect: %+v, %v; want %+v", again, err, c)
	}
}

// withMAC writes the MAC in effect into the conf, at the place that comes first. ok is
// false if there is no MAC, or if something is at that place already.
func withMAC(t *testing.T, conf []byte, mac string) (_ json.RawMessage, ok bool) {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(conf, &fields); err != nil {
		t.Fatal(err)
	}
	for key := range fields {
		if strings.EqualFold(key, "runtimeConfig") || slices.ContainsFunc(vfKeys(), func(k string) bool { return k != key && strings.EqualFold(k, key) }) {
			return nil, false // which of two spellings counts is not the subject here
		}
	}
	if fields == nil || mac == "" {
		return nil, false
	}
	fields["runtimeConfig"] = json.RawMessage(`{"mac": "` + mac + `"}`)
	raw, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return raw, true
}

// vfKeys returns the keys of a VF's conf.
func vfKeys() (keys []string) {
	for f := range reflect.TypeFor[rawVFConf]().Fields() {
		keys = append(keys, f.Tag.Get("json"))
	}
	return keys
}

func checkMacvlan(t *testing.T, conf []byte, cniArgs string) {
	t.Helper()
	c, err := parseMacvlan(conf, cniArgs)
	if fuzz.Refused(t, err); err != nil {
		return
	}
	checkMAC(t, c.MAC)
	if c.MTU != 0 && c.MTU < 68 {
		t.Errorf("macvlan MTU %d", c.MTU)
	}
	if _, ok := map[string]bool{"bridge": true, "private": true, "vepa": true, "passthru": true}[c.Mode]; !ok {
		t.Errorf("macvlan mode %q", c.Mode)
	}
}

func checkIPvlan(t *testing.T, conf []byte) {
	t.Helper()
	c, err := parseIPvlan(conf)
	if fuzz.Refused(t, err); err == nil && c.Mode != "l2" && c.Mode != "l3" && c.Mode != "l3s" {
		t.Errorf("ipvlan mode %q", c.Mode)
	}
}

func checkAsked(t *testing.T, s device.Settings) {
	t.Helper()
	checkMAC(t, s.MAC)
	if s.VLAN != nil && (*s.VLAN < 0 || *s.VLAN > 4094 || *s.QoS < 0 || *s.QoS > 7 || (*s.QoS > 0 && *s.VLAN == 0)) {
		t.Errorf("VLAN %d QoS %d", *s.VLAN, *s.QoS)
	}
	if s.VLANProto != nil && *s.VLANProto != "802.1q" && *s.VLANProto != "802.1ad" {
		t.Errorf("VLAN protocol %q", *s.VLANProto)
	}
	for _, rate := range []*int{s.MinTxRate, s.MaxTxRate} {
		if rate != nil && *rate < 0 {
			t.Errorf("rate %d", *rate)
		}
	}
	if s.MTU != nil && *s.MTU < 68 {
		t.Errorf("MTU %d", *s.MTU)
	}
	if s.LinkState != nil && *s.LinkState != "auto" && *s.LinkState != "enable" && *s.LinkState != "disable" {
		t.Errorf("link state %q", *s.LinkState)
	}
}

func checkMAC(t *testing.T, mac string) {
	t.Helper()
	if mac == "" {
		return
	}
	if len(mac) != 17 || mac != strings.ToLower(mac) || mac == device.NoMAC || strings.ContainsRune("13579bdf", rune(mac[1])) {
		t.Errorf("MAC %q", mac)
	}
}

// No sysctl that is accepted leads out of the namespace, whatever it is called, and the
// settings on record mean the same when they are asked for.
func FuzzTuning(f *testing.F) {
	for _, seed := range []string{
		`{"sysctl": {"net.core.somaxconn": "500", "net/ipv4/conf/IFNAME/arp_notify": "1"}, "mac": "02-00-00-CC-00-01", "mtu": 1400, "promisc": true, "allmulti": false, "txQLen": 0}`,
		`{"mtu": 1400, "args": {"cni": {"mac": "02:00:00:cc:00:04", "mtu": 1300, "promisc": false, "allmulti": true, "txQLen": 7, "sysctl": {"net.b": "2"}}}}`,
		`{"sysctl": {"net/../kernel/core_pattern": "|/x", "net": "1", "kernel.core_pattern": "x", "net..a": "", "net.IFNAME": "1"}}`,
		`{"sysctl": {"net.ipv4.conf.IFNAME.IFNAME": "1", "net/a\u0000b": "1", "net.a\u202e": "\u001b"}}`, `{"txQLen": -1}`, `{"sysctl": {"` + long + `": "x"}}`, `{"sysctl": {"net.core.somaxconn": 5}}`,
	} {
		f.Add([]byte(seed), "MAC=02:00:00:cc:00:02")
	}
	f.Fuzz(func(t *testing.T, conf []byte, cniArgs string) {
		var asked ledger.TuningSettings
		var err error
		fuzz.Allocates(t, len(conf)+len(cniArgs), func() { asked, _, err = parseTuning(conf, cniArgs, "net1") })
		if fuzz.Refused(t, err); err != nil {
			return
		}
		checkMAC(t, asked.MAC)
		if asked.MTU != 0 && asked.MTU < 68 || asked.TxQLen != nil && *asked.TxQLen < 0 || asked.Promisc != nil && !*asked.Promisc {
			t.Errorf("accepted: %+v", asked)
		}
		for key := range asked.Sysctls {
			if !strings.HasPrefix(key, "net/") || strings.Contains("/"+key+"/", "/../") || strings.Contains(key, "\x00") {
				t.Errorf("accepted sysctl %q", key)
			}
		}
		checkAskedAgain(t, asked)
	})
}

// checkAskedAgain asks for settings as they are on record.
func checkAskedAgain(t *testing.T, asked ledger.TuningSettings) {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"sysctl": asked.Sysctls, "mac": asked.MAC, "mtu": asked.MTU, "promisc": asked.Promisc, "allmulti": asked.AllMulti, "txQLen": asked.TxQLen})
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := parseTuning(raw, "", "IFNAME")
	if err != nil || !reflect.DeepEqual(again, asked) {
		t.Errorf("asked for again: %+v, %v; want %+v", again, err, asked)
	}
}
