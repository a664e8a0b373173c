package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// anchors are pods that live through the whole run: one on each node, on the same VLAN.
// No fault may change them.
type anchors struct {
	s     *sampler
	plans []plan
	marks map[string][]string
}

// startAnchors makes them and notes how they are.
func startAnchors(ctx context.Context, s *sampler) (*anchors, error) {
	a := &anchors{s: s}
	for _, node := range both {
		k := kind{name: fmt.Sprintf("anchor-node%d", node), needs: map[string]int64{"fast": 1}, networks: []wanted{onVF, onMacvlan, onBridge}}
		p := newPlan(k, node, int(s.work.number.Add(1)))
		s.work.keep(p)
		if !s.work.create(ctx, p) {
			return nil, ctx.Err()
		}
		a.plans = append(a.plans, p)
	}
	for _, p := range a.plans {
		if reason := s.work.awaitReady(ctx, p); reason != "" {
			return nil, fmt.Errorf("pod %s: %s: %s", p.Name, reason, s.work.lastEvent(ctx, p.Name))
		}
	}
	var err error
	if a.marks, err = a.read(ctx); err != nil {
		return nil, err
	}
	return a, a.ping(ctx)
}

// read describes the anchors in lines that differ if they are no longer the same.
func (a *anchors) read(ctx context.Context) (map[string][]string, error) {
	if err := a.s.work.pods.fresh(ctx); err != nil {
		return nil, err
	}
	samples := a.s.samples(ctx)
	marks := map[string][]string{}
	for _, p := range a.plans {
		pod, found, _ := a.s.work.pods.get(p.Name, epoch)
		has := samples[fmt.Sprintf("node%d", p.Node)].pods[string(pod.UID)]
		if !found || has == nil || !ready(pod) {
			return nil, fmt.Errorf("pod %s does not run", p.Name)
		}
		for _, status := range pod.Status.ContainerStatuses {
			marks[p.Name] = append(marks[p.Name], fmt.Sprintf("container %s restarts %d", status.ContainerID, status.RestartCount))
		}
		marks[p.Name] = append(marks[p.Name], fmt.Sprintf("namespaces %v devices %v", has.netns, has.devices))
		for _, l := range has.links {
			marks[p.Name] = append(marks[p.Name], fmt.Sprintf("link %d %s %s %v mtu %d %s", l.Index, l.Name, l.MAC, l.addresses(), l.MTU, l.ParentDev))
		}
	}
	return marks, nil
}

// unchanged notes each difference to the start of the run.
func (a *anchors) unchanged(ctx context.Context) {
	now, err := a.read(ctx)
	for range 12 { // the last fault may have been the kubelet's end
		if err == nil || pause(ctx, 5*time.Second) != nil {
			break
		}
		now, err = a.read(ctx)
	}
	if err != nil {
		a.s.tally.discrepancy("anchor: %v", err)
		return
	}
	for name, before := range a.marks {
		if !slices.Equal(before, now[name]) {
			a.s.tally.discrepancy("anchor: pod %s was\n  %s\nand is\n  %s", name, strings.Join(before, "\n  "), strings.Join(now[name], "\n  "))
		}
	}
	if err := a.ping(ctx); err != nil {
		a.s.tally.discrepancy("anchor: %v", err)
	}
}

const pingFrom = `pid=$(grep -ls 'pod%s' /proc/[0-9]*/cgroup | head -n 1 | cut -d/ -f3)
nsenter -t "$pid" -n ping -I net1 -c 10 -i 0.3 -W 3 %s`

// ping sends packets over the VFs, from the first anchor to the second.
func (a *anchors) ping(ctx context.Context) error {
	pod, _, _ := a.s.work.pods.get(a.plans[0].Name, epoch)
	out, err := a.s.lab.Exec(ctx, pod.Spec.NodeName, fmt.Sprintf(pingFrom, pod.UID, a.plans[1].Links[0].IP))
	if err != nil || strings.Contains(out, " 0 received") {
		return fmt.Errorf("ping from %s to %s: %w\n%s", a.plans[0].Name, a.plans[1].Name, err, out)
	}
	return nil
}

func (a *anchors) delete(ctx context.Context) {
	for _, p := range a.plans {
		a.s.work.delete(ctx, p, false)
	}
}
