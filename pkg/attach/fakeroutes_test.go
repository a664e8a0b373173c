package attach

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
)

func mainIfUnset(table int) int { return cmp.Or(table, unix.RT_TABLE_MAIN) }

// DeleteRoute also knows the routes that the kernel has made with the addresses.
func (f fakeLinks) DeleteRoute(r link.Route) error {
	if err := f.write("delete route %s", r); err != nil {
		return err
	}
	l, err := f.find(r.Link)
	if err != nil {
		return err
	}
	same := func(other link.Route) bool {
		return sameNetwork(r.Dst, other.Dst) && mainIfUnset(r.Table) == mainIfUnset(other.Table)
	}
	before := len(l.routes)
	l.routes = slices.DeleteFunc(slices.Clone(l.routes), same)
	for _, a := range l.addrs {
		if len(l.routes) != before || a.IPNet.Contains(r.Dst.IP) {
			return nil
		}
	}
	return fail("deleting route", unix.ESRCH)
}

func (f fakeLinks) ReplaceRoute(r link.Route) error {
	if err := f.write("replace route %s table %d", r, r.Table); err != nil {
		return err
	}
	l, err := f.find(r.Link)
	if err != nil {
		return err
	}
	l.routes = slices.DeleteFunc(slices.Clone(l.routes), func(other link.Route) bool {
		return sameNetwork(r.Dst, other.Dst) && mainIfUnset(r.Table) == mainIfUnset(other.Table)
	})
	if r.Table == unix.RT_TABLE_MAIN {
		r.Table = 0
	}
	l.routes = append(l.routes, r)
	return nil
}

func (f fakeLinks) AddRule(r link.Rule) error {
	if err := f.write("rule %s", r); err != nil {
		return err
	}
	f.rules = append(f.rules, r)
	return nil
}

func (f fakeLinks) DeleteRule(r link.Rule) error {
	if err := f.write("delete rule %s", r); err != nil {
		return err
	}
	f.rules = slices.DeleteFunc(slices.Clone(f.rules), func(other link.Rule) bool { return r.String() == other.String() })
	return nil
}

func (f fakeLinks) Rules() ([]link.Rule, error) { return f.rules, f.read("rules") }
