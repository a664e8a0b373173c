package attach

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
)

func (f fakeLinks) AddAddress(index int, addr link.IPAddress) error {
	if err := f.write("address %s", addr.IPNet.String()); err != nil {
		return err
	}
	l, err := f.find(index)
	if err != nil {
		return err
	}
	addr.Optimistic = addr.Optimistic && f.sysctls["ipv6/conf/"+l.Name+"/optimistic_dad"] == "1"
	addr.Tentative = addr.IPNet.IP.To4() == nil
	l.addrs = append(l.addrs, addr)
	return nil
}

func (f fakeLinks) DeleteAddress(index int, addr net.IPNet) error {
	if err := f.write("delete address %s", addr.String()); err != nil {
		return err
	}
	l, err := f.find(index)
	if err != nil {
		return err
	}
	l.addrs = slices.DeleteFunc(l.addrs, func(a link.IPAddress) bool { return a.IPNet.IP.Equal(addr.IP) })
	return nil
}

func (f fakeLinks) Addresses(index int) ([]link.IPAddress, error) {
	if err := f.read("addresses"); err != nil {
		return nil, err
	}
	l, err := f.find(index)
	if err != nil {
		return nil, err
	}
	return l.addrs, nil
}

func (f fakeLinks) AddRoute(r link.Route) error {
	if err := f.write("route %s", r); err != nil {
		return err
	}
	l, err := f.find(r.Link)
	switch {
	case err != nil:
		return err
	case !l.Up:
		return fail("adding route "+r.String(), unix.ENETDOWN)
	}
	reachable := r.GW == nil
	for _, a := range l.addrs {
		reachable = reachable || a.IPNet.Contains(r.GW)
	}
	if !reachable {
		return fail("adding route "+r.String(), unix.ENETUNREACH)
	}
	l.routes = append(l.routes, r)
	return nil
}

func (f fakeLinks) Routes(index int) ([]link.Route, error) {
	if index == 0 {
		var all []link.Route
		for _, l := range f.links {
			all = append(all, l.routes...)
		}
		return withTables(all), nil
	}
	l, err := f.find(index)
	if err != nil {
		return nil, err
	}
	return withTables(l.routes), nil
}

func withTables(list []link.Route) []link.Route {
	list = slices.Clone(list)
	for i := range list {
		list[i].Table = mainIfUnset(list[i].Table)
	}
	return list
}

func (f fakeLinks) SetSysctls(list ...sysctl) error {
	if err := f.read("sysctl"); err != nil {
		return err
	}
	for _, s := range list {
		parts := strings.Split(s.key, "/")
		if len(parts) > 2 && f.links[parts[2]] == nil || (f.noOptimisticDAD && len(parts) > 3 && parts[3] == "optimistic_dad") {
			continue
		}
		f.sysctls[s.key] = s.value
	}
	return nil
}

func (f fakeLinks) Sysctls(keys ...string) ([]sysctl, error) {
	if err := f.read("sysctl"); err != nil {
		return nil, err
	}
	var list []sysctl
	for _, key := range keys {
		list = append(list, sysctl{key, f.sysctls[key]})
	}
	return list, nil
}

func (f fakeLinks) Announce(index int, mac string, list ...announcement) error {
	if err := f.read("announce"); err != nil {
		return err
	}
	for _, a := range list {
		f.told = append(f.told, fmt.Sprintf("%s is at %s%s", a.ip, mac, map[bool]string{true: ", perhaps"}[a.tentative]))
	}
	return nil
}
