package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/policy"
	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/profile"
)

// policies keeps the attachment policies in effect: those of the ConfigMap and of the
// files. An edit that is not valid changes nothing; the last valid policies stay, over a
// restart too. If there have never been any valid ones, nothing may be attached: an error
// in a policy never means that everything is allowed.
type policies struct {
	o       Options
	objects objects
	log     *slog.Logger

	mu     sync.Mutex // guards all below
	memory *memory
	set    policy.Set
	valid  bool  // set has been read
	err    error // why the newest texts are not in effect
}

func newPolicies(o Options, cluster objects, log *slog.Logger) *policies {
	memory, err := openMemory(o.policyMemoryPath())
	if err != nil {
		log.Warn("the attachment policies that were in effect last are lost", "error", err)
	}
	p := &policies{o: o, objects: cluster, log: log, memory: memory}
	p.recall()
	p.read()
	return p
}

// recall puts the policies of the last run in effect. If the rules have become stricter since,
// the policies are as the agent of then has parsed them.
func (p *policies) recall() {
	if p.memory.saved == nil {
		return
	}
	all, err := p.parse(p.memory.texts)
	if last := p.memory.recalled(); err != nil && last != nil {
		all, err = last.Policies, nil
	}
	if err == nil {
		p.set, err = policy.NewSet(all)
	}
	p.valid = err == nil
}

// current returns the policies in effect.
func (p *policies) current() (policy.Set, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.valid {
		p.readLocked()
	}
	if !p.valid {
		return policy.Set{}, fmt.Errorf("%w; until then pods get the cluster's own network only", p.err)
	}
	return p.set, nil
}

// problem returns the reason why the newest policies are not in effect.
func (p *policies) problem() []problem.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		return nil
	}
	text := fmt.Sprintf("%v (the last valid attachment policies stay in effect)", p.err)
	if !p.valid {
		text = fmt.Sprintf("%v (pods get the cluster's own network only)", p.err)
	}
	return []problem.Problem{{Reason: problem.PoliciesRefused, Text: text}}
}

// read reads the files and the ConfigMap again. It is called after each change of them.
func (p *policies) read() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readLocked()
}

// readLocked is read; p.mu is held.
func (p *policies) readLocked() {
	before := p.err
	from, err := p.texts()
	if err == nil {
		err = p.use(from)
	}
	p.err = err
	if err != nil && !errors.Is(err, errPoliciesUnread) && fmt.Sprint(before) != err.Error() {
		p.log.Error("reading the attachment policies", "error", err)
	}
}

// use puts the policies of texts in effect; p.mu is held.
func (p *policies) use(from texts) error {
	all, err := p.parse(from)
	if err != nil {
		return err
	}
	set, err := policy.NewSet(all)
	if err != nil {
		return err
	}
	p.set, p.valid = set, true
	p.memory.remember(parsed{Policies: all}, from)
	if err := p.memory.save(); err != nil {
		p.log.Warn("the attachment policies cannot be remembered for the next start", "error", err)
	}
	return nil
}

var errPoliciesUnread = errors.New("has not been read from the API server yet; wait, or correct what fairleadctl status shows")

// texts gathers the sources. Until the API server has answered, the ConfigMap is as it
// was when it was last in effect.
func (p *policies) texts() (texts, error) {
	from := newTexts()
	files, err := config.ReadPolicies(p.o.PoliciesDir)
	if err != nil {
		return from, err
	}
	if len(files) > 0 {
		from.Files[p.o.PoliciesDir] = files
	}
	name := p.o.PoliciesConfigMap
	if name == "" {
		return from, nil
	}
	data, exists, known := p.objects.ConfigMap(p.o.Namespace, name)
	if !known {
		if p.memory.saved == nil {
			return from, fmt.Errorf("ConfigMap %s/%s %w", p.o.Namespace, name, errPoliciesUnread)
		}
		data, exists = p.memory.ConfigMaps[name]
	}
	if exists {
		from.ConfigMaps[name] = data
	}
	return from, nil
}

func (p *policies) parse(from texts) ([]config.Policy, error) {
	all, err := config.ParsePolicies(from.Files[p.o.PoliciesDir], p.o.PoliciesDir)
	name := p.o.PoliciesConfigMap
	more, moreErr := config.ParsePolicies(from.ConfigMaps[name], "ConfigMap "+p.o.Namespace+"/"+name)
	return append(all, more...), errors.Join(err, moreErr)
}

// mayUseUplink asks the policy of a network about a netdev that it does not name.
func (p *policies) mayUseUplink(network string, names []string) error {
	set, err := p.current()
	if err != nil {
		return err
	}
	return set.CheckUplink(network, names)
}

// mayHaveVF returns the function that asks a VF's group who may have the VF, and what may
// be set of it.
func mayHaveVF(n *node) func(attach.Call, pci.Address, device.Settings) error {
	return func(c attach.Call, vf pci.Address, asked device.Settings) error {
		devices, model := n.declaredFor(n.inv.Snapshot())
		pf, function, ok := devices.VF(vf)
		if !ok || pf.Address.IsZero() {
			return nil // no profile has it
		}
		for _, g := range profile.Allows(model.Profiles, pf, function.Index) {
			err := policy.CheckVF(g.Allow, policy.VFRequest{Address: vf.String(), Group: g.Group, Network: c.Network, PodNamespace: c.Pod.Namespace, Asked: asked})
			if err != nil {
				return err
			}
		}
		return nil
	}
}
