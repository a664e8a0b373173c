package attach

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// fallback prepares what an sriov network declares for pods without a VF: the
// first of its kinds that can be had, on the first uplink that can have it.
func (p preparation) fallback(c vfConf) (ledger.Attachment, error) {
	reason := "the pod holds no device"
	if p.Resource != "" {
		reason = "the pod holds no device of " + p.Resource
	}
	if len(c.Fallback) == 0 {
		return ledger.Attachment{}, fmt.Errorf(`%s, and the network declares no fallback; request the resource in the pod's containers, or set "fallback": ["macvlan", "ipvlan"] in the network`, reason)
	}
	uplinks := p.Uplinks
	if c.Uplink != "" {
		uplinks = []string{c.Uplink}
	}
	if len(uplinks) == 0 {
		return ledger.Attachment{}, fmt.Errorf(`%s, and its fallback has no uplink on this node; set "uplink" in the network to a host interface`, reason)
	}
	var unfit []string
	for _, kind := range c.Fallback {
		for _, name := range uplinks {
			att, err := p.fallbackOn(kind, name, c)
			if err != nil {
				unfit = append(unfit, fmt.Sprintf("%s on %s: %v", kind, name, err))
				continue
			}
			att.FallbackFrom = KindSRIOV
			att.FallbackReason = strings.Join(append([]string{reason}, unfit...), "; ")
			return att, nil
		}
	}
	return ledger.Attachment{}, fmt.Errorf("%s, and no fallback of the network is possible here: %s", reason, strings.Join(unfit, "; "))
}

func (p preparation) fallbackOn(kind, name string, c vfConf) (ledger.Attachment, error) {
	uplink, err := p.host.ByName(name)
	switch {
	case errors.Is(err, link.ErrNotFound):
		return ledger.Attachment{}, errors.New("no such interface")
	case err != nil:
		return ledger.Attachment{}, err
	case !uplink.Up:
		return ledger.Attachment{}, errors.New("the interface is down")
	case kind == KindIPvlan && c.Asked.MAC != "":
		return ledger.Attachment{}, fmt.Errorf("ipvlan cannot have a MAC of its own, and %s is asked for", c.Asked.MAC)
	case c.Trunk:
		return ledger.Attachment{}, errors.New("VLAN trunks are not there")
	case c.Asked.VLANProto != nil && *c.Asked.VLANProto == "802.1ad":
		return ledger.Attachment{}, errors.New("802.1ad tags are there with VFs only")
	}
	mtu := 0
	if c.Asked.MTU != nil {
		mtu = *c.Asked.MTU
	}
	att, err := p.child(kind, c.IPAM, uplink, mtu, c.Asked.MAC)
	if err != nil || c.Asked.VLAN == nil || *c.Asked.VLAN == 0 {
		return att, err
	}
	return att, p.planVLAN(&att, uplink, *c.Asked.VLAN)
}

// makeFallback makes the kind that Prepare chose; where the kernel turns out not
// to do that, the next kind that the network declares.
func (j *job) makeFallback() error {
	c, err := parseVFConf(j.conf, j.att.CNIArgs)
	if err != nil {
		return err
	}
	for i, kind := range c.Fallback {
		if kind != j.att.Kind {
			continue
		}
		err := j.makeFallbackKind(kind)
		last := i == len(c.Fallback)-1
		if err == nil || last || !cannotMake(err) || j.att.Link.MAC != "" {
			return err
		}
		// The record stays true: it is released the same way under either kind.
		j.att.FallbackReason += fmt.Sprintf("; %s on %s: %v", kind, j.att.Link.Uplink, err)
		j.att.Kind = c.Fallback[i+1]
	}
	return fmt.Errorf("the network's fallback list no longer names %s", j.att.Kind)
}

func (j *job) makeFallbackKind(kind string) error {
	child := childConf{kind: kind, mode: "bridge"}
	if kind == KindIPvlan {
		child.mode = "l2"
	}
	uplink, err := j.host.ByName(j.att.Link.Uplink)
	if err != nil {
		return err
	}
	if j.att.Link.VLAN == 0 {
		return j.makeOn(uplink, child)
	}
	return j.makeOnVLAN(uplink, child)
}

// cannotMake: the kernel has no such links, or the uplink takes none of the kind.
func cannotMake(err error) bool {
	return errors.Is(err, link.ErrUnsupported) || errors.Is(err, unix.EBUSY)
}
