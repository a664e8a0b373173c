package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// profilesFile is scenario 14: the operator's NIC profiles for the lab's nodes.
const profilesFile = "deployments/examples/scenarios/14-nic-profile.yaml"

// runLabel marks the namespaces that a run has made, so that the next one can
// start without remains.
const runLabel = "fairlead.dev/lab-run"

// Capacity has the resources that the nodes offer with the profiles of scenario 14.
func Capacity() map[string]map[string]int64 {
	return map[string]map[string]int64{
		"node1": {"fairlead.dev/fast": 4, "fairlead.dev/dpdk": 2, "fairlead.dev/second": 4},
		"node2": {"fairlead.dev/fast": 2},
	}
}

// Install brings Fairlead into the lab as a user would: the image, the CRDs, the
// manifest, the profiles. With root, the repository's root, it finds the files. An
// existing installation is replaced.
func (c *Cluster) Install(ctx context.Context, root string) error {
	c.Say("loading the agent's image into the nodes")
	if err := c.Lab.LoadImage(ctx, filepath.Join(root, "dist", "fairlead-agent.tar")); err != nil {
		return fmt.Errorf("%w (make image builds it)", err)
	}
	if err := c.clear(ctx); err != nil {
		return err
	}
	c.Say("applying the CRDs, the manifest and the NIC profiles")
	for _, file := range []string{"deployments/crds/network-attachment-definitions.yaml", "deployments/fairlead.yaml"} {
		if err := c.applyFile(ctx, filepath.Join(root, file)); err != nil {
			return err
		}
	}
	if err := c.applyProfiles(ctx, filepath.Join(root, profilesFile)); err != nil {
		return err
	}
	return c.waitAgents(ctx)
}

func (c *Cluster) applyFile(ctx context.Context, path string) error {
	body, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return c.apply(ctx, string(body))
}

// applyProfiles puts scenario 14 into the ConfigMap that the agents read.
func (c *Cluster) applyProfiles(ctx context.Context, file string) error {
	body, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return applyProfileText(ctx, c, string(body))
}

func applyProfileText(ctx context.Context, c *Cluster, text string) error {
	return applyConfigMap(ctx, c, "fairlead-profiles", map[string]string{"nics.yaml": text})
}

// applyConfigMap writes a ConfigMap that the agents read.
func applyConfigMap(ctx context.Context, c *Cluster, name string, data map[string]string) error {
	object, err := json.Marshal(corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: agentNamespace},
		Data:       data,
	})
	if err != nil {
		return err
	}
	return c.apply(ctx, string(object))
}

// clear removes the remains of an earlier run, the agents last: they release the
// pods' devices.
func (c *Cluster) clear(ctx context.Context) error {
	out, err := c.Kubectl(ctx, "get", "namespaces", "-l", runLabel, "-o", "name")
	if err != nil {
		return err
	}
	var names []string
	for line := range strings.Lines(out) {
		names = append(names, strings.TrimPrefix(strings.TrimSpace(line), "namespace/"))
	}
	if err := c.Delete(ctx, names...); err != nil {
		return err
	}
	_, err = c.Kubectl(ctx, "delete", "daemonset", "-n", agentNamespace, "fairlead-agent", "--ignore-not-found", "--wait")
	if err != nil {
		return err
	}
	err = poll(ctx, agentLimit, "agents of an earlier run gone", func() error {
		pods, err := c.pods(ctx, agentNamespace, metav1.ListOptions{LabelSelector: agentSelector})
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d are there", len(pods))
		}
		return err
	})
	if err != nil {
		return err
	}
	// `apply` would keep the keys that somebody else has added.
	_, err = c.Kubectl(ctx, "delete", "configmap", "-n", agentNamespace, "fairlead-profiles", "fairlead-device-plugin", policiesName, "--ignore-not-found")
	return err
}

func (c *Cluster) waitAgents(ctx context.Context) error {
	started := time.Now()
	c.Say("waiting for the agents and for their VFs in the nodes' resources")
	if err := c.waitReady(ctx, agentNamespace); err != nil {
		return err
	}
	for node, resources := range Capacity() {
		if err := c.waitAllocatable(ctx, node, resources); err != nil {
			return err
		}
	}
	c.Say("ready after %s", time.Since(started).Round(time.Second))
	return nil
}

// createNamespaces makes namespaces and marks them. It only marks one that exists already.
func (c *Cluster) createNamespaces(ctx context.Context, names ...string) error {
	var all strings.Builder
	for _, name := range names {
		fmt.Fprintf(&all, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {%s: \"true\"}}\n", name, runLabel)
	}
	return c.apply(ctx, all.String())
}

// Delete deletes namespaces with all that is in them, and waits until it is gone.
func (c *Cluster) Delete(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	there, err := c.Kubectl(ctx, append([]string{"get", "namespace", "--ignore-not-found", "-o", "name"}, names...)...)
	if err != nil || there == "" {
		return err
	}
	c.Say("deleting the namespaces %s", strings.Join(names, ", "))
	_, err = c.Kubectl(ctx, append([]string{"delete", "namespace", "--ignore-not-found", "--wait", "--timeout=4m"}, names...)...)
	return err
}

// Diagnose returns the pods, their events and the agents' logs: the next questions of a
// person.
func (c *Cluster) Diagnose(ctx context.Context, namespaces ...string) string {
	var out strings.Builder
	show := func(args ...string) {
		text, err := c.Kubectl(ctx, args...)
		fmt.Fprintf(&out, "$ kubectl %s\n%s", strings.Join(args, " "), text)
		if err != nil {
			fmt.Fprintln(&out, err)
		}
	}
	for _, namespace := range namespaces {
		show("get", "pods", "-n", namespace, "-o", "wide")
		show("get", "events", "-n", namespace, "--sort-by=.lastTimestamp",
			"-o", `jsonpath={range .items[*]}{.involvedObject.name}{"  "}{.reason}{"  "}{.message}{"\n"}{end}`)
	}
	show("get", "pods", "-n", agentNamespace, "-o", "wide")
	for _, node := range c.Lab.Nodes() {
		pod, err := c.AgentPod(ctx, node)
		if err != nil {
			fmt.Fprintf(&out, "%s: %v\n", node, err)
			continue
		}
		show("logs", "-n", agentNamespace, pod.Name, "--tail=60")
		if pod.Status.ContainerStatuses != nil && pod.Status.ContainerStatuses[0].RestartCount > 0 {
			show("logs", "-n", agentNamespace, pod.Name, "--previous", "--tail=30")
		}
	}
	return out.String()
}
