package attach

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// fallback prepares the link that an sriov network declares for pods without a VF.
type fallback struct {
	at   site
	conf vfConf
}

// member takes the first of the declared kinds that the node can make, on the first
// uplink that takes it.
func (p fallback) member() (ledger.Member, error) {
	reason := "the pod holds no device"
	if resource := p.at.call.Resource; resource != "" {
		reason = "the pod holds no device of " + resource
	}
	if len(p.conf.Fallback) == 0 {
		return ledger.Member{}, fmt.Errorf(`%s, and the network declares no fallback; request the resource in the pod's containers, or set "fallback": ["macvlan", "ipvlan"] in the network`, reason)
	}
	uplinks := p.at.call.Uplinks
	if p.conf.Uplink != "" {
		uplinks = []string{p.conf.Uplink}
	}
	if len(uplinks) == 0 {
		return ledger.Member{}, fmt.Errorf(`%s, and its fallback has no uplink on this node; set "uplink" in the network to a host interface`, reason)
	}
	var unfit []string
	for i, kind := range p.conf.Fallback {
		for _, name := range uplinks {
			m, err := p.on(kind, name)
			if err != nil {
				unfit = append(unfit, fmt.Sprintf("%s on %s: %v", kind, name, err))
				continue
			}
			m.Child.Fallback = &ledger.Fallback{From: PluginSRIOV, Reason: strings.Join(append([]string{reason}, unfit...), "; ")}
			m.Child.OtherKinds = slices.Clone(p.conf.Fallback[i+1:])
			p.ignoreVFSettings(kind)
			return m, nil
		}
	}
	return ledger.Member{}, fmt.Errorf("%s, and no fallback of the network is possible here: %s", reason, strings.Join(unfit, "; "))
}

// ignoreVFSettings reports the settings that only a VF has. Those that would keep the pod from
// something are errors instead; see on.
func (p fallback) ignoreVFSettings(kind string) {
	asked := p.conf.Asked
	for _, s := range []struct {
		field string
		isSet bool
	}{
		{"vlanQoS", orZero(asked.QoS) != 0},
		{"min_tx_rate", orZero(asked.MinTxRate) != 0},
		{"max_tx_rate", orZero(asked.MaxTxRate) != 0},
		{"trust", asked.Trust != nil && *asked.Trust},
		{"spoofchk", asked.SpoofCheck != nil && !*asked.SpoofCheck},
		{"link_state", asked.LinkState != nil && *asked.LinkState != "auto"},
	} {
		if s.isSet {
			p.at.call.ignore(s.field, "only VFs have it, and the pod has a %s", kind)
		}
	}
}

func (p fallback) on(kind, name string) (ledger.Member, error) {
	asked := p.conf.Asked
	uplink, err := p.at.host.ByName(name)
	switch {
	case errors.Is(err, link.ErrNotFound):
		return ledger.Member{}, errors.New("no such interface")
	case err != nil:
		return ledger.Member{}, err
	case !uplink.Up:
		return ledger.Member{}, errors.New("the interface is down")
	case kind == PluginIPvlan && asked.MAC != "":
		return ledger.Member{}, fmt.Errorf("ipvlan cannot have a MAC of its own, and %s is asked for", asked.MAC)
	case p.conf.Trunk:
		return ledger.Member{}, errors.New("VLAN trunks are not there")
	case asked.SpoofCheck != nil && *asked.SpoofCheck:
		return ledger.Member{}, errors.New(`only VFs check the sender's address, and the network asks for it ("spoofchk": "on")`)
	case asked.VLANProto != nil && *asked.VLANProto == device.Proto8021AD:
		return ledger.Member{}, errors.New("802.1ad tags are there with VFs only")
	}
	if p.conf.Uplink == "" {
		if err := p.at.mayUseUnnamed(uplink); err != nil {
			return ledger.Member{}, err
		}
	}
	if err := p.at.mayBeUplink(uplink); err != nil {
		return ledger.Member{}, err
	}
	c := ledger.ChildMember{Mode: defaultMode(kind), MTU: orZero(asked.MTU), MAC: asked.MAC}
	m, err := childMember(kind, p.conf.IPAM, uplink, c)
	if err != nil || orZero(asked.VLAN) == 0 {
		return m, err
	}
	return m, p.at.planVLAN(m.Child, uplink, *asked.VLAN)
}
