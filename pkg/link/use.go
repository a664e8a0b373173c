package link

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Use describes how the namespace's own network uses a link.
type Use struct {
	Name         string   // of the link
	Master       int      // ifindex of its bridge, bond or VRF; 0: it is not a port
	OnTop        []string // names of the links on top of it, sorted
	DefaultRoute bool
	Addresses    []netip.Prefix // those that count, sorted; see Address.InUse
}

// Any reports whether the link is in use at all.
func (u Use) Any() bool {
	return u.Master != 0 || len(u.OnTop) > 0 || u.DefaultRoute || len(u.Addresses) > 0
}

// onTopShown bounds how many links on top a message names.
const onTopShown = 3

// String describes the most important use, such as "below ens1f0.5". It is empty if the
// link is not in use.
func (u Use) String() string {
	switch {
	case u.DefaultRoute:
		return "for a default route"
	case len(u.OnTop) > onTopShown:
		return fmt.Sprintf("below %s and %d more", strings.Join(u.OnTop[:onTopShown], ", "), len(u.OnTop)-onTopShown)
	case len(u.OnTop) > 0:
		return "below " + strings.Join(u.OnTop, ", ")
	case u.Master != 0:
		return "as a port of a bridge or bond"
	case len(u.Addresses) > 0:
		return fmt.Sprintf("with the address %s", u.Addresses[0])
	}
	return ""
}

// uses reports which links the namespace's own network uses.
type uses struct{ conn *conn }

// Uses returns the links that the namespace's own network uses, by ifindex. It takes one
// dump of addresses, one of routes and one of links. WatchUse answers the same from memory.
//
// A link is in use if one of these is true:
//
//   - it is a port of a bridge, bond or VRF
//   - another link of the namespace is on top of it
//   - a default route leads over it
//   - it has an address that counts (Address.InUse)
//
// The IPv6 default route of router advertisements does not count, because any link that is
// up can get one. Links of other namespaces are not seen, such as a macvlan in a pod whose
// parent is here.
func (u uses) Uses() (map[int]Use, error) {
	t, err := readUse(u.conn)
	if err != nil {
		return nil, wrap("read", "the use of links", err)
	}
	return t.all(), nil
}

// Use returns how the namespace's own network uses a link. It costs as much as Uses, because
// the kernel cannot be asked which links are on top of another.
func (u uses) Use(index int) (Use, error) {
	t, err := readUse(u.conn)
	if err != nil {
		return Use{}, wrap("read", "the use of links", err)
	}
	return t.of(index)
}

// Busy returns the links that the namespace's own network uses, by name, with Use.String.
func (u uses) Busy() (map[string]string, error) {
	all, err := u.Uses()
	if err != nil {
		return nil, err
	}
	busy := make(map[string]string, len(all))
	for _, use := range all {
		busy[use.Name] = use.String()
	}
	return busy, nil
}

// readUse reads a table. It reads links last, so that the link of each address and route is
// listed, unless it was deleted meanwhile.
func readUse(c *conn) (*useTable, error) {
	exist, err := indexes(c)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	t := &useTable{}
	if err := dumpUsedAddresses(c, t); err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	if err := dumpDefaultRoutes(c, t); err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	begin := func() { t.links = map[int]linkRow{} }
	if err := dumpLinks(c, begin, func(payload []byte) error {
		_, err := t.setLink(payload)
		return err
	}); err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	listed := make(map[int]bool, len(t.links))
	for index := range t.links {
		listed[index] = true
	}
	return t, checkListed(c, listed, exist)
}

func dumpUsedAddresses(c *conn, t *useTable) error {
	begin := func() { t.addresses = map[int][]addressKey{} }
	return dumpAddresses(c, begin, func(payload []byte) error {
		_, err := t.setAddress(payload, false)
		return err
	})
}

func dumpDefaultRoutes(c *conn, t *useTable) error {
	begin := func() { t.defaults, t.sources = map[int]struct{}{}, map[netip.Addr]struct{}{} }
	return dumpRoutes(c, begin, t.addDefault)
}

// all returns the links that are in use.
func (t *useTable) all() map[int]Use {
	uses := make(map[int]Use, len(t.addresses)+len(t.defaults))
	at := func(index int, change func(*Use)) {
		row, listed := t.links[index]
		if !listed { // it was deleted while the table was read
			return
		}
		u, ok := uses[index]
		if !ok {
			u = Use{Name: row.name}
		}
		change(&u)
		uses[index] = u
	}
	for index, l := range t.links {
		if l.master != 0 {
			at(index, func(u *Use) { u.Master = l.master })
		}
		if l.lower != 0 {
			at(l.lower, func(u *Use) { u.OnTop = append(u.OnTop, l.name) })
		}
	}
	for index := range t.defaults {
		at(index, func(u *Use) { u.DefaultRoute = true })
	}
	for index := range t.addresses {
		at(index, func(u *Use) { u.Addresses = t.prefixes(index) })
	}
	for _, u := range uses {
		slices.Sort(u.OnTop)
	}
	return uses
}

// of returns the use of one link.
func (t *useTable) of(index int) (Use, error) {
	row, ok := t.links[index]
	if !ok {
		return Use{}, wrap("look up", linkNumber(index), unix.ENODEV)
	}
	u := Use{Name: row.name, Master: row.master, Addresses: t.prefixes(index)}
	_, u.DefaultRoute = t.defaults[index]
	for _, l := range t.links {
		if l.lower == index {
			u.OnTop = append(u.OnTop, l.name)
		}
	}
	slices.Sort(u.OnTop)
	return u, nil
}

func (t *useTable) prefixes(index int) []netip.Prefix {
	keys := t.addresses[index]
	if len(keys) == 0 {
		return nil
	}
	list := make([]netip.Prefix, len(keys))
	for i, key := range keys {
		list[i] = key.prefix
	}
	return list
}
