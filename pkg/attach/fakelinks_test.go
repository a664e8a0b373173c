package attach

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
)

func (f fakeLinks) Close() { f.closed++ }

func (f fakeLinks) FD() int { return f.fd }

// read counts a call, which may be the one to fail.
func (f fakeLinks) read(op string) error {
	f.count++
	if f.onRead != nil {
		f.onRead(op)
	}
	if op != "sysctl" && op != "announce" {
		f.messages++
	}
	if f.count == f.failCall || f.deadAgent {
		return &link.Error{Op: op, Object: "injected failure", Err: f.failErr}
	}
	return nil
}

func (f fakeLinks) write(format string, args ...any) error {
	where := "host: "
	if f.name != "" {
		where = "pod: "
	}
	op := fmt.Sprintf(format, args...)
	f.calls = append(f.calls, where+op)
	for begins := range f.busy {
		if strings.HasPrefix(op, begins) && f.busy[begins] > 0 {
			f.busy[begins]--
			return fail(op, f.busyErr)
		}
	}
	return f.read(op)
}

func (f fakeLinks) find(index int) (*fakeLink, error) {
	for _, l := range f.links {
		if l.Index == index {
			return l, nil
		}
	}
	return nil, fail("look-up", unix.ENODEV)
}

func (f fakeLinks) ByName(name string) (link.Link, error) {
	if err := f.read("look-up " + name); err != nil {
		return link.Link{}, err
	}
	if l := f.named(name); l != nil {
		return f.shown(l), nil
	}
	return link.Link{}, fail("look-up "+name, unix.ENODEV)
}

func (f fakeLinks) shown(l *fakeLink) link.Link {
	seen := l.Link
	if f.hidesParents {
		seen.ParentDev = ""
	}
	return seen
}

// named finds a link as the kernel does: links and their altnames share one set of names.
func (s *space) named(name string) *fakeLink {
	for _, l := range s.links {
		if l.Name == name || slices.Contains(l.AltNames, name) {
			return l
		}
	}
	return nil
}

func (f fakeLinks) ByIndex(index int) (link.Link, error) {
	if err := f.read("look-up"); err != nil {
		return link.Link{}, err
	}
	l, err := f.find(index)
	if err != nil {
		return link.Link{}, err
	}
	return f.shown(l), nil
}

func (f fakeLinks) List() ([]link.Link, error) {
	if err := f.read("listing"); err != nil {
		return nil, err
	}
	return f.list(), nil
}

func (f fakeLinks) list() []link.Link {
	var links []link.Link
	for _, l := range f.links {
		links = append(links, f.shown(l))
	}
	slices.SortFunc(links, func(a, b link.Link) int { return a.Index - b.Index })
	return links
}

func (f fakeLinks) DefaultLink() (link.Link, error) {
	for _, l := range f.links {
		for _, r := range l.routes {
			if ones, _ := r.Dst.Mask.Size(); ones == 0 {
				return l.Link, nil
			}
		}
	}
	return link.Link{}, fail("default route", unix.ESRCH)
}

func (f fakeLinks) Use(index int) (link.Use, error) {
	if err := f.read("use"); err != nil {
		return link.Use{}, err
	}
	l, err := f.find(index)
	if err != nil {
		return link.Use{}, err
	}
	return f.useOf(l), nil
}

func (f fakeLinks) useOf(l *fakeLink) link.Use {
	use := link.Use{Name: l.Name, Master: l.Master}
	for _, above := range f.list() {
		if above.Kind != "" && above.Parent == l.Index {
			use.OnTop = append(use.OnTop, above.Name)
		}
	}
	for _, r := range l.routes {
		ones, _ := r.Dst.Mask.Size()
		use.DefaultRoute = use.DefaultRoute || ones == 0
	}
	for _, a := range l.addrs {
		if a.InUse() {
			use.Addresses = append(use.Addresses, netip.MustParsePrefix(a.IPNet.String()))
		}
	}
	return use
}

func (f fakeLinks) SetMTU(index, mtu int) error {
	if err := f.write("mtu %d", mtu); err != nil {
		return err
	}
	l, err := f.find(index)
	switch {
	case err != nil:
		return err
	case l.MaxMTU != 0 && mtu > l.MaxMTU:
		return fail("mtu", unix.EINVAL)
	}
	l.MTU = mtu
	return nil
}

func (f fakeLinks) SetMAC(index int, mac string) error {
	if err := f.write("mac %s", mac); err != nil {
		return err
	}
	l, err := f.find(index)
	if err != nil {
		return err
	}
	if l.vf != nil {
		if l.vf.setByPF || f.driver.followsPF {
			return fail("mac", unix.EADDRNOTAVAIL)
		}
		if !f.driver.deafNetdev {
			l.vf.info.MAC = mac
		}
	}
	l.MAC = mac
	return nil
}

func (f fakeLinks) SetUp(index int) error { return f.flag("up", index, true) }

func (f fakeLinks) SetDown(index int) error { return f.flag("down", index, false) }

func (f fakeLinks) flag(op string, index int, up bool) error {
	if err := f.write("%s", op); err != nil {
		return err
	}
	l, err := f.find(index)
	if err == nil {
		l.Up = up
		l.Carrier = up && !f.slowCarrier
	}
	return err
}

func (f fakeLinks) Rename(index int, name string) error {
	if err := f.write("rename to %s", name); err != nil {
		return err
	}
	l, err := f.find(index)
	switch {
	case err != nil:
		return err
	case f.named(name) != nil: // by itself too
		return fail("rename", unix.EEXIST)
	case l.Up:
		return fail("rename", unix.EBUSY)
	}
	delete(f.links, l.Name)
	l.Name = name
	f.place(f.name, l)
	return nil
}

func (f fakeLinks) AddAltName(index int, name string) error {
	if err := f.write("add altname %s", name); err != nil {
		return err
	}
	l, err := f.find(index)
	switch {
	case err != nil:
		return err
	case f.named(name) != nil:
		return fail("add altname", unix.EEXIST)
	}
	l.AltNames = append(slices.Clone(l.AltNames), name)
	return nil
}

func (f fakeLinks) DeleteAltNames(index int, names ...string) error {
	if err := f.write("delete altnames %s", strings.Join(names, " ")); err != nil {
		return err
	}
	l, err := f.find(index)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains(l.AltNames, name) {
			return fail("delete altname", unix.ENOENT)
		}
		l.AltNames = slices.DeleteFunc(slices.Clone(l.AltNames), func(alt string) bool { return alt == name })
	}
	return nil
}

func (f fakeLinks) MoveTo(index int, target link.Target, name string, _ int) error {
	to := behind(target)
	where := "host"
	if to.name != "" {
		where = "pod"
	}
	f.messages++ // it looks for the name first
	if err := f.write("move to %s as %s", where, name); err != nil {
		return err
	}
	l, err := f.find(index)
	switch {
	case err != nil:
		return err
	case to.named(name) != nil:
		return fail("move", unix.EEXIST)
	}
	for _, alt := range l.AltNames {
		if to.named(alt) != nil {
			return fail("move", unix.EEXIST)
		}
	}
	delete(f.links, l.Name)
	if f.driver.halfMoves && to.name != "" {
		l.Up, l.addrs, l.routes = false, nil, nil
		f.place(to.name, l)
		return fail("move", unix.ENOMEM)
	}
	if slices.Contains(l.AltNames, name) { // found out when it is there already
		l.Up, l.addrs, l.routes = false, nil, nil
		f.place(to.name, l)
		return fail("move", unix.EEXIST)
	}
	l.Name, l.Up, l.addrs, l.routes = name, false, nil, nil
	f.place(to.name, l)
	return nil
}

func (f fakeLinks) Delete(index int) error {
	l, err := f.find(index)
	if err != nil {
		return err
	}
	if err := f.write("delete %s", l.Name); err != nil {
		return err
	}
	delete(f.links, l.Name)
	f.dropPeer(l)
	return nil
}

func (f fakeLinks) DeleteGroup(group uint32) error {
	if err := f.write("delete group %#x", group); err != nil {
		return err
	}
	for name, l := range f.links {
		if l.Group == group {
			delete(f.links, name)
			f.dropPeer(l)
		}
	}
	return nil
}

func (f fakeLinks) AddMacvlan(s link.Spec, mode string, _ uint32, target link.Target) (link.Link, error) {
	return f.add(s, link.Link{Kind: "macvlan", Mode: mode}, target)
}

func (f fakeLinks) AddIPvlan(s link.Spec, mode string, target link.Target) (link.Link, error) {
	return f.add(s, link.Link{Kind: "ipvlan", Mode: mode}, target)
}

func (f fakeLinks) AddVLAN(s link.Spec, id int, target link.Target) (link.Link, error) {
	return f.add(s, link.Link{Kind: "vlan", VLAN: id}, target)
}

func (f fakeLinks) add(s link.Spec, l link.Link, target link.Target) (link.Link, error) {
	parent, err := f.find(s.Parent)
	if err != nil {
		return l, err
	}
	if err := f.write("add %s %s on %s", l.Kind, s.Name, parent.Name); err != nil {
		return l, err
	}
	to := behind(target)
	switch {
	case to.links[s.Name] != nil:
		return l, fail("add", unix.EEXIST)
	case f.failKind == l.Kind:
		return l, fail("add", unix.EOPNOTSUPP)
	case f.failAdd != 0:
		return l, fail("add", f.failAdd)
	}
	l.Name, l.Parent, l.Group, l.MTU, l.MAC, l.Type, l.Carrier = s.Name, s.Parent, s.Group, s.MTU, s.MAC, "ether", true
	if l.MTU == 0 {
		l.MTU = parent.MTU
	}
	if l.MAC == "" {
		l.MAC = "a6:00:00:00:00:01"
		if l.Kind != "macvlan" {
			l.MAC = parent.MAC
		}
	}
	return f.addLink(to.name, l).Link, nil
}
