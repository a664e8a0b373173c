package attach

import (
	"encoding/json"

	"fairlead.dev/fairlead/pkg/ledger"
)

// ipvlanConf is the conf of a network of type ipvlan: the stock plugin's fields.
type ipvlanConf struct {
	Master          string      `json:"master"`
	Mode            string      `json:"mode"`
	MTU             int         `json:"mtu"`
	LinkInContainer bool        `json:"linkInContainer"`
	RuntimeConfig   runtimeConf `json:"runtimeConfig"`
	IPAM            ipamConf    `json:"ipam"`
}

func prepareIPvlan(at site, conf Conf) (ledger.Member, error) {
	c, err := parseIPvlan(conf.Raw)
	if err != nil {
		return ledger.Member{}, err
	}
	asked := ledger.ChildMember{Mode: c.Mode, MTU: c.MTU}
	if c.LinkInContainer {
		return memberInPod(at, PluginIPvlan, c.IPAM.Type, c.Master, asked)
	}
	uplink, err := at.uplinkOf(c.Master)
	if err != nil {
		return ledger.Member{}, err
	}
	return childMember(PluginIPvlan, c.IPAM.Type, uplink, asked)
}

// parseIPvlan reads and validates the conf.
func parseIPvlan(conf json.RawMessage) (ipvlanConf, error) {
	var c ipvlanConf
	if err := decode(conf, &c); err != nil {
		return c, err
	}
	var p problems
	c.Mode = firstSet(c.Mode, defaultMode(PluginIPvlan))
	p.checkMode(c.Mode, "l2", "l3", "l3s")
	p.checkMTU(c.MTU)
	if c.RuntimeConfig.MAC != "" {
		p.add("runtimeConfig.mac", "an ipvlan interface has its uplink's MAC; ask for none, or use macvlan")
	}
	return c, p.err()
}
