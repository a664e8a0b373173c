package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/test/scenario"
)

// reading is the cluster when no pod of the soak is there: kernel, files, ledger and kubelet
// of each node.
func reading(ctx context.Context, lab execer, nodes []string) ([]string, error) {
	var all []string
	for _, node := range nodes {
		lines, err := remains(ctx, lab, node)
		if err != nil {
			return nil, err
		}
		keys, err := recorded(ctx, lab, node)
		if err != nil {
			return nil, err
		}
		all = append(append(all, lines...), keys...)
	}
	slices.Sort(all)
	return all, nil
}

// traces are the sorts of lines that a running pod adds to the reading of its node. If one
// is missing while the anchors run, the reading would not see a leak of that sort either.
var traces = []string{
	"netns file ", "network namespace", "link veth", "vf pf0 ", "file /var/lib/cni/networks/macvlan-", "file /run/k8s.cni.cncf.io/",
	"pod directory ", "mount ", "cgroup ", "container ", "process containerd-shim", "kubelet given soak/",
	"ledger sandboxes ", "ledger allocations ",
}

// seesPods checks that the reading sees the anchors.
func (r *runner) seesPods(ctx context.Context) error {
	now, err := reading(ctx, r.c.Lab, r.c.Lab.Nodes())
	if err != nil {
		return err
	}
	more := strings.Join(leftOver(r.before, now), "\n")
	for _, node := range r.c.Lab.Nodes() {
		for _, trace := range traces {
			if !strings.Contains(more, ": "+node+" "+trace) {
				return fmt.Errorf("the reading of %s does not see its pod: no new line %q in:\n%s", node, trace, more)
			}
		}
	}
	return nil
}

// settle compares the cluster with the reading before, until nothing is wrong or the
// limit is over. It returns everything that is still wrong.
func (r *runner) settle(ctx context.Context) []string {
	shown := 0
	for end := time.Now().Add(r.o.settle); ; {
		wrong := r.compare(ctx)
		if len(wrong) == 0 || time.Now().After(end) || pause(ctx, 5*time.Second) != nil {
			return wrong
		}
		if len(wrong) != shown {
			r.c.Say("settling: %d differences:\n  %s", len(wrong), strings.Join(wrong, "\n  "))
		}
		shown = len(wrong)
	}
}

func (r *runner) compare(ctx context.Context) []string {
	var wrong []string
	after, err := reading(ctx, r.c.Lab, r.c.Lab.Nodes())
	if err != nil {
		return []string{"reading: " + err.Error()}
	}
	wrong = append(wrong, leftOver(r.before, after)...)
	pods, err := r.pods.api.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return append(wrong, "reading: "+err.Error())
	}
	for _, pod := range pods.Items {
		wrong = append(wrong, "left over: pod "+pod.Name+" at the API server")
	}
	for _, node := range r.c.Lab.Nodes() {
		wrong = append(wrong, nodeDiffers(ctx, r.c, node)...)
	}
	return wrong
}

// nodeDiffers compares what node object and agent say of a node without pods.
func nodeDiffers(ctx context.Context, c *scenario.Cluster, node string) []string {
	var wrong []string
	for resource, expected := range scenario.Capacity()[node] {
		got, err := c.Allocatable(ctx, node, resource)
		if err != nil || got != expected {
			wrong = append(wrong, fmt.Sprintf("%s: the node offers %d of %s, want %d (%v)", node, got, resource, expected, err))
		}
	}
	s, err := c.State(ctx, node)
	if err != nil {
		return append(wrong, "reading: "+err.Error())
	}
	for _, sandbox := range s.Sandboxes {
		if sandbox.Pod.Namespace == namespace {
			wrong = append(wrong, fmt.Sprintf("%s: the agent has a record of pod %s: %s", node, sandbox.Pod, sandbox.Failure))
		}
	}
	for _, pool := range s.Pools {
		if pool.Allocated != 0 || int64(pool.Healthy) != scenario.Capacity()[node][pool.Resource] {
			wrong = append(wrong, fmt.Sprintf("%s: pool %s has %d healthy VFs, %d in use", node, pool.Resource, pool.Healthy, pool.Allocated))
		}
	}
	if len(s.Problems) > 0 || s.Tombstones > 0 || s.Repaired > 0 {
		wrong = append(wrong, fmt.Sprintf("%s: %d tombstones, %d VFs repaired, problems: %s", node, s.Tombstones, s.Repaired, problem.Join(s.Problems, "; ")))
	}
	if out, err := c.Fairleadctl(ctx, node, "status"); err != nil {
		wrong = append(wrong, fmt.Sprintf("%s: fairleadctl status: %v\n%s", node, err, out))
	}
	return wrong
}

// leakReasons are the events that say that a record did not match the kernel.
var leakReasons = []string{"VFRepaired", "VFNotRepaired", "InterfaceLost"}

// countEvents counts the warnings of the run by reason. Some are discrepancies.
func (r *runner) countEvents(ctx context.Context) error {
	events, err := r.pods.api.CoreV1().Events("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, e := range events.Items {
		if e.Type != corev1.EventTypeWarning || e.LastTimestamp.Time.Before(r.began) {
			continue
		}
		r.tally.count("warning events", e.Reason)
		if slices.Contains(leakReasons, e.Reason) {
			r.tally.discrepancy("event: %s %s: %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
		}
	}
	return nil
}
