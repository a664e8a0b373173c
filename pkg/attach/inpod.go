package attach

import (
	"errors"
	"fmt"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// linkInContainer puts a macvlan or ipvlan on an interface that the pod has from an earlier
// network: a VF, a bond, eth0. That interface is the pod's own, so that no custody, policy or
// floor has a say. It does not exist before ADD, and ends with the namespace.

// memberInPod records a link on an interface of the pod.
func memberInPod(at site, plugin, ipamType, master string, c ledger.ChildMember) (ledger.Member, error) {
	if master == at.call.IfName {
		return ledger.Member{}, fmt.Errorf("field \"master\": %s is the interface that this network makes; name that of an earlier network", master)
	}
	c.Uplink, c.InPod = master, true
	return ledger.Member{Plugin: plugin, IPAM: ipamType, Child: &c}, nil
}

// below is the namespace that has the uplink.
func (w *childWork) below() *Links {
	if w.m.Child.InPod {
		return w.at.pod
	}
	return w.at.host
}

func (w *childWork) makeInPod() error {
	uplink, err := podUplink(w.at.pod, w.m.Child.Uplink)
	if err != nil {
		return err
	}
	if mtu := w.m.Child.MTU; mtu > uplink.MTU {
		return fmt.Errorf("field \"mtu\": %d is above the MTU of the pod's interface %s, %d; raise that network's or ask for less", mtu, uplink.Name, uplink.MTU)
	}
	w.m.Child.Uplink = uplink.Name
	return w.makeOn(uplink)
}

// podUplink finds an interface of the pod; without a name that of its default route.
func podUplink(pod *Links, master string) (l link.Link, err error) {
	if master == "" {
		l, err = pod.DefaultLink()
	} else {
		l, err = pod.ByName(master)
	}
	switch {
	case errors.Is(err, link.ErrNotFound) && master == "":
		return l, errors.New("field \"master\" is not set, and the pod has no default route to take the interface from; set it")
	case errors.Is(err, link.ErrNotFound):
		return l, fmt.Errorf("field \"master\": the pod has no interface %q (linkInContainer is on); it has %s. Is its network before this one in the annotation?", master, linkNames(pod, ""))
	case err == nil && l.Type == "loopback":
		return l, fmt.Errorf("field \"master\": %s is the pod's loopback interface; name another one", l.Name)
	}
	return l, err
}

// OnPodLink reports whether an attachment's link is on another interface of the pod. It is
// released before that one: the kernel leaves it there when a VF moves.
func OnPodLink(att ledger.Attachment) bool {
	return len(att.Members) > 0 && att.Members[0].Child != nil && att.Members[0].Child.InPod
}
