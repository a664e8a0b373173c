package attach

import (
	"bytes"
	"encoding/json"
)

// bridgeConf is the conf of a network of type bridge: the stock plugin's fields.
type bridgeConf struct {
	Bridge       string          `json:"bridge"`
	Gateway      bool            `json:"isGateway"`
	Default      bool            `json:"isDefaultGateway"`
	ForceAddress bool            `json:"forceAddress"`
	MTU          int             `json:"mtu"`
	Hairpin      bool            `json:"hairpinMode"`
	Promisc      bool            `json:"promiscMode"`
	Isolated     bool            `json:"portIsolation"`
	DetectDups   bool            `json:"enabledad"`
	StaysDown    bool            `json:"disableContainerInterface"`
	IPMasq       bool            `json:"ipMasq"`
	SpoofCheck   bool            `json:"macspoofchk"`
	VLAN         int             `json:"vlan"`
	VLANTrunk    json.RawMessage `json:"vlanTrunk"`
	Runtime      runtimeConf     `json:"runtimeConfig"`
	IPAM         ipamConf        `json:"ipam"`
	Args         struct {
		CNI struct {
			MAC string `json:"mac"`
		} `json:"cni"`
	} `json:"args"`

	mac string // in effect, wherever it comes from
}

// defaultBridge is the stock plugin's.
const defaultBridge = "cni0"

// parseBridge reads and validates the conf.
func parseBridge(conf json.RawMessage, cniArgs string) (bridgeConf, error) {
	c := bridgeConf{Bridge: defaultBridge}
	if err := decode(conf, &c); err != nil {
		return c, err
	}
	var p problems
	c.Bridge = firstSet(c.Bridge, defaultBridge)
	c.Gateway = c.Gateway || c.Default
	p.checkMTU(c.MTU)
	if over := c.Args.CNI.MAC; over != "" && c.Runtime.MAC == "" {
		c.mac = p.checkMAC("args.cni.mac", over)
	} else {
		c.mac = p.chooseMAC(c.Runtime.MAC, cniArgs, "")
	}
	if len(c.Bridge) > longestName {
		p.add("bridge", "%q is longer than %d bytes", c.Bridge, longestName)
	}
	if c.Hairpin && c.Promisc {
		p.add("hairpinMode", "it excludes promiscMode: a frame would come back twice; leave one of them out")
	}
	if c.StaysDown && c.IPAM.Type != "" {
		p.add("disableContainerInterface", "an interface that stays down has no use for the addresses of an ipam; leave one of them out")
	}
	return c, p.err()
}

const longestName = 15

// needsProgram names the field for which the stock plugin is run instead: it filters
// packets, or tags frames, on the host.
func (c bridgeConf) needsProgram() string {
	switch trunk := bytes.TrimSpace(c.VLANTrunk); {
	case c.IPMasq:
		return "ipMasq"
	case c.SpoofCheck:
		return "macspoofchk"
	case c.VLAN != 0:
		return "vlan"
	case len(trunk) > 0 && string(trunk) != "null":
		return "vlanTrunk"
	}
	return ""
}
