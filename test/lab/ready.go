package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"fairlead.dev/fairlead/test/lab/client"
	"fairlead.dev/fairlead/test/lab/internal/agentapi"
	"fairlead.dev/fairlead/test/lab/internal/config"
	"fairlead.dev/fairlead/test/lab/internal/progress"
)

// readyLimit is several times what two nodes take under emulation (47 s).
const readyLimit = 4 * time.Minute

// readyColumns prints one line per node: its name and whether it is Ready.
const readyColumns = `jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`

// waitReady waits until every node reports Ready to the API server.
func (u *starter) waitReady(ctx context.Context, s *progress.Step) error {
	kube := client.FromState(u.state)
	deadline := time.Now().Add(readyLimit)
	for {
		out, err := kube.Kubectl(ctx, nil, "get", "nodes", "-o", readyColumns)
		waiting := notReady(out, config.Nodes())
		if err == nil && len(waiting) == 0 {
			s.Result("%d", len(config.Nodes()))
			return nil
		}
		s.Status("waiting for %s", strings.Join(waiting, ", "))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not Ready after %s: %s\n%s", readyLimit, strings.Join(waiting, ", "), u.nodeLogs(waiting))
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func notReady(out string, nodes []config.Node) []string {
	ready := map[string]bool{}
	for line := range strings.Lines(out) {
		name, status, _ := strings.Cut(strings.TrimSpace(line), "=")
		ready[name] = status == "True"
	}
	var names []string
	for _, n := range nodes {
		if !ready[n.Name] {
			names = append(names, n.Name)
		}
	}
	return names
}

// nodeLogs returns the ends of the logs of kubelet and containerd on these nodes.
func (u *starter) nodeLogs(nodes []string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var b strings.Builder
	for _, name := range nodes {
		n, err := config.FindNode(name)
		if err != nil {
			continue
		}
		fmt.Fprintf(&b, "--- %s\n", name)
		const tails = "tail -n 15 /var/log/lab/containerd.log /var/log/lab/kubelet.log; tail -n 5 /run/guestagent.log"
		if err := execTo(ctx, agentOf(n, u.state), tails, &b); err != nil {
			fmt.Fprintf(&b, "%v\n", err)
		}
	}
	return b.String()
}

func execTo(ctx context.Context, a agentapi.Client, command string, b *strings.Builder) error {
	return a.Exec(ctx, command, nil, b, b)
}
