package scenario

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/state"
)

// TroubleNamespace is that of the pods on nodes in trouble.
const TroubleNamespace = "trouble"

//go:embed trouble.yaml
var troubleManifest string

// Trouble is the pods on nodes to which an administrator's bad day happens.
type Trouble struct {
	c      *Cluster
	before []string // the VFs before any pod had one
}

// dropIn is a plugin beside the primary network's list, for all pods of the node.
const (
	dropIn = `mkdir -p /etc/cni/net.d/lab && cat > /etc/cni/net.d/lab/50-tuning.conf <<'EOT'
{"type": "tuning", "sysctl": {"net.core.somaxconn": "123"}}
EOT`
	removeDropIn = "rm -rf /etc/cni/net.d/lab"
)

// StartTrouble creates the pods.
func StartTrouble(ctx context.Context, c *Cluster) (*Trouble, error) {
	t := &Trouble{c: c}
	if err := c.Delete(ctx, TroubleNamespace); err != nil {
		return nil, err
	}
	var err error
	if t.before, err = c.nodes().snapshot(ctx); err != nil {
		return nil, err
	}
	if err := c.createNamespaces(ctx, TroubleNamespace); err != nil {
		return nil, err
	}
	if _, err := c.Lab.Exec(ctx, "node1", dropIn); err != nil {
		return nil, err
	}
	manifest, err := adapt(troubleManifest, change{namespace: TroubleNamespace, node: "1"})
	if err != nil {
		return nil, err
	}
	for _, pod := range []Pod{
		{Name: "keeper", Node: "1", Networks: "first-vlan", Resource: second},
		{Name: "far", Node: "2", Networks: "fast", Resource: "fairlead.dev/fast"},
	} {
		manifest += pod.Manifest(TroubleNamespace)
	}
	return t, errors.Join(c.apply(ctx, manifest), c.waitReady(ctx, TroubleNamespace))
}

// Started checks the pods that have been started with a drop-in plugin.
func (t *Trouble) Started(ctx context.Context) Facts {
	var f Facts
	f.check("a drop-in plugin beside the primary network is run", func() (string, error) {
		out, err := t.c.nodes().inNetns(ctx, TroubleNamespace, "keeper", "cat /proc/sys/net/core/somaxconn")
		_, e := t.c.Lab.Exec(ctx, "node1", removeDropIn)
		return strings.TrimSpace(out), errors.Join(err, e, want("somaxconn in the pod", strings.TrimSpace(out), "123"))
	})
	f.check("two containers with a VF each: net1 is the first one's, net2 the second one's", func() (string, error) { return t.twoContainers(ctx) })
	return f
}

// twoContainers compares each container's environment with the VF of its network.
func (t *Trouble) twoContainers(ctx context.Context) (string, error) {
	var measured []string
	for i, container := range []string{"zulu", "alpha"} {
		v, err := t.c.nodes().vfOf(ctx, TroubleNamespace, "two-containers", fmt.Sprintf("net%d", i+1))
		if err != nil {
			return "", err
		}
		out, err := t.c.Kubectl(ctx, "exec", "-n", TroubleNamespace, "two-containers", "-c", container, "--", "sh", "-c", "echo $PCIDEVICE_FAIRLEAD_DEV_SECOND")
		if err != nil {
			return "", err
		}
		measured = append(measured, fmt.Sprintf("%s %s vlan %d", container, v.Address, v.Knobs.VLAN))
		err = errors.Join(want("the VF of container "+container, strings.TrimSpace(out), v.Address), want("its VLAN", v.Knobs.VLAN, 77+i))
		if err != nil {
			return "", err
		}
	}
	return strings.Join(measured, ", "), nil
}

// freeIn counts the VFs of a resource that the agent would let the kubelet give away.
func freeIn(s state.State, resource string) int {
	for _, pool := range s.Pools {
		if pool.Resource == resource {
			return pool.Healthy - pool.Allocated
		}
	}
	return -1
}

// Renamed gives the PF of pool second another name (lab.md E).
func (t *Trouble) Renamed(ctx context.Context) Facts {
	var f Facts
	rename := func(from, to string) error {
		_, err := t.c.Lab.Exec(ctx, "node1", fmt.Sprintf("ip link set %s name %s", from, to))
		return err
	}
	f.check("E: a PF is renamed: a problem names it, or the pool follows", func() (line string, err error) {
		if err := rename("pf1", "lan9"); err != nil {
			return "", err
		}
		err = poll(ctx, stateLimit, "problem of the renamed PF", func() error {
			s, err := t.c.State(ctx, "node1")
			if err != nil {
				return err
			}
			line, err = explaining(problem.Join(s.Problems, "\n"), []string{"pf1", "lan9"})
			return err
		})
		return line, err
	})
	f.check("E: it is renamed back: the pool is whole", func() (string, error) {
		return "", errors.Join(rename("lan9", "pf1"), t.c.waitAllocatable(ctx, "node1", Capacity()["node1"]))
	})
	return f
}

// apiAway cuts node 1 from the API server.
const (
	apiAway = "iptables -I OUTPUT -d 10.0.0.2 -p tcp --dport 6443 -j DROP"
	apiBack = "iptables -D OUTPUT -d 10.0.0.2 -p tcp --dport 6443 -j DROP"
	// sandboxMark differs for each sandbox of a pod: the host's end of its eth0 is a new link. The number
	// of a namespace does not: the kernel uses it again.
	sandboxMark = "ip -o link show eth0 | cut -d: -f2"
	// killPause ends a pod's sandbox, so that the kubelet makes another one.
	killPause = `for p in $(grep -ls 'pod%s' /proc/[0-9]*/cgroup | cut -d/ -f3); do [ "$(cat /proc/$p/comm)" = pause ] && kill -9 $p; done; true`
)

// APIAway has a pod lose its sandbox while the node does not reach the API server.
func (t *Trouble) APIAway(ctx context.Context) Facts {
	var f Facts
	f.check("API server away: a pod whose sandbox has died gets a VF with its VLAN again", func() (measured string, err error) {
		pod, err := t.c.Pod(ctx, TroubleNamespace, "keeper")
		if err != nil {
			return "", err
		}
		was, err := t.c.nodes().inNetns(ctx, TroubleNamespace, "keeper", sandboxMark)
		if err != nil {
			return "", err
		}
		if _, err := t.c.Lab.Exec(ctx, "node1", apiAway+"\n"+fmt.Sprintf(killPause, pod.UID)); err != nil {
			return "", err
		}
		defer func() {
			_, e := t.c.Lab.Exec(ctx, "node1", apiBack)
			err = errors.Join(err, e)
		}()
		err = poll(ctx, podsLimit, "keeper's new sandbox", func() error {
			measured, err = t.c.nodes().inNetns(ctx, TroubleNamespace, "keeper", "sh -c \""+sandboxMark+"; ip -br link show net1\"")
			if err == nil && strings.Contains(measured, strings.TrimSpace(was)) {
				err = errors.New("the pod still has its first sandbox")
			}
			return err
		})
		return strings.Join(strings.Fields(measured), " "), err
	})
	f.check("API server back: the pod is ready, and the VF of its status has the VLAN", func() (string, error) {
		if err := t.c.waitReady(ctx, TroubleNamespace); err != nil {
			return "", err
		}
		v, err := t.c.nodes().vfOf(ctx, TroubleNamespace, "keeper", "net1")
		return v.String(), errors.Join(err, want("its VLAN", v.Knobs.VLAN, 77))
	})
	return f
}

// startingPods are those that are being started as containerd is killed.
func startingPods() []Pod {
	return []Pod{
		{Name: "start-a", Node: "1", Networks: "fast", Resource: "fairlead.dev/fast"},
		{Name: "start-b", Node: "1", Networks: "macvlan"},
		{Name: "start-c", Node: "1", Networks: "macvlan, fast", Resource: "fairlead.dev/fast"},
	}
}

// RuntimeKilled kills containerd while pods start, and deletes the pods by force.
func (t *Trouble) RuntimeKilled(ctx context.Context) Facts {
	var f Facts
	f.check("containerd killed while 3 pods start: they run all the same", func() (string, error) {
		manifest := ""
		for _, pod := range startingPods() {
			manifest += pod.Manifest(TroubleNamespace)
		}
		if err := t.c.apply(ctx, manifest); err != nil {
			return "", err
		}
		if err := poll(ctx, stateLimit, "an ADD that has begun", func() error { return t.onRecord(ctx, true) }); err != nil {
			return "", err
		}
		return "", errors.Join(t.c.Lab.Control(ctx, "node1", "containerd", "kill"), t.c.waitReady(ctx, TroubleNamespace))
	})
	f.check("they are deleted by force: nothing of them is left", func() (measured string, err error) {
		args := []string{"delete", "pod", "-n", TroubleNamespace, "--force", "--grace-period=0"}
		for _, pod := range startingPods() {
			args = append(args, pod.Name)
		}
		if _, err := t.c.Kubectl(ctx, args...); err != nil {
			return "", err
		}
		return "", poll(ctx, stateLimit, "the deleted pods", func() error { return t.onRecord(ctx, false) })
	})
	return f
}

// onRecord checks that node 1 has records of some starting pods, or of no pod and no
// VF of theirs.
func (t *Trouble) onRecord(ctx context.Context, some bool) error {
	s, err := t.c.State(ctx, "node1")
	if err != nil {
		return err
	}
	n := 0
	for _, pod := range startingPods() {
		if holds(s, pod.Name) {
			n++
		}
	}
	if some {
		return want("that some are on record", n > 0, true)
	}
	return errors.Join(want("the number of records", n, 0), want("the number of free VFs of fairlead.dev/fast", freeIn(s, "fairlead.dev/fast"), 4))
}

func holds(s state.State, pod string) bool {
	for _, sandbox := range s.Sandboxes {
		if sandbox.Pod.Name == pod {
			return true
		}
	}
	return false
}

// Gone deletes the pods.
func (t *Trouble) Gone(ctx context.Context) Facts {
	var f Facts
	f.check("pods deleted: they are gone", func() (string, error) { return "", t.c.Delete(ctx, TroubleNamespace) })
	for _, node := range t.c.Lab.Nodes() {
		f.check(node+": ledger empty, pools full", func() (string, error) { return empty(ctx, t.c, node, TroubleNamespace) })
	}
	f.check("VFs are as before the pods", func() (string, error) {
		after, err := t.c.nodes().snapshot(ctx)
		return fmt.Sprintf("%d VFs", len(after)), errors.Join(err, difference(t.before, after))
	})
	return f
}
