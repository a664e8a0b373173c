package attach

import (
	"slices"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
)

func (f fakeLinks) SetAttributes(index int, a link.Attributes) error {
	if err := f.write("attributes"); err != nil {
		return err
	}
	l, err := f.find(index)
	if err != nil {
		return err
	}
	noARP := !l.NoARP
	for _, s := range []struct{ to, from *bool }{{&l.Promisc, a.Promisc}, {&l.AllMulti, a.AllMulti}, {&noARP, a.ARP}, {&l.Multicast, a.Multicast}, {&l.Up, a.Up}} {
		if s.from != nil {
			*s.to = *s.from
		}
	}
	l.NoARP = !noARP
	for _, s := range []struct{ to, from *int }{{&l.TxQLen, a.TxQLen}, {&l.GSOMaxSize, a.GSOMaxSize}, {&l.GSOMaxSegs, a.GSOMaxSegs}, {&l.GROMaxSize, a.GROMaxSize}} {
		if s.from != nil {
			*s.to = *s.from
		}
	}
	if a.Alias != nil {
		l.Alias = *a.Alias
	}
	if a.Group != nil {
		l.Group = *a.Group
	}
	return nil
}

func (f fakeLinks) DetachXDP(index int) error {
	if err := f.write("detach xdp"); err != nil {
		return err
	}
	l, err := f.find(index)
	if err != nil {
		return err
	}
	if f.driver.holdsXDP {
		return fail("detach xdp", unix.EBUSY)
	}
	l.XDP = false
	return nil
}

// Features and SetFeatures are ioctls, and no netlink messages.
func (f fakeLinks) Features(name string) ([]string, error) {
	l := f.named(name)
	if l == nil {
		return nil, fail("features", unix.ENODEV)
	}
	return slices.Clone(l.features), nil
}

func (f fakeLinks) SetFeatures(name string, on map[string]bool) error {
	l := f.named(name)
	if l == nil {
		return fail("features", unix.ENODEV)
	}
	if f.driver.keepsFeatures {
		return nil
	}
	for feature, want := range on {
		l.features = slices.DeleteFunc(slices.Clone(l.features), func(have string) bool { return have == feature })
		if want {
			l.features = append(l.features, feature)
		}
	}
	slices.Sort(l.features)
	return nil
}
