package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ipam"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// Check reports every difference between the record and the node, not just the first.
func (a attacher) Check(ctx context.Context, env Env, att ledger.Attachment, path string) error {
	j, err := a.open(env, &att, path)
	if err != nil {
		return err
	}
	defer j.close()
	if j.pod == nil {
		return fmt.Errorf("the pod's network namespace %q is gone", path)
	}
	errs := []error{j.checkIPAM(ctx)}
	if !att.Device.IsZero() {
		errs = append(errs, j.checkVF())
	}
	if att.Kind != KindVFIO {
		errs = append(errs, j.checkInterface())
	}
	return errors.Join(errs...)
}

func (j *job) checkIPAM(ctx context.Context) error {
	if j.att.IPAM == "" {
		return nil
	}
	if j.confErr != nil {
		return j.confErr
	}
	conf, err := withPrevResult(j.conf, j.att.Result)
	if err != nil {
		return err
	}
	return ipam.Check(ctx, j.env.Exec, j.ipamArgs(), conf)
}

// withPrevResult: CHECK hands a plugin the result of its ADD.
func withPrevResult(conf, result json.RawMessage) (json.RawMessage, error) {
	if result == nil {
		return conf, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(conf, &fields); err != nil {
		return nil, err
	}
	fields["prevResult"] = result
	return json.Marshal(fields)
}

func (j *job) checkInterface() error {
	l, err := j.pod.ByName(j.att.IfName)
	if errors.Is(err, link.ErrNotFound) {
		return fmt.Errorf("interface %s is missing", j.att.IfName)
	}
	if err != nil {
		return err
	}
	var errs []error
	if err := j.isOurs(l); err != nil {
		errs = append(errs, err)
	}
	if !l.Up {
		errs = append(errs, fmt.Errorf("interface %s is down", l.Name))
	}
	if want := j.att.Link; want != nil {
		if want.MAC != "" && want.MAC != l.MAC {
			errs = append(errs, fmt.Errorf("interface %s has MAC %s, and had %s", l.Name, l.MAC, want.MAC))
		}
		if want.MTU != 0 && want.MTU != l.MTU {
			errs = append(errs, fmt.Errorf("interface %s has MTU %d, and had %d", l.Name, l.MTU, want.MTU))
		}
	}
	return errors.Join(append(errs, j.checkAddressing(l))...)
}

// isOurs tells an interface that somebody put in the place of the one that was made.
func (j *job) isOurs(l link.Link) error {
	switch device := j.att.Device.String(); {
	case !j.att.Device.IsZero():
		if l.ParentDev != "" && l.ParentDev != device {
			return fmt.Errorf("interface %s belongs to device %s, not to VF %s", l.Name, l.ParentDev, device)
		}
		if l.ParentDev == "" && !isNIC(l) {
			return fmt.Errorf("interface %s is of kind %q, not VF %s", l.Name, l.Kind, device)
		}
	case l.Kind != j.att.Kind:
		return fmt.Errorf("interface %s is of kind %q, not %s", l.Name, l.Kind, j.att.Kind)
	}
	return nil
}

// checkAddressing compares with the result: addresses and routes of this interface.
func (j *job) checkAddressing(l link.Link) error {
	if j.att.Result == nil {
		return nil
	}
	var want types100.Result
	if err := json.Unmarshal(j.att.Result, &want); err != nil {
		return fmt.Errorf("the record's result: %w", err)
	}
	addrs, err := j.pod.Addresses(l.Index)
	if err != nil {
		return err
	}
	routes, err := j.pod.Routes(l.Index)
	if err != nil {
		return err
	}
	var errs []error
	for _, ip := range want.IPs {
		if j.ofThis(&want, ip) {
			errs = append(errs, checkAddress(addrs, ip.Address, l.Name))
		}
	}
	if j.att.IPAM == "" {
		return errors.Join(errs...)
	}
	for _, r := range want.Routes {
		if !hasRoute(routes, r.Dst) {
			errs = append(errs, fmt.Errorf("the route to %s over %s is missing", r.Dst.String(), l.Name))
		}
	}
	return errors.Join(errs...)
}

// ofThis: members of a config list after this plugin may have added interfaces.
func (j *job) ofThis(r *types100.Result, ip *types100.IPConfig) bool {
	i := ip.Interface
	return i != nil && *i >= 0 && *i < len(r.Interfaces) && r.Interfaces[*i].Name == j.att.IfName
}

func checkAddress(have []link.Address, want net.IPNet, name string) error {
	for _, a := range have {
		if !a.IPNet.IP.Equal(want.IP) {
			continue
		}
		if a.Duplicate {
			return fmt.Errorf("address %s on %s is a duplicate: another host on the network has it", want.IP, name)
		}
		if a.IPNet.Mask.String() != want.Mask.String() {
			return fmt.Errorf("address %s on %s has prefix /%s, not %s", want.IP, name, a.IPNet.Mask, want.String())
		}
		return nil
	}
	return fmt.Errorf("address %s on %s is missing", want.String(), name)
}

func hasRoute(have []link.Route, dst net.IPNet) bool {
	for _, r := range have {
		if r.Dst.IP.Equal(dst.IP) && r.Dst.Mask.String() == dst.Mask.String() {
			return true
		}
	}
	return false
}

func (j *job) checkVF() error {
	v, err := j.vfJob()
	if err != nil {
		return err
	}
	if v.now.Driver != v.was.Driver {
		return fmt.Errorf("VF %s is bound to driver %q, and was to %q", v.now.Address, v.now.Driver, v.was.Driver)
	}
	if v.now.PF.IsZero() {
		return nil
	}
	pf, now, err := v.readKnobs()
	if errors.Is(err, link.ErrUnsupported) {
		return nil // nothing could be asked of this PF
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, k := range knobs {
		if k.asked(v.asked) && k.asked(now) && !k.equal(v.asked, now) { // not every driver tells all
			errs = append(errs, fmt.Errorf("%s of VF %d at PF %s is %s, and was set to %s", k.name, v.now.Index, pf.Name, k.text(now), k.text(v.asked)))
		}
	}
	return errors.Join(errs...)
}
