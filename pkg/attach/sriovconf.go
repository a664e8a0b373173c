package attach

import (
	"encoding/json"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// vfConf is the conf of a network of type sriov, validated. Nil and zero: not
// asked for, and not touched.
type vfConf struct {
	Device   pci.Address
	Asked    device.Settings // settings at the PF, MAC and MTU only
	Trunk    bool            // vlanTrunk: no driver in reach has it
	Uplink   string          // of a fallback
	Fallback []string
	IPAM     string
}

// rawVFConf is the conf as users write it (COMPAT: the SR-IOV CNI's fields, and
// fallback and uplink).
type rawVFConf struct {
	DeviceID   string          `json:"deviceID"`
	PCIBusID   string          `json:"pciBusID"`
	VLAN       *int            `json:"vlan"`
	VLANQoS    *int            `json:"vlanQoS"`
	VLANProto  string          `json:"vlanProto"`
	VLANTrunk  json.RawMessage `json:"vlanTrunk"`
	MAC        string          `json:"mac"`
	SpoofChk   string          `json:"spoofchk"`
	Trust      string          `json:"trust"`
	LinkState  string          `json:"link_state"`
	MinTxRate  *int            `json:"min_tx_rate"`
	MaxTxRate  *int            `json:"max_tx_rate"`
	MTU        int             `json:"mtu"`
	Master     string          `json:"master"`
	Uplink     string          `json:"uplink"`
	Fallback   []string        `json:"fallback"`
	RuntimeCfg runtimeConf     `json:"runtimeConfig"`
	IPAM       ipamConf        `json:"ipam"`
}

// parseVFConf reads and validates the conf. No code after it sees raw JSON.
func parseVFConf(conf json.RawMessage, cniArgs string) (vfConf, error) {
	var raw rawVFConf
	if err := decode(conf, &raw); err != nil {
		return vfConf{}, err
	}
	var p problems
	c := vfConf{Fallback: raw.Fallback, Uplink: firstSet(raw.Uplink, raw.Master), IPAM: raw.IPAM.Type, Trunk: isSet(raw.VLANTrunk)}
	c.Device = p.device(raw)
	p.vlan(raw, &c.Asked)
	p.rates(raw, &c.Asked)
	c.Asked.SpoofCheck = p.onOff("spoofchk", raw.SpoofChk)
	c.Asked.Trust = p.onOff("trust", raw.Trust)
	c.Asked.LinkState = p.linkState(raw.LinkState)
	c.Asked.MAC = p.chooseMAC(raw.RuntimeCfg.MAC, cniArgs, raw.MAC)
	if p.checkMTU(raw.MTU); raw.MTU != 0 {
		c.Asked.MTU = &raw.MTU
	}
	for _, kind := range raw.Fallback {
		if kind != PluginMacvlan && kind != PluginIPvlan {
			p.add("fallback", "%q is none; there are macvlan and ipvlan", kind)
		}
	}
	return c, p.err()
}

func (p *problems) device(raw rawVFConf) pci.Address {
	id := firstSet(raw.DeviceID, raw.PCIBusID, raw.RuntimeCfg.DeviceID)
	if id == "" {
		return pci.Address{}
	}
	addr, err := pci.ParseAddress(id)
	if err != nil {
		p.add("deviceID", "%v", err)
	}
	return addr
}

func (p *problems) vlan(raw rawVFConf, asked *device.Settings) {
	vlan := 0
	if raw.VLAN != nil {
		vlan = *raw.VLAN
	}
	if vlan < 0 || vlan > 4094 {
		p.add("vlan", "%d is no VLAN; 1 to 4094 are, 0 is none", vlan)
	}
	qos := 0
	if raw.VLANQoS != nil {
		qos = *raw.VLANQoS
	}
	if qos < 0 || qos > 7 {
		p.add("vlanQoS", "%d is no priority; 0 to 7 are", qos)
	} else if qos != 0 && vlan == 0 {
		p.add("vlanQoS", "a priority is part of a VLAN tag: set vlan too")
	}
	proto := strings.ToLower(raw.VLANProto)
	if !slices.Contains([]string{"", device.Proto8021Q, device.Proto8021AD}, proto) {
		p.add("vlanProto", "%q is neither 802.1q nor 802.1ad", raw.VLANProto)
	} else if proto == device.Proto8021AD && vlan == 0 {
		p.add("vlanProto", "802.1ad is a kind of VLAN tag: set vlan too")
	}
	if raw.VLAN != nil {
		// The kernel sets the three together.
		proto = firstSet(proto, device.Proto8021Q)
		asked.VLAN, asked.QoS, asked.VLANProto = &vlan, &qos, &proto
	}
}

func (p *problems) rates(raw rawVFConf, asked *device.Settings) {
	for _, r := range []struct {
		field string
		rate  *int
	}{{"min_tx_rate", raw.MinTxRate}, {"max_tx_rate", raw.MaxTxRate}} {
		if r.rate != nil && *r.rate < 0 {
			p.add(r.field, "%d Mbit/s is below 0", *r.rate)
		}
	}
	if raw.MinTxRate != nil && raw.MaxTxRate != nil && *raw.MaxTxRate != 0 && *raw.MinTxRate > *raw.MaxTxRate {
		p.add("min_tx_rate", "%d Mbit/s is above max_tx_rate, %d", *raw.MinTxRate, *raw.MaxTxRate)
	}
	asked.MinTxRate, asked.MaxTxRate = raw.MinTxRate, raw.MaxTxRate
}

func (p *problems) onOff(field, word string) *bool {
	switch word {
	case "":
		return nil
	case "on", "off":
		on := word == "on"
		return &on
	}
	p.add(field, `%q is neither "on" nor "off"`, word)
	return nil
}

func (p *problems) linkState(word string) *string {
	if word == "" {
		return nil
	}
	if !slices.Contains([]string{"auto", "enable", "disable"}, word) {
		p.add("link_state", "%q is none of auto, enable, disable", word)
	}
	return &word
}

func firstSet(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}
