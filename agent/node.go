package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/cni"
	"fairlead.dev/fairlead/deviceplugin"
	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/profile"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// node turns what is declared into the node's state: profiles are applied, pools
// advertised, again after each change of the declared state or of the devices.
type node struct {
	inv      *inventory.Inventory
	plugin   *deviceplugin.Manager
	ledger   *ledger.Ledger
	declared *declared
	applier  *profile.Applier
	log      *slog.Logger
	changed  chan struct{} // declared state may have changed
	applied  outcome       // of comparing the profiles with the NICs

	mu       sync.Mutex // guards what follows, which other parts read
	model    config.Model
	problems []string
	statuses []profile.Status
}

const (
	// retryFailed is when a profile that could not be applied is tried again without
	// any change that would suggest another outcome.
	retryFailed = 30 * time.Second
	// review is when profiles are compared with the node without any event.
	review = 5 * time.Minute
	// settle is how long after its netdev came back a VF is free: what held it has
	// more to undo than that.
	settle = 2 * time.Second
)

func newNode(p *parts, changed chan struct{}) *node {
	memory, err := openMemory(p.o.memoryPath())
	if err != nil {
		p.log.Warn("what the API server said last is lost", "error", err)
	}
	n := &node{
		inv: p.inv, plugin: p.plugin, ledger: p.ledger, log: p.log, changed: changed,
		declared: &declared{o: p.o, objects: p.cluster, memory: memory, log: p.log},
	}
	host := cni.NewHostExec()
	n.applier = &profile.Applier{
		Withhold: p.plugin.Withhold,
		FS:       sysfs.New(p.o.SysRoot), Links: p.links, Holders: n.holder, Log: p.log,
		LoadModule: host.Modprobe,
	}
	return n
}

// run is the loop. It ends with ctx.
func (n *node) run(ctx context.Context) error {
	snapshots, cancel := n.inv.Subscribe()
	defer cancel()
	var last *inventory.Snapshot
	n.read()
	timer := time.NewTimer(0)
	defer timer.Stop()
	soon := false // timer is set to settle already: further VFs don't put it off
	for {
		apply := true
		select {
		case <-ctx.Done():
			return nil
		case <-n.changed:
			n.read()
		case <-timer.C:
		case s := <-snapshots:
			apply = last == nil || disturbs(last, s)
			if !apply && !soon && n.next() < review && returned(last, s) {
				timer.Reset(settle)
				soon = true
			}
			last = s
		}
		if apply {
			last = n.apply(ctx)
			timer.Reset(n.next())
			soon = false
		}
		if n.inv.Snapshot().Read() { // until then, no devices does not mean that there are none
			n.advertise()
		}
	}
}

func (n *node) read() {
	model, problems := n.declared.read()
	for _, p := range problems {
		n.log.Error("declared state", "problem", p)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.model, n.problems = model, problems
}

// apply brings the NICs to what the profiles declare, and returns the snapshot
// after it.
func (n *node) apply(ctx context.Context) *inventory.Snapshot {
	statuses := n.applier.Converge(ctx, n.currentModel().Profiles, n.readPFs)
	if ctx.Err() != nil {
		return n.inv.Snapshot() // stopped half-way, which is no failure to report
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range statuses {
		n.logStatus(s)
	}
	n.statuses = statuses
	return n.inv.Snapshot()
}

func (n *node) readPFs(ctx context.Context) ([]device.PF, map[pci.Address]error, error) {
	s, err := n.inv.Refresh(ctx)
	n.applied.set(err)
	var unread *inventory.UnreadError
	switch {
	case err == nil:
		return s.PFs, nil, nil
	case errors.As(err, &unread):
		return s.PFs, unread.Causes, nil
	}
	return nil, nil, err
}

// logStatus logs a profile's status where it differs from the last one.
func (n *node) logStatus(s profile.Status) {
	i := slices.IndexFunc(n.statuses, func(o profile.Status) bool { return o.Profile == s.Profile })
	if i >= 0 && describe(n.statuses[i]) == describe(s) {
		return
	}
	if s.Ready {
		n.log.Info("profile is in force", "profile", s.Profile, "pfs", s.PFs)
		return
	}
	n.log.Error("profile is not in force", "profile", s.Profile, "cause", describe(s))
}

func describe(s profile.Status) string {
	var lines []string
	for _, f := range s.Failures {
		lines = append(lines, f.Error())
	}
	return strings.Join(lines, "; ")
}

// next is when to apply again without any event.
func (n *node) next() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	unready := func(s profile.Status) bool { return !s.Ready }
	if n.applied.get() != nil || slices.ContainsFunc(n.statuses, unready) {
		return retryFailed
	}
	return review
}

func (n *node) advertise() { n.plugin.Update(n.inv.Snapshot(), n.currentModel().Pools) }

func (n *node) currentModel() config.Model {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.model
}

// holder tells profile which VFs are not to be touched: those that a sandbox
// holds, and those that the kubelet has promised to a container.
func (n *node) holder(vf pci.Address) (profile.Holder, bool) {
	if id, ifName, ok := n.ledger.Holder(vf); ok {
		s, ok, err := n.ledger.Sandbox(id)
		switch {
		case err != nil || !ok:
			return profile.Holder{Who: "sandbox " + id + " (" + ifName + ")"}, true
		case !s.EarlierBoot:
			return profile.Holder{Who: "pod " + s.Pod.String() + " (" + ifName + ")", Returns: original(s, vf)}, true
		}
	}
	allocations, err := n.ledger.Allocations()
	if err != nil {
		return profile.Holder{Who: "an unreadable ledger: " + err.Error()}, true
	}
	for _, a := range allocations {
		if a.Device == vf {
			return profile.Holder{Who: "a container that the kubelet gave it to as " + a.Resource}, true
		}
	}
	return profile.Holder{}, false
}

// original is what a sandbox gives a VF back as.
func original(s ledger.Sandbox, vf pci.Address) *ledger.VFState {
	for _, h := range s.Holdings() {
		if h.Device == vf {
			return h.Original
		}
	}
	return nil
}

// uplinks gives the netdevs of the PFs whose VFs back a resource, for a fallback:
// those with a carrier first, then in order of address. Where the resource has no
// VFs on this node, the PFs that a profile would make them on count.
func (n *node) uplinks(resource string) []string {
	return uplinks(n.inv.Snapshot(), n.currentModel(), resource)
}

func uplinks(snapshot *inventory.Snapshot, model config.Model, resource string) []string {
	var up, down []string
	for _, pf := range snapshot.PFs {
		if pf.Netdev == "" || !backs(model, resource, pf) {
			continue
		}
		if pf.Carrier {
			up = append(up, pf.Netdev)
		} else {
			down = append(down, pf.Netdev)
		}
	}
	return append(up, down...)
}

func backs(model config.Model, resource string, pf device.PF) bool {
	for _, vf := range pf.VFs {
		if i := device.Claim(model.Pools, pf, vf); i >= 0 && model.Pools[i].Resource == resource {
			return true
		}
	}
	for _, p := range model.Profiles {
		if p.NICs.Match(pf) && slices.ContainsFunc(p.Groups, func(g config.VFGroup) bool { return g.Resource == resource }) {
			return true
		}
	}
	return false
}

// disturbs reports whether the devices changed so that a profile may be untrue
// now. A VF's netdev that left for a pod or came back cannot do that: what holds
// the VF restores it (see returned for what waited for it). Nor can a carrier.
func disturbs(old, new *inventory.Snapshot) bool {
	c := inventory.Diff(old, new)
	if len(c.Added)+len(c.Removed) > 0 {
		return true
	}
	return slices.ContainsFunc(c.Changed, func(addr pci.Address) bool {
		if was, ok := old.PF(addr); ok {
			is, _ := new.PF(addr)
			return was.Driver != is.Driver || was.Netdev != is.Netdev || was.MTU != is.MTU || was.NumVFs != is.NumVFs
		}
		_, was, _ := old.VF(addr)
		_, is, _ := new.VF(addr)
		return was.Driver != is.Driver || (was.Netdev == is.Netdev && was.MTU != is.MTU)
	})
}

// returned reports whether a VF's netdev came back, from a pod as a rule: the VF is
// about to be free for what a profile wants of it.
func returned(old, new *inventory.Snapshot) bool {
	return slices.ContainsFunc(inventory.Diff(old, new).Changed, func(addr pci.Address) bool {
		_, was, isVF := old.VF(addr)
		_, is, _ := new.VF(addr)
		return isVF && was.Netdev == "" && is.Netdev != ""
	})
}
