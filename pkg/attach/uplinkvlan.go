package attach

import (
	"errors"
	"fmt"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// The pods of one uplink and VLAN share one VLAN link on the host: a NIC has one
// for each id. It is made when the first of them needs it and removed with the
// last. One that somebody else made is used, and left alone.

// planVLAN notes in the record which VLAN link will be used, without making it.
func (p preparation) planVLAN(att *ledger.Attachment, uplink link.Link, id int) error {
	att.Link.VLAN = id
	found, ok, err := findVLAN(p.host, uplink, id)
	switch {
	case err != nil:
		return err
	case !ok:
		att.Link.VLANLink = vlanName(uplink, id)
	case found.Group == linkGroup:
		att.Link.VLANLink = found.Name
	}
	return nil
}

// makeOnVLAN holds the lock until the pod's link exists, so that no Release takes
// the VLAN link away in between.
func (j *job) makeOnVLAN(uplink link.Link, c childConf) error {
	j.vlans.Lock()
	defer j.vlans.Unlock()
	parent, ok, err := findVLAN(j.host, uplink, j.att.Link.VLAN)
	if err != nil {
		return err
	}
	if !ok {
		if parent, err = j.makeVLAN(uplink); err != nil {
			return err
		}
	}
	if j.att.Link.MTU > parent.MTU {
		return fmt.Errorf("field \"mtu\": %d is above the MTU of VLAN interface %s, %d", j.att.Link.MTU, parent.Name, parent.MTU)
	}
	return j.makeOn(parent, c)
}

func (j *job) makeVLAN(uplink link.Link) (link.Link, error) {
	name := firstSet(j.att.Link.VLANLink, vlanName(uplink, j.att.Link.VLAN))
	spec := link.Spec{Name: name, Parent: uplink.Index, Group: linkGroup}
	l, err := j.host.AddVLAN(spec, j.att.Link.VLAN, j.host)
	if errors.Is(err, link.ErrUnsupported) {
		return l, fmt.Errorf("this node's kernel has no VLAN links (module 8021q missing?): %w", err)
	}
	if err != nil {
		return l, fmt.Errorf("make VLAN %d on %s: %w", j.att.Link.VLAN, uplink.Name, err)
	}
	// The host is no member of the tenants' VLAN: no link-local address, no router
	// advertisements from there.
	err = j.host.SetSysctls(sysctl{"ipv6/conf/" + name + "/disable_ipv6", "1"})
	if err == nil {
		err = j.host.SetUp(l.Index)
	}
	if err != nil {
		return l, errors.Join(err, j.host.Delete(l.Index))
	}
	return l, nil
}

// releaseVLAN removes the VLAN link if no other attachment on record uses it.
func (j *job) releaseVLAN() error {
	if j.att.Link == nil || j.att.Link.VLANLink == "" {
		return nil
	}
	j.vlans.Lock()
	defer j.vlans.Unlock()
	used, err := j.vlanUsedByOthers()
	if err != nil || used {
		return err
	}
	l, err := j.host.ByName(j.att.Link.VLANLink)
	if errors.Is(err, link.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if l.Kind != "vlan" || l.Group != linkGroup {
		return nil
	}
	return j.host.Delete(l.Index)
}

// vlanUsedByOthers does not count what is being released, be it beside this in
// the same sandbox or in others: each would leave the link to the other. Nothing
// runs in such a sandbox any more that needs it, and its own release does not mind
// that the link and what is on it are gone. A sandbox that is being attached is on
// record before makeOnVLAN looks for the link, and so keeps it, or makes it anew.
func (j *job) vlanUsedByOthers() (bool, error) {
	if j.Sandboxes == nil {
		return true, nil // nobody can tell: better a link too many than a pod cut off
	}
	sandboxes, err := j.Sandboxes()
	if err != nil {
		return false, fmt.Errorf("who else uses %s: %w", j.att.Link.VLANLink, err)
	}
	for _, s := range sandboxes {
		if s.Releasing {
			continue
		}
		for _, a := range s.Attachments {
			own := s.ID == j.env.SandboxID && a.IfName == j.att.IfName
			if !own && a.Phase != ledger.Released && a.Link != nil && a.Link.VLANLink == j.att.Link.VLANLink {
				return true, nil
			}
		}
	}
	return false, nil
}

func findVLAN(host Links, uplink link.Link, id int) (link.Link, bool, error) {
	links, err := host.List()
	if err != nil {
		return link.Link{}, false, err
	}
	for _, l := range links {
		if l.Kind == "vlan" && l.Parent == uplink.Index && l.VLAN == id {
			return l, true, nil
		}
	}
	return link.Link{}, false, nil
}

// vlanName is what people call such a link, as long as it fits.
func vlanName(uplink link.Link, id int) string {
	const longest = 15
	if name := fmt.Sprintf("%s.%d", uplink.Name, id); len(name) <= longest {
		return name
	}
	return fmt.Sprintf("vlan%d.%d", uplink.Index, id)
}
