package attach

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// vethWork makes and deletes a pair of links, one in the pod and one on the host.
type vethWork struct {
	at        site
	m         *ledger.Member
	ip        *addressing
	near, far link.Link // on the host, in the pod
}

func newVethWork(at site, m *ledger.Member) (*vethWork, error) {
	if m.Veth == nil {
		return nil, errors.New("the record of the link does not name its end on the host")
	}
	return &vethWork{at: at, m: m, ip: &addressing{at: at, m: m}}, nil
}

// vethName chooses the host's end's name, which looks as that of the stock plugins does:
// programs of the host know such names.
func vethName() string {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return "veth" + hex.EncodeToString(b[:])
}

func (w *vethWork) made() *types100.Result { return w.ip.result }

// make makes the pair. The host's end is a port of the bridge, if that is not 0.
func (w *vethWork) make(bridge int) error {
	rec := w.m.Veth
	pair := link.Pair{Name: rec.Host, Bridge: bridge, Far: link.Spec{Name: w.at.call.IfName, MTU: rec.MTU, MAC: rec.MAC, Group: linkGroup}}
	if w.at.call.inChain || ipamIsProgram(w.m.IPAM) {
		pair.Far.Group = chainGroup
	}
	near, far, err := w.at.host.AddVeth(pair, w.at.pod)
	switch {
	case errors.Is(err, link.ErrExists):
		return fmt.Errorf("the pod has an interface %s already: %w", w.at.call.IfName, err)
	case errors.Is(err, link.ErrUnsupported):
		return fmt.Errorf("this node's kernel has no veth links (module missing?): %w", err)
	case err != nil:
		return err
	}
	w.near, w.far, rec.Ifindex = near, far, far.Index
	w.ip.found(far)
	w.at.call.Order.made()
	// The host takes no router advertisements from a pod.
	return w.at.host.SetSysctls(sysctl{"ipv6/conf/" + near.Name + "/accept_ra", "0"})
}

// outer puts the host's interfaces before the pod's in the result, as the stock plugins do.
func (w *vethWork) outer(links ...link.Link) {
	var list []*types100.Interface
	for _, l := range links {
		list = append(list, &types100.Interface{Name: l.Name, Mac: l.MAC, Mtu: l.MTU})
	}
	w.ip.result.Interfaces = append(list, w.ip.result.Interfaces...)
	w.ip.index = len(list)
	for _, ip := range w.ip.result.IPs {
		ip.Interface = &w.ip.index
	}
}

// delete deletes the pair by its end on the host, wherever the other end is by now.
func (w *vethWork) delete(context.Context) error {
	l, err := w.at.host.ByName(w.m.Veth.Host)
	if err == nil && isOwnVeth(l) {
		return ignoreNotFound(w.at.host.Delete(l.Index))
	}
	if err != nil && !errors.Is(err, link.ErrNotFound) {
		return err
	}
	return w.deleteInPod()
}

// deleteInPod serves a pair whose end on the host was renamed.
func (w *vethWork) deleteInPod() error {
	if w.at.pod == nil {
		return nil
	}
	l, err := w.at.pod.ByName(w.at.call.IfName)
	if err != nil || !isOwnVeth(l) {
		return ignoreNotFound(err)
	}
	return ignoreNotFound(w.at.pod.Delete(l.Index))
}

func isOwnVeth(l link.Link) bool {
	return l.Kind == "veth" && (l.Group == linkGroup || l.Group == chainGroup)
}

// check compares the pair with the record. master is the ifindex of the bridge that the
// host's end is to be a port of.
func (w *vethWork) check(master int) (link.Link, error) {
	l, err := w.at.host.ByName(w.m.Veth.Host)
	switch {
	case errors.Is(err, link.ErrNotFound):
		return l, fmt.Errorf("the host's end of interface %s is missing", w.at.call.IfName)
	case err != nil:
		return l, err
	case l.Kind != "veth":
		return l, fmt.Errorf("the host's end of interface %s is of kind %q", w.at.call.IfName, l.Kind)
	case l.Master != master:
		return l, fmt.Errorf("the host's end of interface %s is no port of bridge %s", w.at.call.IfName, w.m.Veth.Bridge)
	case !l.Up:
		return l, fmt.Errorf("the host's end of interface %s is down", w.at.call.IfName)
	}
	return l, nil
}
