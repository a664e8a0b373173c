package attach

import (
	"encoding/json"
	"slices"

	"fairlead.dev/fairlead/pkg/ledger"
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

func (p preparation) macvlan() (ledger.Attachment, error) {
	c, err := parseMacvlan(p.Config, p.CNIArgs)
	if err != nil {
		return ledger.Attachment{}, err
	}
	uplink, err := p.uplinkOf(c.Master)
	if err != nil {
		return ledger.Attachment{}, err
	}
	return p.child(KindMacvlan, c.IPAM.Type, uplink, c.MTU, c.MAC)
}

// parseMacvlan reads and validates the conf; its MAC is the one that counts.
func parseMacvlan(conf json.RawMessage, cniArgs string) (macvlanConf, error) {
	var c macvlanConf
	if err := decode(conf, &c); err != nil {
		return c, err
	}
	var p problems
	c.Mode = firstSet(c.Mode, "bridge")
	p.checkMode(c.Mode, "bridge", "private", "vepa", "passthru")
	p.checkMTU(c.MTU)
	p.checkNotInContainer(c.LinkInContainer)
	c.MAC = p.chooseMAC(c.RuntimeConfig.MAC, cniArgs, c.MAC)
	return c, p.err()
}

func (p *problems) checkMode(mode string, known ...string) {
	if !slices.Contains(known, mode) {
		p.add("mode", "%q is none of %v", mode, known)
	}
}

func (p *problems) checkNotInContainer(set bool) {
	if set {
		p.add("linkInContainer", `an uplink inside the pod is not built in; set "builtin": false to run the stock plugin`)
	}
}
