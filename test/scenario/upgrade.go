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

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sync/errgroup"
)

// UpgradeNamespace is where the upgrade's pods are.
const UpgradeNamespace = "upgrade"

//go:embed upgrade.yaml
var upgradeNetworks string

// upgradePods has a pod of each kind of attachment. fallback requests no device.
func upgradePods() []Pod {
	return []Pod{
		{Name: "vf-1", Node: "1", Resource: "fairlead.dev/fast", Networks: `[{"name": "vlan100", "mac": "02:00:00:00:03:0a", "ips": ["10.120.0.11/24"]}]`},
		{Name: "vf-2", Node: "2", Resource: "fairlead.dev/fast", Networks: `[{"name": "vlan100", "ips": ["10.120.0.12/24"]}]`},
		{Name: "fallback", Node: "2", Networks: `[{"name": "vlan100", "ips": ["10.120.0.13/24"]}]`},
		{Name: "vfio", Node: "1", Resource: "fairlead.dev/dpdk", Networks: `[{"name": "vfio", "mac": "02:00:00:00:03:0d"}]`},
		{Name: "macvlan", Node: "1", Networks: "macvlan"},
		{Name: "ipvlan", Node: "1", Networks: "ipvlan"},
		{Name: "bridge", Node: "1", Networks: "bridge"},
	}
}

// Upgrade is a lab whose pods were made by an earlier agent.
type Upgrade struct {
	c       *Cluster
	earlier Version
	current Version
	before  []string // VFs and links before any pod had one
	pods    []string // the pods as the earlier agent made them
}

// Version is a version of Fairlead to install: a folder laid out like the repository, and
// the agent's image that its manifest names.
type Version struct{ Root, Image string }

// StartUpgrade installs the earlier version and creates pods of each kind.
func StartUpgrade(ctx context.Context, c *Cluster, earlier, current Version) (*Upgrade, error) {
	u := &Upgrade{c: c, earlier: earlier, current: current}
	if err := forgetLedgers(ctx, c); err != nil {
		return nil, err
	}
	c.Say("installing %s", earlier.Image)
	if err := c.Install(ctx, earlier.Root); err != nil {
		return nil, err
	}
	for _, network := range []string{"macvlan", "ipvlan", "bridge"} {
		if err := c.nodes().forgetAddresses(ctx, network); err != nil {
			return nil, err
		}
	}
	var err error
	if u.before, err = u.hosts(ctx); err != nil {
		return nil, err
	}
	if err := u.startPods(ctx); err != nil {
		return nil, err
	}
	u.pods, err = u.marks(ctx)
	return u, err
}

// forgetLedgers removes the ledgers of an earlier run, which have no pods any more. The
// earlier agent would refuse the ledgers of the current one.
func forgetLedgers(ctx context.Context, c *Cluster) error {
	if err := c.clear(ctx); err != nil {
		return err
	}
	for _, node := range c.Lab.Nodes() {
		if _, err := c.Lab.Exec(ctx, node, "rm -f /var/lib/fairlead/ledger.db"); err != nil {
			return err
		}
	}
	return nil
}

// startPods creates the pods. The current agent's image is loaded meanwhile.
func (u *Upgrade) startPods(ctx context.Context) error {
	c := u.c
	if err := c.createNamespaces(ctx, UpgradeNamespace); err != nil {
		return err
	}
	manifest, err := adapt(upgradeNetworks, change{namespace: UpgradeNamespace})
	if err != nil {
		return err
	}
	pods := upgradePods()
	for _, pod := range pods {
		manifest += pod.Manifest(UpgradeNamespace)
	}
	c.Say("creating %d pods, one of each kind of attachment", len(pods))
	if err := c.apply(ctx, manifest); err != nil {
		return err
	}
	var group errgroup.Group
	group.Go(func() error { return c.waitReady(ctx, UpgradeNamespace) })
	group.Go(func() error {
		return c.Lab.LoadImage(ctx, filepath.Join(u.current.Root, "dist", "fairlead-agent.tar"))
	})
	return group.Wait()
}

// Upgraded replaces the earlier agent by the current one.
func (u *Upgrade) Upgraded(ctx context.Context) Facts {
	var f Facts
	f.check("current manifest applied: the current agents run", func() (string, error) {
		u.c.Say("replacing the agents by %s", u.current.Image)
		return "", u.replaceAgents(ctx, u.current)
	})
	f.check("each attachment of the earlier agent is on record, with no problem", func() (string, error) { return u.recorded(ctx) })
	return append(f, u.untouched(ctx)...)
}

// WentBack puts the earlier agent back, on the ledger that the current one has
// written, and then the current one again.
func (u *Upgrade) WentBack(ctx context.Context) Facts {
	var f Facts
	var records map[string][]string
	var format string
	f.check("the ledgers' records are read", func() (measured string, err error) {
		records, format, err = u.ledgers(ctx)
		return "format " + format, err
	})
	u.c.Say("going back to %s", u.earlier.Image)
	f.check("earlier manifest applied: the earlier agent runs on its own format, and refuses a newer one", func() (string, error) {
		return u.goBack(ctx, format)
	})
	f = append(f, u.untouched(ctx)...)
	f.check("the records are what they were", func() (string, error) {
		after, _, err := u.ledgers(ctx)
		for node, lines := range records {
			err = errors.Join(err, difference(lines, after[node]))
		}
		return fmt.Sprintf("%d nodes", len(after)), err
	})
	u.c.Say("replacing the agents by %s again", u.current.Image)
	f.check("current manifest applied again: the current agents run", func() (string, error) { return "", u.replaceAgents(ctx, u.current) })
	f.check("each attachment is on record, with no problem", func() (string, error) { return u.recorded(ctx) })
	return f
}

// Gone deletes the pods: the current agent undoes the work of the earlier one.
func (u *Upgrade) Gone(ctx context.Context) Facts {
	var f Facts
	f.check("pods of the earlier agent deleted: they are gone", func() (string, error) { return "", u.c.Delete(ctx, UpgradeNamespace) })
	f.check("VFs and host links are as before the pods", func() (string, error) {
		err := poll(ctx, stateLimit, "VFs and links as before", func() error {
			after, err := u.hosts(ctx)
			if err != nil {
				return err
			}
			return difference(u.before, after)
		})
		return strconv.Itoa(len(u.before)) + " VFs and links", err
	})
	f.check("host-local holds no address", func() (string, error) {
		out, err := u.c.Lab.Exec(ctx, "node1", "cd /var/lib/cni/networks && ls macvlan ipvlan bridge | grep '^10\\.' || true")
		return "", errors.Join(err, want("the addresses held", strings.TrimSpace(out), ""))
	})
	for _, node := range u.c.Lab.Nodes() {
		f.check(node+": ledger empty, pools full", func() (string, error) { return empty(ctx, u.c, node, UpgradeNamespace) })
		f.check(node+": fairleadctl status has no problems", func() (string, error) {
			out, err := u.c.Fairleadctl(ctx, node, "status")
			if err != nil {
				err = fmt.Errorf("%w\n%s", err, out)
			}
			return "", err
		})
	}
	return f
}

// replaceAgents applies a version's manifest and waits until its agents serve on all
// nodes.
func (u *Upgrade) replaceAgents(ctx context.Context, v Version) error {
	if err := u.applyAgents(ctx, v); err != nil {
		return err
	}
	return poll(ctx, agentLimit, "agents of "+v.Image, func() error {
		pods, err := u.agents(ctx)
		if err != nil {
			return err
		}
		serving := 0
		for _, pod := range pods {
			if pod.Spec.Containers[0].Image == v.Image && ready(pod) {
				serving++
			}
		}
		return want("the number of agents that serve", serving, len(u.c.Lab.Nodes()))
	})
}

// applyAgents applies a version's manifest, as a user would. It only shortens the pause
// between nodes.
func (u *Upgrade) applyAgents(ctx context.Context, v Version) error {
	body, err := os.ReadFile(filepath.Join(v.Root, "deployments", "fairlead.yaml"))
	if err != nil {
		return err
	}
	return u.c.apply(ctx, strings.Replace(string(body), "minReadySeconds: 10", "minReadySeconds: 0", 1))
}

// goBack applies the earlier manifest. An earlier agent that refuses the ledger holds
// up the rollout, so the other node keeps the current one.
func (u *Upgrade) goBack(ctx context.Context, format string) (string, error) {
	if format == earlierFormat {
		return "it runs, the format is the same", u.replaceAgents(ctx, u.earlier)
	}
	if err := u.applyAgents(ctx, u.earlier); err != nil {
		return "", err
	}
	refusal := fmt.Sprintf(`has format version "%s" and this agent knows "%s"`, format, earlierFormat)
	var line string
	err := poll(ctx, agentLimit, "an agent that refuses the ledger", func() (err error) {
		line, err = u.logLine(ctx, u.earlier.Image, strings.ReplaceAll(refusal, `"`, ``))
		return err
	})
	return line, err
}

// logLine finds a line in the log of an agent that is running or has just ended. The log
// quotes text, so both are compared without quotation marks.
func (u *Upgrade) logLine(ctx context.Context, image, text string) (string, error) {
	pods, err := u.agents(ctx)
	if err != nil {
		return "", err
	}
	plain := strings.NewReplacer(`\"`, ``, `"`, ``)
	for _, pod := range pods {
		if pod.Spec.Containers[0].Image != image {
			continue
		}
		for _, previous := range []bool{false, true} {
			log, _ := u.c.api.CoreV1().Pods(agentNamespace).GetLogs(pod.Name, &corev1.PodLogOptions{Previous: previous}).DoRaw(ctx)
			for line := range strings.Lines(plain.Replace(string(log))) {
				if strings.Contains(line, text) {
					return pod.Spec.NodeName + ": " + strings.TrimSpace(line), nil
				}
			}
		}
	}
	return "", fmt.Errorf("no log of an agent of %s says: %s", image, text)
}

func (u *Upgrade) agents(ctx context.Context) ([]corev1.Pod, error) {
	return u.c.pods(ctx, agentNamespace, metav1.ListOptions{LabelSelector: agentSelector})
}
