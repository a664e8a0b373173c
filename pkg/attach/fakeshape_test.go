package attach

import (
	"fmt"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
)

func (f fakeLinks) AddIFB(s link.Spec, target link.Target) (link.Link, error) {
	if err := f.write("add ifb"); err != nil {
		return link.Link{}, err
	}
	if f.failKind == "ifb" {
		return link.Link{}, fail("add", unix.EOPNOTSUPP)
	}
	return f.addLink(behind(target).name, link.Link{Name: s.Name, Kind: "ifb", Type: "ether", MTU: s.MTU, Group: s.Group, MAC: "a6:00:00:00:00:04"}).Link, nil
}

func (f fakeLinks) SetLimit(index int, l link.Limit) error {
	return f.shape(index, fmt.Sprintf("limit %d/%d", l.Rate, l.Burst))
}

func (f fakeLinks) Redirect(index, to int) error {
	return f.shape(index, "redirected")
}

func (f fakeLinks) shape(index int, how string) error {
	if err := f.write("%s", how); err != nil {
		return err
	}
	l, err := f.find(index)
	if err == nil {
		l.shape = append(l.shape, how)
	}
	return err
}

func (f fakeLinks) HasLimit(index int, l link.Limit) (bool, error) {
	found, err := f.find(index)
	if err != nil {
		return false, err
	}
	for _, how := range found.shape {
		if how == fmt.Sprintf("limit %d/%d", l.Rate, l.Burst) {
			return true, f.read("disciplines")
		}
	}
	return false, f.read("disciplines")
}

func (f fakeLinks) ClearShaping(index int) error {
	if err := f.write("clear"); err != nil {
		return err
	}
	l, err := f.find(index)
	if err == nil {
		l.shape = nil
	}
	return err
}
