package attach

import (
	"encoding/json"
	"fmt"
	"slices"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// macvlanConf is the conf of a network of type macvlan: the stock plugin's fields.
type macvlanConf struct {
	Master          string      `json:"master"`
	Mode            string      `json:"mode"`
	MTU             int         `json:"mtu"`
	MAC             string      `json:"mac"`
	LinkInContainer bool        `json:"linkInContainer"`
	BcQueueLen      uint32      `json:"bcqueuelen"`
	RuntimeConfig   runtimeConf `json:"runtimeConfig"`
	IPAM            ipamConf    `json:"ipam"`
}

type ipamConf struct {
	Type string `json:"type"`
}

func prepareMacvlan(at site, conf Conf) (ledger.Member, error) {
	c, err := parseMacvlan(conf.Raw, at.call.CNIArgs)
	if err != nil {
		return ledger.Member{}, err
	}
	asked := ledger.ChildMember{Mode: c.Mode, QueueLen: c.BcQueueLen, MTU: c.MTU, MAC: c.MAC}
	if c.LinkInContainer {
		return memberInPod(at, PluginMacvlan, c.IPAM.Type, c.Master, asked)
	}
	uplink, err := at.uplinkOf(c.Master)
	if err != nil {
		return ledger.Member{}, err
	}
	if c.Mode == "passthru" {
		if err := at.mayPassThrough(uplink, c.Master != ""); err != nil {
			return ledger.Member{}, err
		}
	}
	return childMember(PluginMacvlan, c.IPAM.Type, uplink, asked)
}

// mayPassThrough refuses a netdev by which the node itself is reached: in this mode
// the pod gets all that arrives there. One that the config does not name is that of the
// default route.
func (at site) mayPassThrough(uplink link.Link, named bool) error {
	use, err := at.hostUse(uplink)
	if err == nil && use == "" && !named {
		use = "for a default route"
	}
	if err != nil || use == "" {
		return err
	}
	return fmt.Errorf("field \"mode\": passthru would take interface %s from the host, which uses it %s; use another mode or master", uplink.Name, use)
}

// parseMacvlan reads and validates the conf. MAC is the one in effect, wherever it
// comes from.
func parseMacvlan(conf json.RawMessage, cniArgs string) (macvlanConf, error) {
	var c macvlanConf
	if err := decode(conf, &c); err != nil {
		return c, err
	}
	var p problems
	c.Mode = firstSet(c.Mode, defaultMode(PluginMacvlan))
	p.checkMode(c.Mode, "bridge", "private", "vepa", "passthru")
	p.checkMTU(c.MTU)
	c.MAC = p.chooseMAC(c.RuntimeConfig.MAC, cniArgs, c.MAC)
	return c, p.err()
}

func (p *problems) checkMode(mode string, known ...string) {
	if !slices.Contains(known, mode) {
		p.add("mode", "%q is none of %v", mode, known)
	}
}
