package attach

import (
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
)

func (f fakeLinks) AddBridge(s link.Spec, target link.Target) (link.Link, error) {
	if err := f.write("add bridge %s", s.Name); err != nil {
		return link.Link{}, err
	}
	to := behind(target)
	switch {
	case to.links[s.Name] != nil:
		return link.Link{}, fail("add", unix.EEXIST)
	case f.failKind == "bridge":
		return link.Link{}, fail("add", unix.EOPNOTSUPP)
	}
	mtu := s.MTU
	if mtu == 0 {
		mtu = 1500
	}
	return f.addLink(to.name, link.Link{Name: s.Name, Kind: "bridge", Type: "ether", MTU: mtu, MAC: "b6:00:00:00:00:01"}).Link, nil
}

func (f fakeLinks) AddVeth(p link.Pair, target link.Target) (near, far link.Link, err error) {
	to := behind(target)
	if err := f.write("add veth %s", p.Far.Name); err != nil {
		return near, far, err
	}
	if to.links[p.Far.Name] != nil || f.links[p.Name] != nil {
		return near, far, fail("add", unix.EEXIST)
	}
	if f.failAdd != 0 {
		return near, far, fail("add", f.failAdd)
	}
	mtu := p.Far.MTU
	if mtu == 0 {
		mtu = 1500
	}
	mac := p.Far.MAC
	if mac == "" {
		mac = "a6:00:00:00:00:02"
	}
	a := f.addLink(f.name, link.Link{Name: p.Name, Kind: "veth", Type: "ether", MTU: mtu, Group: p.Far.Group, MAC: "a6:00:00:00:00:03", Master: p.Bridge, Up: true, OperState: "up"})
	b := f.addLink(to.name, link.Link{Name: p.Far.Name, Kind: "veth", Type: "ether", MTU: mtu, Group: p.Far.Group, MAC: mac})
	a.peer, b.peer = b, a
	a.Parent, b.Parent = b.Index, a.Index
	return a.Link, b.Link, nil
}

func (f fakeLinks) SetPort(index int, hairpin, isolated bool) error {
	if err := f.write("port hairpin %t isolated %t", hairpin, isolated); err != nil {
		return err
	}
	l, err := f.find(index)
	if err == nil {
		l.Hairpin, l.Isolated = hairpin, isolated
	}
	return err
}

// dropPeer removes the other end of a veth that is deleted.
func (k *fakeKernel) dropPeer(l *fakeLink) {
	if l.peer == nil {
		return
	}
	for _, s := range k.spaces {
		if s.links[l.peer.Name] == l.peer {
			delete(s.links, l.peer.Name)
		}
	}
}

// rename and remove are work of somebody else.
func (k *fakeKernel) rename(space, old, name string) {
	l := k.spaces[space].links[old]
	delete(k.spaces[space].links, old)
	l.Name = name
	k.spaces[space].links[name] = l
}

func (k *fakeKernel) remove(space, name string) {
	l := k.spaces[space].links[name]
	delete(k.spaces[space].links, name)
	k.dropPeer(l)
}
