package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// vlanConf is the conf of a network of type vlan: the stock plugin's fields.
type vlanConf struct {
	Master          string   `json:"master"`
	ID              int      `json:"vlanId"`
	MTU             int      `json:"mtu"`
	LinkInContainer bool     `json:"linkInContainer"`
	IPAM            ipamConf `json:"ipam"`
}

// vlan is the Plugin that makes a VLAN link for the pod on a host netdev. The link itself
// is as a macvlan, so Add, Check and Del are those of child.
type vlan struct{ child }

// Prepare finds the host netdev. A link on an interface of the pod is the program's.
func (p vlan) Prepare(ctx context.Context, c Call, conf Conf) (ledger.Member, error) {
	parsed, err := parseVLAN(conf.Raw)
	if err != nil {
		return ledger.Member{}, err
	}
	if parsed.LinkInContainer {
		p.set.Log.Info("the network needs the plugin's program", "network", c.Network, "plugin", conf.Type, "field", "linkInContainer")
		return program(p.child).Prepare(ctx, c, conf)
	}
	at, err := p.set.enterHost(c)
	if err != nil {
		return ledger.Member{}, err
	}
	defer at.close()
	uplink, err := at.uplinkOf(parsed.Master)
	if err != nil {
		return ledger.Member{}, err
	}
	return childMember(PluginVLAN, parsed.IPAM.Type, uplink, ledger.ChildMember{VLAN: parsed.ID, MTU: parsed.MTU})
}

// parseVLAN reads and validates the conf.
func parseVLAN(conf json.RawMessage) (vlanConf, error) {
	var c vlanConf
	if err := decode(conf, &c); err != nil {
		return c, err
	}
	var p problems
	if c.Master == "" {
		p.add("master", "it is not set; name the host interface that carries the VLAN")
	}
	if c.ID < 0 || c.ID > 4094 {
		p.add("vlanId", "%d is no VLAN; 0 to 4094 are", c.ID)
	}
	p.checkMTU(c.MTU)
	return c, p.err()
}

// makeVLANLink makes the pod's VLAN link. The kernel has one for each id of a netdev, in
// whatever namespace.
func makeVLANLink(w *childWork, spec link.Spec, parent link.Link) (link.Link, error) {
	made, err := w.at.host.AddVLAN(spec, w.m.Child.VLAN, w.at.pod)
	if !errors.Is(err, link.ErrExists) {
		return made, err
	}
	if _, lookErr := w.at.pod.ByName(spec.Name); !errors.Is(lookErr, link.ErrNotFound) {
		return made, err // the name is taken
	}
	return made, fmt.Errorf("VLAN %d of %s is in use: an interface has one link for each id; use macvlan on a VLAN interface, or a bridge, to share it",
		w.m.Child.VLAN, parent.Name)
}
