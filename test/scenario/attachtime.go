package scenario

import (
	"context"
	_ "embed"
	"fmt"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// AttachTimeNamespace is where AttachTime's pods are.
const AttachTimeNamespace = "attach-time"

//go:embed attachtime.yaml
var attachTimeNetworks string

// AttachKind is a pod with one kind of attachment beside the primary network.
type AttachKind struct{ Name, Networks, Resource string }

// AttachKinds lists all kinds; the first has only the primary network, which the
// others have as well.
func AttachKinds() []AttachKind {
	return []AttachKind{
		{Name: "primary"},
		{Name: "macvlan", Networks: "macvlan"},
		{Name: "ipvlan", Networks: "ipvlan"},
		{Name: "sriov", Networks: "sriov", Resource: "fairlead.dev/fast"},
		{Name: "vfio", Networks: "vfio", Resource: "fairlead.dev/dpdk"},
		{Name: "fallback", Networks: "sriov"},
	}
}

// StartAttachTime makes the networks that AttachTime uses.
func StartAttachTime(ctx context.Context, c *Cluster) error {
	if err := c.Delete(ctx, AttachTimeNamespace); err != nil {
		return err
	}
	if err := c.createNamespaces(ctx, AttachTimeNamespace); err != nil {
		return err
	}
	networks, err := adapt(attachTimeNetworks, change{namespace: AttachTimeNamespace})
	if err != nil {
		return err
	}
	return c.apply(ctx, networks)
}

// AttachTime creates and deletes one pod on node 1 and returns how long its ADD and DEL
// took, as the agent has measured them.
func AttachTime(ctx context.Context, c *Cluster, k AttachKind) (add, del time.Duration, err error) {
	name := fmt.Sprintf("%s-%x", k.Name, time.Now().UnixMilli())
	pod := Pod{Name: name, Node: "1", Networks: k.Networks, Resource: k.Resource}
	if err := c.apply(ctx, pod.Manifest(AttachTimeNamespace)); err != nil {
		return 0, 0, err
	}
	if err := c.waitReady(ctx, AttachTimeNamespace); err != nil {
		return 0, 0, err
	}
	if _, err := c.Kubectl(ctx, "delete", "pod", "-n", AttachTimeNamespace, name, "--wait", "--timeout=2m"); err != nil {
		return 0, 0, err
	}
	// The kubelet removes a pod's sandbox before it lets the pod go, but the log may
	// lag behind.
	err = poll(ctx, stateLimit, "the agent's log of pod "+name, func() error {
		calls, err := calls(ctx, c, "node1", name)
		if err == nil && (calls["ADD"] == 0 || calls["DEL"] == 0) {
			err = fmt.Errorf("it has no ADD or no DEL yet: %v", calls)
		}
		add, del = calls["ADD"], calls["DEL"]
		return err
	})
	return add, del, err
}

var callDone = regexp.MustCompile(`msg="CNI call done" command=(\w+) .*pod=` + AttachTimeNamespace + `/(\S+) .*took=(\S+)`)

// calls gives the time of the first call of each CNI command for a pod; a repeated
// DEL finds nothing to do.
func calls(ctx context.Context, c *Cluster, node, pod string) (map[string]time.Duration, error) {
	agent, err := c.AgentPod(ctx, node)
	if err != nil {
		return nil, err
	}
	tail := int64(200)
	log, err := c.api.CoreV1().Pods(agentNamespace).GetLogs(agent.Name, &corev1.PodLogOptions{TailLines: &tail}).DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	calls := map[string]time.Duration{}
	for _, m := range callDone.FindAllStringSubmatch(string(log), -1) {
		if command := m[1]; m[2] == pod && calls[command] == 0 {
			if calls[command], err = time.ParseDuration(m[3]); err != nil {
				return nil, err
			}
		}
	}
	return calls, nil
}
