package scenario

import (
	"context"
	"fmt"
	"strings"
)

// Uninstall removes the DaemonSet as a user would, and checks the nodes.
func Uninstall(ctx context.Context, c *Cluster) Facts {
	var f Facts
	f.check("the DaemonSet and its agents are removed", func() (string, error) {
		c.Say("removing the DaemonSet")
		return "", c.clear(ctx)
	})
	for _, node := range c.Lab.Nodes() {
		f.check(node+": the CNI configuration is the cluster's own again", func() (string, error) {
			out, err := c.Lab.Exec(ctx, node, "ls /etc/cni/net.d; grep -l fairlead /etc/cni/net.d/* || true; ls /opt/cni/bin/fairlead /opt/cni/bin/.fairlead-shim 2>/dev/null || true")
			measured := strings.Join(strings.Fields(out), " ")
			if err != nil {
				return measured, err
			}
			return measured, want("/etc/cni/net.d and the shim", measured, "10-lab.conflist")
		})
	}
	f.check("pods start without Fairlead", func() (string, error) {
		if err := c.createNamespaces(ctx, "after"); err != nil {
			return "", err
		}
		manifest := Pod{Name: "plain-1", Node: "1"}.Manifest("after") + Pod{Name: "plain-2", Node: "2"}.Manifest("after")
		if err := c.apply(ctx, manifest); err != nil {
			return "", err
		}
		if err := c.waitReady(ctx, "after"); err != nil {
			return "", err
		}
		links, err := c.nodes().linksInPod(ctx, "after", "plain-1")
		if err != nil {
			return "", err
		}
		if err := c.Delete(ctx, "after"); err != nil {
			return "", err
		}
		return fmt.Sprintf("plain-1 has %s", names(links)), want("plain-1's interfaces", names(links), "eth0")
	})
	return f
}
