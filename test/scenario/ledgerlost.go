package scenario

import (
	"context"
	"errors"
	"fmt"
	"regexp"
)

// LedgerLost removes the ledger of node 1, as a new disk would, while a pod has a VF (lab.md F).
func (t *Trouble) LedgerLost(ctx context.Context) Facts {
	var f Facts
	f.check("F: a pod has a VF with a VLAN, trust and another MTU", func() (string, error) {
		if err := t.c.createNamespaces(ctx, TroubleNamespace); err != nil {
			return "", err
		}
		manifest, err := adapt(troubleManifest, change{namespace: TroubleNamespace, node: "1"})
		if err != nil {
			return "", err
		}
		pod := Pod{Name: "keeper", Node: "1", Networks: "first-vlan", Resource: second}
		return "", errors.Join(t.c.apply(ctx, manifest+pod.Manifest(TroubleNamespace)), t.c.waitReady(ctx, TroubleNamespace))
	})
	f.check("F: the ledger is lost; the VFs of running pods are not shown as free", func() (measured string, err error) {
		if _, err := t.c.Lab.Exec(ctx, "node1", killAgent+"\nrm -f /var/lib/fairlead/ledger.db\n"+letAgentGoOn); err != nil {
			return "", err
		}
		err = poll(ctx, agentLimit, "VFs held on node1", func() error {
			s, err := t.c.State(ctx, "node1")
			if err != nil {
				return err
			}
			measured = fmt.Sprintf("%d of 4 free", freeIn(s, second))
			return want("free VFs of "+second, measured, "1 of 4 free")
		})
		return measured, err
	})
	f.check("F: the pods are deleted, and their VFs come back as new", func() (string, error) {
		if err := t.c.Delete(ctx, TroubleNamespace); err != nil {
			return "", err
		}
		return "all settings but the MAC, which is a new one", poll(ctx, stateLimit, "VFs as new", func() error {
			after, err := t.c.nodes().snapshot(ctx)
			return errors.Join(err, difference(withoutMACs(t.before), withoutMACs(after)))
		})
	})
	for _, node := range t.c.Lab.Nodes() {
		f.check(node+": ledger empty, pools full", func() (string, error) { return empty(ctx, t.c, node, TroubleNamespace) })
	}
	return f
}

var macRE = regexp.MustCompile(`mac ([0-9a-f]{2}:){5}[0-9a-f]{2}`)

// withoutMACs leaves the MACs out: a driver that is bound again makes one.
func withoutMACs(lines []string) []string {
	var all []string
	for _, line := range lines {
		all = append(all, macRE.ReplaceAllString(line, "mac"))
	}
	return all
}
