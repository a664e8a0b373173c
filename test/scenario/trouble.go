package scenario

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/pkg/state"
)

// TroubleNamespace is that of the pods on nodes in trouble.
const TroubleNamespace = "trouble"

//go:embed trouble.yaml
var troubleManifest string

// Trouble is the pods on nodes to which an administrator's bad day happens.
type Trouble struct {
	c      *Cluster
	root   string   // of the repository
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
func StartTrouble(ctx context.Context, c *Cluster, root string) (*Trouble, error) {
	t := &Trouble{c: c, root: root}
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
	return f
}

// LedgerLost removes the ledger of node 1, as a new disk would, while pods have VFs (lab.md F).
func (t *Trouble) LedgerLost(ctx context.Context) Facts {
	var f Facts
	f.check("F: the ledger is lost while pods run", func() (string, error) {
		if _, err := t.c.Lab.Exec(ctx, "node1", killAgent+"\nrm -f /var/lib/fairlead/ledger.db\n"+letAgentGoOn); err != nil {
			return "", err
		}
		return "", t.c.waitReady(ctx, agentNamespace)
	})
	f.check("F: no VF of a running pod is shown as free", func() (measured string, err error) {
		err = poll(ctx, agentLimit, "VFs held on node1", func() error {
			s, err := t.c.State(ctx, "node1")
			if err != nil {
				return err
			}
			free := freeIn(s, second)
			measured = fmt.Sprintf("%d of 4 free", free)
			return want("free VFs of "+second, free, 1)
		})
		return measured, err
	})
	return f
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
			line, err = explaining(strings.Join(s.Problems, "\n"), []string{"pf1", "lan9"})
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
	// sandboxMark differs for each sandbox of a pod: the host's end of its eth0 is a new link. Namespaces do not
	// tell: the kernel uses their numbers again.
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

// Waited changes the profiles of both nodes while pods hold VFs, and deletes the pods: the
// profiles go on at once.
func (t *Trouble) Waited(ctx context.Context) Facts {
	var f Facts
	f.check("profiles want one VF less on both nodes, and wait for the pods", func() (string, error) { return t.shrink(ctx) })
	f.check("the pods are gone: both nodes change within 30 s", func() (string, error) {
		if err := t.c.Delete(ctx, TroubleNamespace); err != nil {
			return "", err
		}
		started := time.Now()
		err := poll(ctx, 30*time.Second, "the number of VFs", func() error {
			for node, expected := range map[string]string{"node1": "6 3", "node2": "1"} {
				if err := t.numVFs(ctx, node, expected); err != nil {
					return err
				}
			}
			return nil
		})
		return strconv.Itoa(int(time.Since(started).Seconds())) + " s", err
	})
	f.check("the profiles are as before, and so are the VFs", func() (string, error) {
		if err := t.c.applyProfiles(ctx, filepath.Join(t.root, profilesFile)); err != nil {
			return "", err
		}
		for node, resources := range Capacity() {
			if err := t.c.waitAllocatable(ctx, node, resources); err != nil {
				return "", err
			}
			if _, err := empty(ctx, t.c, node, TroubleNamespace); err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("%d VFs", len(t.before)), nil
	})
	return f
}

// shrink applies the profiles with smaller numbers.
func (t *Trouble) shrink(ctx context.Context) (string, error) {
	body, err := os.ReadFile(filepath.Join(t.root, profilesFile))
	if err != nil {
		return "", err
	}
	text := strings.NewReplacer("numVFs: 4", "numVFs: 3", "numVFs: 2", "numVFs: 1").Replace(string(body))
	if err := applyProfileText(ctx, t.c, text); err != nil {
		return "", err
	}
	var measured []string
	for node, profile := range map[string]string{"node1": "node1-second-port", "node2": "node2"} {
		err := poll(ctx, stateLimit, "profile "+profile+" waits", func() error {
			s, err := t.c.State(ctx, node)
			if err != nil {
				return err
			}
			for _, p := range s.Profiles {
				if p.Name == profile && !p.Ready {
					measured = append(measured, p.Message)
					return nil
				}
			}
			return errors.New("it is ready")
		})
		if err != nil {
			return "", err
		}
	}
	return strings.Join(measured, "; "), errors.Join(t.numVFs(ctx, "node1", "6 4"), t.numVFs(ctx, "node2", "2"))
}

func (t *Trouble) numVFs(ctx context.Context, node, expected string) error {
	out, err := t.c.Lab.Exec(ctx, node, "cat /sys/class/net/pf*/device/sriov_numvfs")
	return errors.Join(err, want("the VFs of the PFs of "+node, strings.Join(strings.Fields(out), " "), expected))
}
