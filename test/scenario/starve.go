package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/problem"
)

// hangingPlugin is a program of the node that hangs at DEL, and leaves its process id.
const hangingPlugin = `rm -f /run/hanging; cat > /opt/cni/bin/hanging <<'EOT'
#!/bin/sh
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "0.3.1", "supportedVersions": ["0.3.1"]}';;
ADD) echo '{"cniVersion": "0.3.1", "interfaces": [], "ips": []}';;
DEL) echo $$ >> /run/hanging; exec sleep 600;;
esac
EOT
chmod 755 /opt/cni/bin/hanging`

// hangs counts the programs that are hanging at the moment.
const hangs = `n=0; for p in $(cat /run/hanging 2>/dev/null); do kill -0 $p 2>/dev/null && n=$((n+1)); done; echo $n`

// mendPlugin lets DEL succeed from now on, and ends those that hang.
const mendPlugin = `sed -i 's/^DEL).*/DEL) ;;/' /opt/cni/bin/hanging; kill $(cat /run/hanging) 2>/dev/null; rm -f /run/hanging`

// hangingPods are as many as a retry loop would have places.
const hangingPods = 4

// Starve has programs of one namespace hang at DEL, while the VF of another tenant is to
// come back. The agent is away as the pods are deleted, so that the releases are all its own work,
// and none is the call of a runtime (security S14).
func (t *Tenant) Starve(ctx context.Context) Facts {
	var f Facts
	f.check("pods run whose network's program will hang at DEL", func() (string, error) { return "", t.startHanging(ctx) })
	f.check("S14: they are deleted without the agent, and another tenant's pod with a VF too", func() (string, error) { return "", t.deleteHeld(ctx) })
	f.check("S14: the VF is back while the programs hang", func() (measured string, err error) {
		err = poll(ctx, agentLimit, "the VF of team-b/victim", func() error {
			measured, err = t.backWhileHanging(ctx)
			return err
		})
		return measured, err
	})
	f.check("the program works again: everything is released", func() (string, error) {
		if _, err := t.c.Lab.Exec(ctx, "node1", mendPlugin); err != nil {
			return "", err
		}
		return released(ctx, t.c, "node1", slowNamespace, otherNamespace)
	})
	_, err := t.c.Lab.Exec(ctx, "node1", "rm -f /opt/cni/bin/hanging")
	return append(f, Fact{Claim: "the program is taken away", Err: err})
}

func (t *Tenant) startHanging(ctx context.Context) error {
	if _, err := t.c.Lab.Exec(ctx, "node1", hangingPlugin); err != nil {
		return err
	}
	var manifest strings.Builder
	for i := range hangingPods {
		manifest.WriteString(Pod{Name: fmt.Sprintf("slow-%d", i), Node: "1", Networks: "hanging"}.Manifest(slowNamespace))
	}
	return errors.Join(t.c.apply(ctx, manifest.String()), t.c.waitReady(ctx, slowNamespace))
}

// deleteHeld deletes the pods while the agent is held.
func (t *Tenant) deleteHeld(ctx context.Context) (err error) {
	if _, err := t.c.Lab.Exec(ctx, "node1", killAgent); err != nil {
		return err
	}
	defer func() {
		_, e := t.c.Lab.Exec(ctx, "node1", letAgentGoOn)
		err = errors.Join(err, e)
	}()
	for _, namespace := range []string{slowNamespace, otherNamespace} {
		if _, err := t.c.Kubectl(ctx, "delete", "pod", "-n", namespace, "--all", "--wait", "--timeout=3m"); err != nil {
			return err
		}
	}
	return nil
}

// backWhileHanging reads the victim's VF from the kernel.
func (t *Tenant) backWhileHanging(ctx context.Context) (string, error) {
	out, err := t.c.Lab.Exec(ctx, "node1", hangs)
	if err != nil {
		return "", err
	}
	all, err := t.c.nodes().vfs(ctx, "node1")
	if err != nil {
		return "", err
	}
	for _, v := range all {
		if v.Address != t.aims.victimVF {
			continue
		}
		if v.Netdev == "" || v.Knobs.VLAN != 0 {
			return "", fmt.Errorf("the VF is not back: %s", v)
		}
		measured := strings.TrimSpace(out) + " programs hang"
		if strings.TrimSpace(out) == "0" {
			return "", errors.New("the VF came back when no program hung")
		}
		return measured, nil
	}
	return "", fmt.Errorf("node1 has no VF %s", t.aims.victimVF)
}

// released waits until the agent has no record of a pod of the namespaces, and no problem.
func released(ctx context.Context, c *Cluster, node string, namespaces ...string) (measured string, err error) {
	err = poll(ctx, agentLimit, "records of "+node, func() error {
		s, err := c.State(ctx, node)
		if err != nil {
			return err
		}
		var left []string
		for _, sandbox := range s.Sandboxes {
			if slices.Contains(namespaces, sandbox.Pod.Namespace) {
				left = append(left, sandbox.Pod.String()+" "+sandbox.Failure)
			}
		}
		measured = fmt.Sprintf("%d records of others", len(s.Sandboxes))
		if len(left)+len(s.Problems)+s.Tombstones > 0 {
			return fmt.Errorf("%s; problems: %s; %d tombstones", strings.Join(left, "; "), problem.Join(s.Problems, "; "), s.Tombstones)
		}
		return nil
	})
	return measured, err
}
