package attach

import (
	"errors"
	"fmt"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// The pods of one uplink and VLAN share one VLAN link on the host: a NIC has one
// for each id. It is made when the first of them needs it and removed with the
// last. A VLAN link that somebody else made is used, and never removed.

// planVLAN records which VLAN link will be used, without making it.
func (at site) planVLAN(c *ledger.ChildMember, uplink link.Link, id int) error {
	c.VLAN = id
	found, ok, err := findVLAN(at.host, uplink, id)
	switch {
	case err != nil:
		return err
	case !ok:
		c.VLANLink = vlanName(uplink, id)
	case found.Group == linkGroup:
		c.VLANLink = found.Name
	}
	return nil
}

// makeOnVLAN holds the lock until the pod's link exists, so that no Del takes the
// VLAN link away in between.
func (w *childWork) makeOnVLAN(uplink link.Link) error {
	w.at.set.vlans.Lock()
	defer w.at.set.vlans.Unlock()
	parent, ok, err := w.vlanLink(uplink)
	if err != nil {
		return err
	}
	if !ok {
		if parent, err = w.makeVLAN(uplink); err != nil {
			return err
		}
	}
	if w.m.Child.MTU > parent.MTU {
		return fmt.Errorf("field \"mtu\": %d is above the MTU of VLAN interface %s, %d", w.m.Child.MTU, parent.Name, parent.MTU)
	}
	return w.makeOn(parent)
}

// vlanLink finds the VLAN link by the name on record, and only if that is not it, by a
// look at all links.
func (w *childWork) vlanLink(uplink link.Link) (link.Link, bool, error) {
	c := w.m.Child
	if c.VLANLink != "" {
		l, err := w.at.host.ByName(c.VLANLink)
		if err == nil && isVLAN(l, uplink, c.VLAN) {
			return l, true, nil
		}
		if err != nil && !errors.Is(err, link.ErrNotFound) {
			return l, false, err
		}
	}
	return findVLAN(w.at.host, uplink, c.VLAN)
}

func (w *childWork) makeVLAN(uplink link.Link) (link.Link, error) {
	host, id := w.at.host, w.m.Child.VLAN
	name := firstSet(w.m.Child.VLANLink, vlanName(uplink, id))
	l, err := host.AddVLAN(link.Spec{Name: name, Parent: uplink.Index, Group: linkGroup}, id, host)
	if errors.Is(err, link.ErrUnsupported) {
		return l, fmt.Errorf("this node's kernel has no VLAN links (module 8021q missing?): %w", err)
	}
	if err != nil {
		return l, fmt.Errorf("make VLAN %d on %s: %w", id, uplink.Name, err)
	}
	// The host is no member of the tenants' VLAN: it has no address there, takes no
	// router advertisements, answers no ARP, and routes nothing that comes from there.
	err = host.SetSysctls(
		sysctl{"ipv6/conf/" + name + "/disable_ipv6", "1"},
		sysctl{"ipv4/conf/" + name + "/rp_filter", "1"},
		sysctl{"ipv4/conf/" + name + "/arp_ignore", "8"},
	)
	if err == nil {
		err = host.SetUp(l.Index)
	}
	if err != nil {
		return l, errors.Join(err, host.Delete(l.Index))
	}
	return l, nil
}

// releaseVLAN removes the VLAN link if no other attachment on record uses it.
//
// Attachments that are being released do not count as users. Otherwise two of them,
// released at the same time, would each leave the link for the other to delete. A
// sandbox that is being attached is on record before makeOnVLAN looks for the link: it
// keeps the link, or makes it again.
func (w *childWork) releaseVLAN() error {
	name := w.m.Child.VLANLink
	if name == "" || w.at.set.VLANLinkUsers == nil {
		return nil // if nobody knows the users, better a link too many than a pod cut off
	}
	w.at.set.vlans.Lock()
	defer w.at.set.vlans.Unlock()
	users, err := w.at.set.VLANLinkUsers(name, w.at.call.SandboxID, w.at.call.IfName)
	if err != nil {
		return fmt.Errorf("find out who else uses %s: %w", name, err)
	}
	if users > 0 {
		return nil
	}
	l, err := w.at.host.ByName(name)
	if errors.Is(err, link.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if l.Kind != "vlan" || l.Group != linkGroup {
		return nil
	}
	return w.at.host.Delete(l.Index)
}

func isVLAN(l, uplink link.Link, id int) bool {
	return l.Kind == "vlan" && l.Parent == uplink.Index && l.VLAN == id
}

func findVLAN(host *Links, uplink link.Link, id int) (link.Link, bool, error) {
	links, err := host.List()
	if err != nil {
		return link.Link{}, false, err
	}
	for _, l := range links {
		if isVLAN(l, uplink, id) {
			return l, true, nil
		}
	}
	return link.Link{}, false, nil
}

// vlanName is the usual name of such a link, as long as it fits.
func vlanName(uplink link.Link, id int) string {
	const longest = 15
	if name := fmt.Sprintf("%s.%d", uplink.Name, id); len(name) <= longest {
		return name
	}
	return fmt.Sprintf("vlan%d.%d", uplink.Index, id)
}
