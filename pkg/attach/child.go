package attach

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// childConf is what a macvlan or ipvlan is made of.
type childConf struct {
	kind     string
	mode     string
	queueLen uint32
}

// uplinkOf finds the host link that a macvlan or ipvlan sits on: by name or
// altname, else the default route's.
func (p preparation) uplinkOf(master string) (link.Link, error) {
	if master == "" {
		l, err := p.host.DefaultLink()
		if errors.Is(err, link.ErrNotFound) {
			return l, fmt.Errorf("field \"master\" is not set, and this node has no default route to take the interface from; set it")
		}
		return l, err
	}
	l, err := p.host.ByName(master)
	if errors.Is(err, link.ErrNotFound) {
		return l, fmt.Errorf("field \"master\": this node has no interface %q; it has %s", master, p.hostLinkNames())
	}
	return l, err
}

func (p preparation) hostLinkNames() string {
	links, err := p.host.List()
	if err != nil || len(links) == 0 {
		return "none"
	}
	const most = 12
	var names []string
	for _, l := range links {
		if l.Type == "loopback" || l.Kind == "veth" {
			continue // a node has one veth for each pod
		}
		names = append(names, l.Name)
	}
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return strings.Join(names, ", ")
}

// child records a macvlan or ipvlan on an uplink.
func (p preparation) child(kind, ipamType string, uplink link.Link, mtu int, mac string) (ledger.Attachment, error) {
	if mtu > uplink.MTU {
		return ledger.Attachment{}, fmt.Errorf("field \"mtu\": %d is above the MTU of %s, %d; raise that one first or ask for less", mtu, uplink.Name, uplink.MTU)
	}
	att := p.attachment(kind, ipamType)
	att.Link = &ledger.LinkState{Uplink: uplink.Name, MTU: mtu, MAC: mac}
	return att, nil
}

// childSteps lists what is done for a macvlan or ipvlan.
func (j *job) childSteps() steps {
	return steps{
		{"wait for the interfaces before it", j.env.turn, nil},
		{"make the interface", j.makeChild, j.deleteChild},
		{"set the interface's sysctls", j.setSysctls, nil},
		j.ipamStep(),
		{"configure addresses", j.configureAddresses, nil},
	}
}

func (j *job) makeChild(context.Context) error {
	if j.att.FallbackFrom != "" {
		return j.makeFallback()
	}
	c, err := j.childConf()
	if err != nil {
		return err
	}
	uplink, err := j.host.ByName(j.att.Link.Uplink)
	if err != nil {
		return err
	}
	return j.makeOn(uplink, c)
}

func (j *job) childConf() (childConf, error) {
	if j.att.Kind == KindIPvlan {
		c, err := parseIPvlan(j.conf)
		return childConf{kind: KindIPvlan, mode: c.Mode}, err
	}
	c, err := parseMacvlan(j.conf, j.att.CNIArgs)
	return childConf{kind: KindMacvlan, mode: c.Mode, queueLen: c.BcQueueLen}, err
}

// makeOn creates the link in the pod's namespace, complete, by one message.
func (j *job) makeOn(parent link.Link, c childConf) (err error) {
	spec := link.Spec{Name: j.att.IfName, Parent: parent.Index, MTU: j.att.Link.MTU, Group: linkGroup}
	var made link.Link
	if c.kind == KindIPvlan {
		made, err = j.host.AddIPvlan(spec, c.mode, j.pod)
	} else {
		spec.MAC = j.att.Link.MAC
		made, err = j.host.AddMacvlan(spec, c.mode, c.queueLen, j.pod)
	}
	switch {
	case errors.Is(err, link.ErrExists):
		return fmt.Errorf("the pod has an interface %s already: %w", j.att.IfName, err)
	case errors.Is(err, link.ErrUnsupported):
		return fmt.Errorf("this node's kernel has no %s (module missing?): %w", c.kind, err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s takes no %s: it is a port of a bridge or bond, or has links of the other kind (macvlan and ipvlan exclude each other): %w", parent.Name, c.kind, err)
	case err != nil:
		return fmt.Errorf("on %s: %w", parent.Name, err)
	}
	j.setResult(made)
	j.env.made()
	return nil
}

// deleteChild also gives the shared VLAN link below up, whether or not the pod's
// link is still there.
func (j *job) deleteChild(context.Context) error {
	var err error
	if j.pod != nil {
		err = j.deleteInPod()
	}
	return errors.Join(err, j.releaseVLAN())
}

func (j *job) deleteInPod() error {
	l, err := j.pod.ByName(j.att.IfName)
	if errors.Is(err, link.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if l.Group != linkGroup || (l.Kind != KindMacvlan && l.Kind != KindIPvlan) {
		return nil // of this name, but not what this package made
	}
	err = j.pod.Delete(l.Index)
	if errors.Is(err, link.ErrNotFound) {
		return nil
	}
	return err
}
