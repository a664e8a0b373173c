package scenario

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"fairlead.dev/fairlead/pkg/problem"
)

// killAgent kills the agent of a node with SIGKILL. The kubelet starts it again within a
// second. While the file exists, the new one is stopped (SIGSTOP) before it can serve.
// If it were killed again and again, the kubelet would wait longer each time.
const killAgent = `touch /run/hold-agent
kill -9 $(pidof fairlead-agent)
setsid sh -c 'while [ -e /run/hold-agent ]; do kill -STOP $(pidof fairlead-agent) 2>/dev/null; sleep 0.1; done
kill -CONT $(pidof fairlead-agent)' >/dev/null 2>&1 </dev/null &`

const letAgentGoOn = "rm -f /run/hold-agent"

// AgentKilled kills node 1's agent, deletes two of its pods meanwhile (one with a
// kernel VF, one in userspace), and lets the agent come back.
func (j *MainJob) AgentKilled(ctx context.Context) Facts {
	var f Facts
	running, err := j.runningPods(ctx)
	if err != nil {
		return Facts{{Claim: "the main job's pods run before the agent is killed", Err: err}}
	}
	j.c.Say("killing node1's agent with SIGKILL, deleting gamma and dpdk meanwhile")
	f.check("agent killed: pods are deleted nevertheless, and their DELs are tombstones", func() (string, error) {
		return j.deleteWithoutAgent(ctx)
	})
	j.c.Say("waiting for node1's agent")
	f.check("agent back: tombstones replayed, nothing leaked, all VFs free except those of running pods", func() (string, error) {
		return j.settled(ctx, "node1", 1)
	})
	f.check("agent back: running pods untouched (same containers, same VFs, 0 % loss)", func() (string, error) {
		return j.untouched(ctx, running)
	})
	return f
}

func (j *MainJob) deleteWithoutAgent(ctx context.Context) (measured string, err error) {
	if _, err := j.c.Lab.Exec(ctx, "node1", killAgent); err != nil {
		return "", err
	}
	defer func() {
		_, e := j.c.Lab.Exec(ctx, "node1", letAgentGoOn)
		err = errors.Join(err, e)
	}()
	if _, err := j.c.Kubectl(ctx, "delete", "pod", "-n", MainNamespace, "gamma", "dpdk", "--wait", "--timeout=2m"); err != nil {
		return "", err
	}
	// The kubelet removes dead sandboxes of earlier tests when it likes, with a DEL of each.
	out, err := j.c.Lab.Exec(ctx, "node1", "grep -l K8S_POD_NAMESPACE="+MainNamespace+" /var/lib/fairlead/tombstones/* | grep -c . || true")
	if err != nil {
		return "", err
	}
	measured = strings.TrimSpace(out) + " tombstones"
	return measured, want("what the shim left behind", measured, "2 tombstones")
}

// settled waits until the agent has no tombstone, and holds VFs only for pods that run.
func (j *MainJob) settled(ctx context.Context, node string, held int) (measured string, err error) {
	err = poll(ctx, agentLimit, node+" settled", func() error {
		s, err := j.c.State(ctx, node)
		if err != nil {
			return err
		}
		allocated := 0
		for _, pool := range s.Pools {
			allocated += pool.Allocated
			if err := want(pool.Resource+"'s healthy VFs", int64(pool.Healthy), Capacity()[node][pool.Resource]); err != nil {
				return err
			}
		}
		measured = fmt.Sprintf("%d tombstones, %d VFs held, %d problems", s.Tombstones, allocated, len(s.Problems))
		if len(s.Problems) > 0 {
			return fmt.Errorf("%s: %s", measured, problem.Join(s.Problems, "; "))
		}
		return want("node state", measured, fmt.Sprintf("0 tombstones, %d VFs held, 0 problems", held))
	})
	return measured, err
}

// podMark identifies a pod and its containers, to see if they are still the same.
type podMark struct {
	container string
	restarts  int32
	vf        vf
}

func (j *MainJob) runningPods(ctx context.Context) (map[string]podMark, error) {
	marks := map[string]podMark{}
	for _, name := range []string{"alpha", "beta"} {
		mark, err := j.mark(ctx, name)
		if err != nil {
			return nil, err
		}
		marks[name] = mark
	}
	return marks, nil
}

func (j *MainJob) mark(ctx context.Context, name string) (podMark, error) {
	pod, err := j.c.Pod(ctx, MainNamespace, name)
	if err != nil {
		return podMark{}, err
	}
	v, err := j.c.nodes().vfOf(ctx, MainNamespace, name, "net1")
	if err != nil {
		return podMark{}, err
	}
	id, restarts, err := container(pod)
	return podMark{id, restarts, v}, err
}

// container returns the id of a pod's first container, and how often it was restarted.
func container(pod corev1.Pod) (id string, restarts int32, err error) {
	if len(pod.Status.ContainerStatuses) == 0 {
		return "", 0, fmt.Errorf("pod %s/%s has no container", pod.Namespace, pod.Name)
	}
	status := pod.Status.ContainerStatuses[0]
	return status.ContainerID, status.RestartCount, nil
}

func (j *MainJob) untouched(ctx context.Context, before map[string]podMark) (string, error) {
	after, err := j.runningPods(ctx)
	if err != nil {
		return "", err
	}
	for name, mark := range before {
		if err := want(name, after[name], mark); err != nil {
			return "", err
		}
	}
	return j.reach(ctx, "alpha", "10.100.0.12", 56)
}

// KubeletRestarted restarts node 1's kubelet and starts a pod with a VF there: it
// needs the resource to be registered again. The agent must not be restarted for it.
func (j *MainJob) KubeletRestarted(ctx context.Context) Facts {
	var f Facts
	j.c.Say("restarting node1's kubelet")
	f.check("kubelet restarted: capacity back, a new pod gets a VF, the agent not restarted", func() (string, error) {
		agent, err := j.agentContainer(ctx)
		if err != nil {
			return "", err
		}
		if err := j.c.Lab.Control(ctx, "node1", "kubelet", "restart"); err != nil {
			return "", err
		}
		zeta := Pod{Name: "zeta", Node: "1", Resource: "fairlead.dev/fast", Networks: `[{"name": "vlan200", "ips": ["10.100.0.16/24"]}]`}
		if err := j.startAsOwnerWould(ctx, zeta); err != nil {
			return "", err
		}
		if err := j.c.waitAllocatable(ctx, "node1", Capacity()["node1"]); err != nil {
			return "", err
		}
		after, err := j.agentContainer(ctx)
		if err != nil {
			return "", err
		}
		n, err := j.c.Allocatable(ctx, "node1", "fairlead.dev/fast")
		return "fairlead.dev/fast: " + strconv.FormatInt(n, 10), errors.Join(err, want("the agent's container", after, agent))
	})
	return f
}

// startAsOwnerWould creates a pod, and again if it has failed, as a Deployment does: a
// kubelet that has just started admits pods before device plugins can have registered
// again, and a pod refused then (UnexpectedAdmissionError) never runs.
func (j *MainJob) startAsOwnerWould(ctx context.Context, p Pod) error {
	return poll(ctx, podsLimit, "pod "+p.Name+" ready", func() error {
		pod, err := j.c.Pod(ctx, MainNamespace, p.Name)
		switch {
		case apierrors.IsNotFound(err):
			return errors.Join(errors.New("it has just been created"), j.c.apply(ctx, p.Manifest(MainNamespace)))
		case err != nil:
			return err
		case pod.Status.Phase == corev1.PodFailed:
			_, err := j.c.Kubectl(ctx, "delete", "pod", "-n", MainNamespace, p.Name)
			return errors.Join(fmt.Errorf("it failed: %s: %s", pod.Status.Reason, pod.Status.Message), err)
		case !ready(pod):
			return fmt.Errorf("it is %s", pod.Status.Phase)
		}
		return nil
	})
}

func (j *MainJob) agentContainer(ctx context.Context) (string, error) {
	pod, err := j.c.AgentPod(ctx, "node1")
	if err != nil {
		return "", err
	}
	id, restarts, err := container(pod)
	return fmt.Sprintf("%s, restarted %d times", id, restarts), err
}

// GiveBack deletes all pods of the main job and checks that they leave nothing behind.
func (j *MainJob) GiveBack(ctx context.Context) Facts {
	var f Facts
	f.check("pods deleted: they are gone", func() (string, error) { return "", j.c.Delete(ctx, MainNamespace) })
	f.check("VFs are back: old names, MAC, VLAN, trust, spoofcheck, MTU, driver", func() (string, error) {
		err := poll(ctx, stateLimit, "VFs as before", func() error {
			after, err := j.c.nodes().snapshot(ctx)
			if err != nil {
				return err
			}
			return difference(j.before, after)
		})
		return strconv.Itoa(len(j.before)) + " VFs", err
	})
	for _, node := range j.c.Lab.Nodes() {
		f.check(node+": ledger empty, pools full", func() (string, error) { return empty(ctx, j.c, node, MainNamespace) })
	}
	f.check("fairleadctl status in the agent's pod: no problems, exit code 0", func() (string, error) {
		out, err := j.c.Fairleadctl(ctx, "node1", "status")
		if err != nil {
			return "", fmt.Errorf("%w\n%s", err, out)
		}
		lines := strings.Split(out, "\n")
		return strings.Join(strings.Fields(lines[min(1, len(lines)-1)]), " "), nil
	})
	return f
}

// empty waits until the agent has no record of a pod of the namespaces, and all
// its VFs are free.
func empty(ctx context.Context, c *Cluster, node string, namespaces ...string) (measured string, err error) {
	err = poll(ctx, stateLimit, node+" empty", func() error {
		s, err := c.State(ctx, node)
		if err != nil {
			return err
		}
		var left, free []string
		for _, sandbox := range s.Sandboxes {
			for _, namespace := range namespaces {
				if sandbox.Pod.Namespace == namespace {
					left = append(left, sandbox.Pod.String()+" "+sandbox.Failure)
				}
			}
		}
		for _, pool := range s.Pools {
			free = append(free, fmt.Sprintf("%s %d of %d free", pool.Resource, pool.Capacity-pool.Allocated, pool.Capacity))
			if pool.Allocated != 0 || int64(pool.Capacity) != Capacity()[node][pool.Resource] {
				left = append(left, free[len(free)-1])
			}
		}
		measured = strings.Join(free, ", ")
		if len(left)+len(s.Problems)+s.Tombstones > 0 {
			return fmt.Errorf("%s; problems: %s; %d tombstones", strings.Join(left, "; "), problem.Join(s.Problems, "; "), s.Tombstones)
		}
		return nil
	})
	return measured, err
}
