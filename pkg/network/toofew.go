package network

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/nearest"
)

// needsDevice reports a network that cannot be made without a device. A resource is
// otherwise a mark for the scheduler as well, such as that of a bridge's node daemon, of
// which the kubelet has no devices; and a plugin may do without.
func needsDevice(d Definition) bool {
	first := d.List.Plugins[0]
	return first.Type == "sriov" && first.Builtin
}

// ErrNotListed is wrapped if a pod requests a resource of which the kubelet lists no
// device for it. That may change: the kubelet has not written it down yet, or is restarting.
var ErrNotListed = errors.New("the kubelet lists no device of it for the pod")

// requested reports whether a container of the pod asks for the resource.
func (p *devicePool) requested(resource string) bool {
	return slices.ContainsFunc(p.requests, func(r Request) bool { return r.Resource == resource })
}

// notListed is the error for a network whose pod requests the resource and has no device of
// it. A fallback would be a slow network in place of the VF that the pod waits for.
func (p *devicePool) notListed(s Selection, resource string) error {
	ofInit := ""
	for _, r := range p.requests {
		switch {
		case r.Resource != resource:
		case !r.Init:
			return fmt.Errorf("network %s: container %s requests %s, and %w; the runtime tries again, and if that does not help, see the kubelet's log",
				s.Network(), r.Container, resource, ErrNotListed)
		case ofInit == "":
			ofInit = r.Container
		}
	}
	return fmt.Errorf("network %s: only init container %s requests %s, and an init container's devices are not the pod's; request it in a container that runs as long as the pod",
		s.Network(), ofInit, resource)
}

// tooFew is the error for a network whose pod has not enough devices.
func (p *devicePool) tooFew(s Selection, resource string) error {
	users := p.users[resource]
	err := fmt.Errorf("network %s: too few devices of resource %s: %d asked for (by %s), %d allocated to the pod by the kubelet",
		s.Network(), resource, len(users), strings.Join(users, ", "), len(p.all[resource]))
	if len(p.all[resource]) > 0 || slices.Contains(p.pools, resource) || len(p.pools) == 0 {
		return fmt.Errorf("%w; request %s: %d in the pod's container resources; those of init containers do not count, since the kubelet takes their devices back when they end (sidecars keep theirs)",
			err, resource, len(users))
	}
	if name := nearest.Name(resource, p.pools); name != "" {
		return fmt.Errorf("%w; this node has no pool %s, the nearest name is %s: correct the annotation %s of the net-attach-def", err, resource, name, ResourceAnnotation)
	}
	return fmt.Errorf("%w; this node has no pool %s, but %s: correct the annotation %s of the net-attach-def, or declare the pool", err, resource, p.poolNames(), ResourceAnnotation)
}

// noResource is the error for a network that needs a device and names no resource.
func (p *devicePool) noResource(s Selection) error {
	return fmt.Errorf("network %s: type sriov needs a device, and the net-attach-def has no annotation %s; name the resource there (this node has %s), and request it in the pod's container resources",
		s.Network(), ResourceAnnotation, p.poolNames())
}

func (p *devicePool) poolNames() string {
	const most = 5
	switch {
	case len(p.pools) == 0:
		return "no pool"
	case len(p.pools) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(p.pools[:most], ", "), len(p.pools)-most)
	}
	return strings.Join(p.pools, ", ")
}
