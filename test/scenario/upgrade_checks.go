package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"fairlead.dev/fairlead/pkg/problem"
)

// earlierFormat is the ledger's format at the commit from which the test upgrades.
const earlierFormat = "1"

// untouched checks that the pods are the ones that the earlier agent made.
func (u *Upgrade) untouched(ctx context.Context) Facts {
	facts := Facts{}
	facts.check("pods untouched: same containers, namespaces, links, addresses, VFs", func() (string, error) {
		now, err := u.marks(ctx)
		if err == nil {
			err = difference(u.pods, now)
		}
		return fmt.Sprintf("%d pods", len(upgradePods())), err
	})
	return append(facts, sideBySide(2, []claim{
		{"VF to VF, other node, VLAN 100: 0 % loss", func() (string, error) { return u.c.nodes().reach(ctx, UpgradeNamespace, "vf-1", "10.120.0.12", 56) }},
		{"fallback to VF, other node, VLAN 100: 0 % loss", func() (string, error) { return u.c.nodes().reach(ctx, UpgradeNamespace, "fallback", "10.120.0.11", 56) }},
		{"macvlan to ipvlan, other NIC: 0 % loss", func() (string, error) { return u.pingPod(ctx, "macvlan", "ipvlan") }},
		{"bridge to its gateway: 0 % loss", func() (string, error) { return u.c.nodes().reach(ctx, UpgradeNamespace, "bridge", "10.122.0.1", 56) }},
	})...)
}

func (u *Upgrade) pingPod(ctx context.Context, from, to string) (string, error) {
	link, err := u.c.nodes().linkInPod(ctx, UpgradeNamespace, to, "net1")
	if err != nil {
		return "", err
	}
	address, _, _ := strings.Cut(link.ipv4(), "/")
	return u.c.nodes().reach(ctx, UpgradeNamespace, from, address, 56)
}

// marks describes the pods in lines that differ if they are no longer the same.
func (u *Upgrade) marks(ctx context.Context) ([]string, error) {
	var lines []string
	for _, p := range upgradePods() {
		mark, err := u.mark(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("pod %s: %w", p.Name, err)
		}
		for _, line := range mark {
			lines = append(lines, p.Name+": "+line)
		}
	}
	return lines, nil
}

func (u *Upgrade) mark(ctx context.Context, p Pod) ([]string, error) {
	pod, err := u.c.Pod(ctx, UpgradeNamespace, p.Name)
	if err != nil {
		return nil, err
	}
	id, restarts, err := container(pod)
	if err != nil {
		return nil, err
	}
	namespace, err := u.c.nodes().inNetns(ctx, UpgradeNamespace, p.Name, "readlink /proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	lines := []string{fmt.Sprintf("container %s restarts %d namespace %s", id, restarts, strings.TrimSpace(namespace))}
	links, err := u.c.nodes().linksInPod(ctx, UpgradeNamespace, p.Name)
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		lines = append(lines, fmt.Sprintf("link %s mac %s mtu %d address %s", l.Name, l.MAC, l.MTU, l.ipv4()))
	}
	if p.Resource == "" {
		return lines, nil
	}
	v, err := u.c.nodes().vfOf(ctx, UpgradeNamespace, p.Name, "net1")
	return append(lines, "VF "+v.String()), err
}

// hosts describes all VFs, and the names of the nodes' links that pods may have left.
// A bridge stays on the node by the stock plugin's rule.
func (u *Upgrade) hosts(ctx context.Context) ([]string, error) {
	lines, err := u.c.nodes().snapshot(ctx)
	if err != nil {
		return nil, err
	}
	for _, node := range u.c.Lab.Nodes() {
		out, err := u.c.Lab.Exec(ctx, node, "ls /sys/class/net")
		if err != nil {
			return nil, err
		}
		for _, name := range strings.Fields(out) {
			if name != "cni0" && name != "upgrade0" && !strings.HasPrefix(name, "veth") {
				lines = append(lines, node+" link "+name)
			}
		}
	}
	return lines, nil
}

// recorded checks that the agents know each pod's attachment.
func (u *Upgrade) recorded(ctx context.Context) (measured string, err error) {
	err = poll(ctx, agentLimit, "attachments on record", func() error {
		states, err := u.c.States(ctx)
		if err != nil {
			return err
		}
		pods := 0
		for _, s := range states {
			if len(s.Problems) > 0 {
				return fmt.Errorf("problems: %s", problem.Join(s.Problems, "; "))
			}
			for _, sandbox := range s.Sandboxes {
				if sandbox.Pod.Namespace == UpgradeNamespace && sandbox.Failure == "" {
					pods++
				}
			}
		}
		measured = fmt.Sprintf("%d pods", pods)
		return want("the number of pods on record", pods, len(upgradePods()))
	})
	return measured, err
}

// ledgers reads the sandboxes' records on each node, a line each, and the format.
func (u *Upgrade) ledgers(ctx context.Context) (records map[string][]string, format string, err error) {
	records = map[string][]string{}
	for _, node := range u.c.Lab.Nodes() {
		err := poll(ctx, stateLimit, "ledger of "+node, func() error {
			file, err := u.copyLedger(ctx, node)
			if err != nil {
				return err
			}
			defer os.RemoveAll(filepath.Dir(file))
			records[node], format, err = readLedger(file)
			return err
		})
		if err != nil {
			return nil, "", err
		}
	}
	return records, format, nil
}

// copyLedger reads the file twice: a copy taken during a write is not used.
func (u *Upgrade) copyLedger(ctx context.Context, node string) (string, error) {
	const file = "/var/lib/fairlead/ledger.db"
	content, err := u.c.Lab.Exec(ctx, node, "cat "+file)
	if err != nil {
		return "", err
	}
	again, err := u.c.Lab.Exec(ctx, node, "cat "+file)
	if err != nil {
		return "", err
	}
	if content != again {
		return "", fmt.Errorf("%s on %s is being written", file, node)
	}
	dir, err := os.MkdirTemp("", "ledger-")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "ledger.db")
	return out, os.WriteFile(out, []byte(content), 0o600)
}

// readLedger reads the file by itself, not by the code that is being tested.
func readLedger(file string) (records []string, format string, err error) {
	db, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return nil, "", err
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket([]byte("meta"))
		if meta == nil {
			return fmt.Errorf("it has no bucket meta")
		}
		format = string(meta.Get([]byte("version")))
		return tx.ForEach(func(bucket []byte, b *bolt.Bucket) error {
			return b.ForEach(func(key, value []byte) error {
				records = append(records, fmt.Sprintf("%s %s %s", bucket, key, value))
				return nil
			})
		})
	})
	return records, format, err
}
