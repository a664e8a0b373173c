package deviceplugin

import (
	"context"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/pci"
)

// suspects are VFs that Allocate has refused although the kubelet knew them as Healthy.
// They become Unhealthy for the same reason. Otherwise the kubelet would choose them for
// the next pod, which would fail too. Each assignment inspects the suspects, and clears
// those that are fit and free.
type suspects struct {
	added chan struct{} // a VF was added

	mu  sync.Mutex // guards vfs
	vfs map[pci.Address]suspicion
}

// suspicion is the reason of a refusal. An inspection cannot see some faults, such as a full
// disk: their reasons hold until a certain time.
type suspicion struct {
	reason string
	until  time.Time
}

func newSuspects() *suspects {
	return &suspects{added: make(chan struct{}, 1), vfs: map[pci.Address]suspicion{}}
}

func (s *suspects) add(vf pci.Address, why suspicion) {
	s.mu.Lock()
	s.vfs[vf] = why
	s.mu.Unlock()
	signal(s.added)
}

func (s *suspects) get(vf pci.Address) (suspicion, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	why, ok := s.vfs[vf]
	return why, ok
}

func (s *suspects) any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.vfs) > 0
}

// clear forgets a VF, unless it was refused again with another reason meanwhile.
func (s *suspects) clear(vf pci.Address, why suspicion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vfs[vf] == why {
		delete(s.vfs, vf)
	}
}

// keep forgets the VFs that are in no pool, because they are not handed out.
func (s *suspects) keep(pooled map[pci.Address]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for vf := range s.vfs {
		if pooled[vf] == "" {
			delete(s.vfs, vf)
		}
	}
}

// mark gives the suspects among the devices their reasons.
func (s *suspects) mark(opts *Options, pools []Members) {
	if !s.any() {
		return
	}
	for _, pool := range pools {
		for i := range pool.Devices {
			d := &pool.Devices[i]
			why, suspect := s.get(d.VF.Address)
			if !suspect || pool.Idle {
				continue
			}
			reason := inspectUse(opts, *d, pool.Resource, why.reason != "")
			switch {
			case reason == "" && opts.Now().Before(why.until):
				reason = why.reason
			case reason == "":
				s.clear(d.VF.Address, why)
			}
			if d.Healthy() || why.reason != "" && reason != "" && d.Reason != beingChanged {
				d.Reason = reason // that of the refusal, of several
			}
		}
	}
}

// inspectUse reads a VF and its users again, as Allocate does. If the VF was refused, the
// kubelet believes that it is free, whoever is on record. So it must be fit for a new pod.
func inspectUse(opts *Options, d Device, resource string, refused bool) (reason string) {
	ctx, cancel := context.WithTimeout(context.Background(), opts.Patience)
	defer cancel()
	view, err := opts.Custody.Confirm(ctx, d.VF.Address)
	if err != nil {
		if _, _, reason := opts.inspect(d, (*Device).unfit); reason != "" {
			return reason // it has vanished
		}
		return unknownUsers(err)
	}
	unfit := (*Device).unfit
	if !refused {
		unfit = func(d *Device) string { return d.unfitNow(view) }
	}
	if _, _, reason := opts.inspect(d, unfit); reason != "" {
		return reason
	}
	return used(view, d.VF.Address, resource)
}
