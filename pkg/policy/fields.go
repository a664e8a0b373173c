package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/quote"
)

// fields has the fields of a member's config that the rules are about. They are decoded
// as the plugins decode them, so that another spelling of a key means the same here.
// Their values may be of any kind: only the plugin knows its config.
type fields struct {
	Master          any             `json:"master"`
	Uplink          any             `json:"uplink"`
	Bridge          any             `json:"bridge"`
	Device          any             `json:"device"`
	HWAddr          any             `json:"hwaddr"`
	KernelPath      any             `json:"kernelpath"`
	PCIBusID        any             `json:"pciBusID"`
	DeviceID        any             `json:"deviceID"`
	RuntimeConfig   json.RawMessage `json:"runtimeConfig"`
	LinkInContainer any             `json:"linkInContainer"`

	Mode     any `json:"mode"`
	Fallback any `json:"fallback"`

	VLAN      any             `json:"vlan"`
	VLANID    any             `json:"vlanId"`
	VLANTrunk json.RawMessage `json:"vlanTrunk"`
	Trunk     json.RawMessage `json:"trunk"`
	Trust     any             `json:"trust"`
	SpoofChk  any             `json:"spoofchk"`
	MinTxRate any             `json:"min_tx_rate"`
	MaxTxRate any             `json:"max_tx_rate"`
	MAC       any             `json:"mac"`

	IPAM     json.RawMessage `json:"ipam"`
	Delegate json.RawMessage `json:"delegate"`
}

// member is one plugin of a network, with its fields.
type member struct {
	fields
	network.Plugin
	raw           json.RawMessage // the whole config
	runtimeDevice any             // runtimeConfig.deviceID
	ipam          ipam
}

// ipam has the fields of a member's ipam.
type ipam struct {
	Type       string `json:"type"`
	Subnet     string `json:"subnet"`
	RangeStart string `json:"rangeStart"`
	RangeEnd   string `json:"rangeEnd"`
	Ranges     [][]struct {
		Subnet     string `json:"subnet"`
		RangeStart string `json:"rangeStart"`
		RangeEnd   string `json:"rangeEnd"`
	} `json:"ranges"`
	Addresses []struct {
		Address string `json:"address"`
	} `json:"addresses"`
}

func readMember(p network.Plugin) (member, error) {
	m := member{Plugin: p, raw: p.Fields.JSON()}
	if err := json.Unmarshal(m.raw, &m.fields); err != nil {
		return m, fmt.Errorf("is not a plugin's config: %w", err)
	}
	var runtime struct {
		DeviceID any `json:"deviceID"`
	}
	if isSet(m.RuntimeConfig) {
		if err := json.Unmarshal(m.RuntimeConfig, &runtime); err != nil {
			return m, fmt.Errorf("field runtimeConfig is not an object: %w", err)
		}
	}
	m.runtimeDevice = runtime.DeviceID
	if isSet(m.IPAM) {
		if err := json.Unmarshal(m.IPAM, &m.ipam); err != nil {
			return m, fmt.Errorf("field ipam cannot be read: %w", err)
		}
	}
	return m, nil
}

// text returns a value as a user wrote it, empty if it is not set.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

// integer returns a number. Whatever else stands there is not one: no rule can allow it.
func integer(v any) (n int, ok bool) {
	f, isNumber := v.(float64)
	if !isNumber || f != math.Trunc(f) || math.Abs(f) > math.MaxInt32 {
		return 0, false
	}
	return int(f), true
}

func isSet(raw json.RawMessage) bool {
	switch strings.TrimSpace(string(raw)) {
	case "", "null", "[]", `""`, "{}":
		return false
	}
	return true
}

// name says which plugin of the network it is.
func (m member) name(i, of int) string {
	if of == 1 {
		return "plugin " + strconv.Quote(quote.Cut(m.Type))
	}
	return fmt.Sprintf("plugin %d (%s)", i+1, quote.Plain(m.Type))
}
