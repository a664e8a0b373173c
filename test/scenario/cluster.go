package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/state"
	"fairlead.dev/fairlead/test/lab/client"
)

// Limits are several times the time of an emulated node.
const (
	podsLimit  = 8 * time.Minute // for all pods of a chapter together
	stateLimit = 3 * time.Minute
	agentLimit = 3 * time.Minute
)

// Namespace of the agent, and the label of its pods.
const (
	agentNamespace = "fairlead-system"
	agentSelector  = "app.kubernetes.io/name=fairlead-agent"
)

// Cluster is the lab with Fairlead in it.
type Cluster struct {
	Lab *client.Lab
	// Say reports progress, a line at a time.
	Say func(format string, args ...any)
	// api is for questions that are asked again and again: a kubectl each time would take the
	// machine's two cores from the nodes.
	api kubernetes.Interface
}

// NewCluster connects to the running lab.
func NewCluster(lab *client.Lab, say func(format string, args ...any)) (*Cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", lab.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 50, 100 // the events of fifty attacks are asked for one by one
	api, err := kubernetes.NewForConfig(config)
	return &Cluster{Lab: lab, Say: say, api: api}, err
}

// Kubectl runs kubectl as administrator. Its error has kubectl's messages.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.Lab.Kubectl(ctx, nil, args...)
}

// apply applies a manifest.
func (c *Cluster) apply(ctx context.Context, manifest string) error {
	_, err := c.Lab.Kubectl(ctx, strings.NewReader(manifest), "apply", "-f", "-")
	return err
}

// Pod reads a pod.
func (c *Cluster) Pod(ctx context.Context, namespace, name string) (corev1.Pod, error) {
	pod, err := c.api.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return corev1.Pod{}, err
	}
	return *pod, nil
}

// pods reads the pods of a namespace that the selectors match.
func (c *Cluster) pods(ctx context.Context, namespace string, match metav1.ListOptions) ([]corev1.Pod, error) {
	list, err := c.api.CoreV1().Pods(namespace).List(ctx, match)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// InPod runs a command in a pod's first container.
func (c *Cluster) InPod(ctx context.Context, namespace, pod string, command ...string) (string, error) {
	return c.Kubectl(ctx, append([]string{"exec", "-n", namespace, pod, "--"}, command...)...)
}

// waitReady waits for all pods of the namespaces, which are started side by side.
func (c *Cluster) waitReady(ctx context.Context, namespaces ...string) error {
	return c.waitStarting(ctx, 0, namespaces...)
}

// waitStarting waits until at most so many pods of the namespaces are not ready.
func (c *Cluster) waitStarting(ctx context.Context, most int, namespaces ...string) error {
	return poll(ctx, podsLimit, "pods ready", func() error {
		var waiting []string
		for _, namespace := range namespaces {
			pods, err := c.pods(ctx, namespace, metav1.ListOptions{})
			if err != nil {
				return err
			}
			if len(pods) == 0 {
				waiting = append(waiting, "the first pod of namespace "+namespace)
			}
			for _, pod := range pods {
				if !ready(pod) {
					waiting = append(waiting, fmt.Sprintf("pod %s/%s (%s)", pod.Namespace, pod.Name, pod.Status.Phase))
				}
			}
		}
		if len(waiting) > most {
			return fmt.Errorf("not ready: %s", strings.Join(waiting, ", "))
		}
		return nil
	})
}

func ready(pod corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// NetworkStatus reads the pod's network-status annotation. It may come a moment after
// the pod is ready, so NetworkStatus waits for it.
func (c *Cluster) NetworkStatus(ctx context.Context, namespace, name string) ([]network.StatusEntry, error) {
	var entries []network.StatusEntry
	err := poll(ctx, stateLimit, "network-status of pod "+namespace+"/"+name, func() error {
		pod, err := c.Pod(ctx, namespace, name)
		if err != nil {
			return err
		}
		text, ok := pod.Annotations[network.StatusAnnotation]
		if !ok {
			return fmt.Errorf("the annotation is missing")
		}
		return json.Unmarshal([]byte(text), &entries)
	})
	return entries, err
}

// statusOf returns the network-status entry of one interface.
func (c *Cluster) statusOf(ctx context.Context, namespace, pod, ifname string) (network.StatusEntry, error) {
	entries, err := c.NetworkStatus(ctx, namespace, pod)
	if err != nil {
		return network.StatusEntry{}, err
	}
	for _, e := range entries {
		if e.Interface == ifname {
			return e, nil
		}
	}
	return network.StatusEntry{}, fmt.Errorf("network-status of pod %s/%s has no entry for %s", namespace, pod, ifname)
}

// AgentPod returns the name of the agent's pod on a node.
func (c *Cluster) AgentPod(ctx context.Context, node string) (corev1.Pod, error) {
	pods, err := c.pods(ctx, agentNamespace, metav1.ListOptions{LabelSelector: agentSelector, FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return corev1.Pod{}, err
	}
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil {
			return pod, nil
		}
	}
	return corev1.Pod{}, fmt.Errorf("no agent pod on %s", node)
}

// State asks the agent of a node for its state, as fairleadctl does.
func (c *Cluster) State(ctx context.Context, node string) (state.State, error) {
	text, err := c.Lab.Exec(ctx, node, "curl -sSf --max-time 20 --unix-socket "+state.DefaultSocket+" http://agent"+state.Path)
	if err != nil {
		return state.State{}, err
	}
	return state.Decode([]byte(text))
}

// Fairleadctl runs it in the agent's pod of a node.
func (c *Cluster) Fairleadctl(ctx context.Context, node string, args ...string) (string, error) {
	pod, err := c.AgentPod(ctx, node)
	if err != nil {
		return "", err
	}
	return c.InPod(ctx, agentNamespace, pod.Name, append([]string{"/fairleadctl"}, args...)...)
}

// States asks the agents of all nodes.
func (c *Cluster) States(ctx context.Context) ([]state.State, error) {
	var out []state.State
	for _, node := range c.Lab.Nodes() {
		s, err := c.State(ctx, node)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", node, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// Events returns the events of a pod, a line each.
func (c *Cluster) Events(ctx context.Context, namespace, pod string) (string, error) {
	list, err := c.api.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
	if err != nil {
		return "", err
	}
	var lines strings.Builder
	for _, event := range list.Items {
		lines.WriteString(event.Reason + ": " + event.Message + "\n")
	}
	return lines.String(), nil
}

// Allocatable returns how many of a resource the node offers to pods.
func (c *Cluster) Allocatable(ctx context.Context, node, resource string) (int64, error) {
	n, err := c.api.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	quantity := n.Status.Allocatable[corev1.ResourceName(resource)]
	return quantity.Value(), nil
}

// waitAllocatable waits until the node offers the resources.
func (c *Cluster) waitAllocatable(ctx context.Context, node string, resources map[string]int64) error {
	return poll(ctx, agentLimit, "resources of "+node, func() error {
		for resource, expected := range resources {
			got, err := c.Allocatable(ctx, node, resource)
			if err != nil {
				return err
			}
			if err := want(resource+" on "+node, got, expected); err != nil {
				return err
			}
		}
		return nil
	})
}

// poll tries until it succeeds. After the limit, its error is that of the last try.
func poll(ctx context.Context, limit time.Duration, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %w", what, limit, err)
		case <-tick.C:
		}
	}
}
