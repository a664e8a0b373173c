package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/test/lab/internal/config"
	"fairlead.dev/fairlead/test/lab/internal/egress"
)

// newEgress makes the command egress: the API server's way to the nodes, a process of
// its own that up starts.
func newEgress() *cobra.Command {
	return &cobra.Command{
		Use:    "egress-proxy",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := openLab()
			if err != nil {
				return err
			}
			state, err := l.layout.ReadState()
			if err != nil {
				return err
			}
			p := egress.Proxy{Nodes: egressNodes(state), Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
			return p.Serve(cmd.Context(), l.layout.Socket("egress"))
		},
	}
}

func egressNodes(state config.State) []egress.Node {
	var nodes []egress.Node
	for _, n := range config.Nodes() {
		nodes = append(nodes, egress.Node{
			Name:     n.Name,
			Addr:     netip.MustParseAddr(n.IP()),
			Kubelet:  fmt.Sprintf("%s:%d", n.HostIP(), state.Ports.Kubelet),
			PodNet:   netip.MustParsePrefix(n.PodCIDR()),
			FromNode: agentOf(n, state),
		})
	}
	return nodes
}
