package scenario

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/pkg/problem"
)

// Namespaces of the pods that cannot start, and of the one that loses its VF.
const (
	BadNamespace      = "bad-input"
	VanishedNamespace = "vanished-vf"
)

//go:embed badinput.yaml
var badNetworks string

// fault is a pod that cannot start, and what its events must say.
type fault struct {
	claim string
	pod   Pod
	says  []string // besides the pod's name: network, field, reason, remedy
}

func faults() []fault {
	fast := "fairlead.dev/second"
	return []fault{
		{"malformed annotation", Pod{Name: "malformed", Networks: `[{"name": "good"`},
			[]string{"k8s.v1.cni.cncf.io/networks", "JSON", `write [{"name": "…"}]`}},
		{"unknown network", Pod{Name: "unknown", Networks: "no-such-net"},
			[]string{"network bad-input/no-such-net", "not found"}},
		{"interface name with a slash", Pod{Name: "slash", Networks: `[{"name": "good", "interface": "net/1"}]`},
			[]string{"field interface", `"net/1"`, "1 to 15 bytes"}},
		{"interface name of 16 bytes", Pod{Name: "too-long", Networks: "good@sixteen-bytes-16"},
			[]string{"field interface", "16 bytes", "1 to 15 bytes"}},
		{"VLAN 4095", Pod{Name: "vlan", Networks: "vlan-4095", Resource: fast},
			[]string{"network bad-input/vlan-4095", "vlan", "4095", "4094"}},
		{"MAC with the group bit", Pod{Name: "group-bit", Networks: `[{"name": "good", "mac": "01:00:5e:00:00:01"}]`},
			[]string{"field mac", "01:00:5e:00:00:01", "group bit", "unicast"}},
		{`trust "yes"`, Pod{Name: "trust", Networks: "trust-yes", Resource: fast},
			[]string{"network bad-input/trust-yes", "trust", `"yes"`, `"on"`, `"off"`}},
		{"too few devices", Pod{Name: "too-few", Networks: "good,good", Resource: fast},
			[]string{"network bad-input/good", "fairlead.dev/second", "2", "1"}},
		{"a VF that is not there", Pod{Name: "no-vf", Networks: `[{"name": "by-id", "deviceID": "0000:01:1f.7"}]`},
			[]string{"network bad-input/by-id", "0000:01:1f.7"}},
	}
}

// StartBadInput creates all faulty pods at once, on node 1 where both resources are.
func StartBadInput(ctx context.Context, c *Cluster) error {
	if err := c.createNamespaces(ctx, BadNamespace); err != nil {
		return err
	}
	all, err := adapt(badNetworks, change{namespace: BadNamespace})
	if err != nil {
		return err
	}
	for _, f := range faults() {
		f.pod.Node = "1"
		all += f.pod.Manifest(BadNamespace)
	}
	c.Say("creating %d pods that must not start", len(faults()))
	return c.apply(ctx, all)
}

// BadInput checks that the pod's events explain each fault.
func BadInput(ctx context.Context, c *Cluster) Facts {
	var f Facts
	for _, bad := range faults() {
		f.check(bad.claim, func() (line string, err error) {
			err = poll(ctx, podsLimit, "events of "+bad.pod.Name, func() error {
				events, err := c.Events(ctx, BadNamespace, bad.pod.Name)
				if err != nil {
					return err
				}
				line, err = explaining(events, append(bad.says, BadNamespace+"/"+bad.pod.Name))
				return err
			})
			return line, err
		})
	}
	return f
}

// explaining returns the event that says all of it.
func explaining(events string, says []string) (string, error) {
	for line := range strings.Lines(events) {
		missing := ""
		for _, text := range says {
			if !strings.Contains(line, text) {
				missing = text
			}
		}
		if missing == "" {
			return strings.TrimSpace(line), nil
		}
	}
	return "", fmt.Errorf("no event says all of %q:\n%s", says, events)
}

// BadInputGone deletes the faulty pods: nothing of them may be left.
func BadInputGone(ctx context.Context, c *Cluster) Facts {
	var f Facts
	f.check("no faulty pod has started", func() (string, error) {
		pods, err := c.pods(ctx, BadNamespace, metav1.ListOptions{})
		if err != nil {
			return "", err
		}
		for _, pod := range pods {
			if pod.Status.Phase != "Pending" {
				return "", fmt.Errorf("pod %s is %s", pod.Name, pod.Status.Phase)
			}
		}
		return fmt.Sprintf("%d pods", len(pods)), want("the number of faulty pods", len(pods), len(faults()))
	})
	f.check("faulty pods deleted: they are gone", func() (string, error) { return "", c.Delete(ctx, BadNamespace) })
	for _, node := range c.Lab.Nodes() {
		f.check(node+": ledger empty, pools full", func() (string, error) { return empty(ctx, c, node, BadNamespace) })
	}
	return f
}

// VanishedVF removes all VFs of a PF by hand while a pod holds one of them.
func VanishedVF(ctx context.Context, c *Cluster) Facts {
	var f Facts
	f.check("a pod with a VF of pf1 runs", func() (string, error) { return "", startVanishing(ctx, c) })
	f.check("its VF removed by hand: the agent's state names pod, network, interface and VF", func() (line string, err error) {
		if _, err := c.Lab.Exec(ctx, "node1", "echo 0 > /sys/class/net/pf1/device/sriov_numvfs"); err != nil {
			return "", err
		}
		err = poll(ctx, stateLimit, "problem of the vanished VF", func() error {
			s, err := c.State(ctx, "node1")
			if err != nil {
				return err
			}
			line, err = explaining(problem.Join(s.Problems, "\n"), []string{VanishedNamespace + "/loser", "second-net", "net1", "0000:02:"})
			return err
		})
		return line, err
	})
	f.check("the pod can be deleted", func() (string, error) { return "", c.Delete(ctx, VanishedNamespace) })
	f.check("the profile makes the VFs again, and the pool is full", func() (string, error) {
		err := c.waitAllocatable(ctx, "node1", Capacity()["node1"])
		measured, e := empty(ctx, c, "node1", VanishedNamespace)
		return measured, errors.Join(err, e)
	})
	return f
}

func startVanishing(ctx context.Context, c *Cluster) error {
	if err := c.createNamespaces(ctx, VanishedNamespace); err != nil {
		return err
	}
	manifest, err := adapt(secondNet, change{namespace: VanishedNamespace})
	if err != nil {
		return err
	}
	loser := Pod{Name: "loser", Node: "1", Networks: "second-net", Resource: "fairlead.dev/second"}
	if err := c.apply(ctx, manifest+loser.Manifest(VanishedNamespace)); err != nil {
		return err
	}
	return c.waitReady(ctx, VanishedNamespace)
}

const secondNet = `apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata:
  name: second-net
  annotations:
    k8s.v1.cni.cncf.io/resourceName: fairlead.dev/second
spec:
  config: '{"cniVersion": "0.3.1", "type": "sriov", "vlan": 14}'
`
