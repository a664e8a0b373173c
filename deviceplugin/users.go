package deviceplugin

import (
	"cmp"
	"fmt"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// users knows who uses VFs in ways that the kubelet does not see. To it, a VF that
// has changed pools while a pod has it is a free device of the new pool.
type users struct {
	ledger    Ledger
	allocated map[pci.Address]string // the resource that it was handed out as
	host      map[string]string      // netdev -> what the host itself uses it for
}

func readUsers(opts *Options) (users, error) {
	u := users{ledger: opts.Ledger, allocated: map[pci.Address]string{}}
	allocations, err := opts.Ledger.Allocations()
	for _, a := range allocations {
		u.allocated[a.Device] = a.Resource
	}
	if opts.HostUse != nil && err == nil {
		u.host, err = opts.HostUse()
	}
	return u, err
}

// mark gives devices that somebody uses the reason, and tells whether it found any.
// Idle pools are handed out to nobody.
func (u users) mark(pools []Pool) (found bool) {
	for _, pool := range pools {
		if pool.Idle {
			continue
		}
		for i := range pool.Devices {
			d := &pool.Devices[i]
			if reason := u.reason(pool.Resource, d.VF); reason != "" && d.Healthy() {
				d.Reason, found = reason, true
			}
		}
	}
	return found
}

// reason says why a VF must not be handed out as a resource. A VF that is on
// record under that resource is the kubelet's to give: it knows who has it.
func (u users) reason(resource string, vf device.VF) string {
	if how := u.host[vf.Netdev]; how != "" {
		return fmt.Sprintf("the host uses its netdev %s %s", vf.Netdev, how)
	}
	as, allocated := u.allocated[vf.Address]
	if allocated && as == resource {
		return ""
	}
	a, by, attached := u.attachment(vf.Address)
	switch {
	case allocated:
		return fmt.Sprintf("it is still held as %s by %s", as, cmp.Or(by, "a container"))
	case !attached || a.Resource == resource:
		return ""
	case a.Resource == "":
		return fmt.Sprintf("it is held by %s, one of whose networks names it as its device", by)
	}
	return fmt.Sprintf("it is still held as %s by %s", a.Resource, by)
}

// attachment is looked up only where a VF's allocation does not tell enough:
// reading the records of all sandboxes at each update would be too slow.
func (u users) attachment(vf pci.Address) (found ledger.Holding, by string, ok bool) {
	id, ifName, ok := u.ledger.Holder(vf)
	if !ok {
		return found, "", false
	}
	s, ok, err := u.ledger.Sandbox(id)
	if err != nil || !ok {
		return found, "sandbox " + id, true
	}
	for _, h := range s.Holdings() {
		if h.Device == vf && h.IfName == ifName {
			found = h
		}
	}
	return found, "pod " + s.Pod.String(), true
}
