package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

//go:embed remains.sh
var remainsScript string

// remains reads everything of a node that pods may leave behind, as sorted lines.
func remains(ctx context.Context, lab execer, node string) ([]string, error) {
	out, err := lab.Exec(ctx, node, remainsScript)
	if err != nil {
		return nil, err
	}
	lines, err := parseRemains(out)
	if err != nil {
		return nil, fmt.Errorf("remains on %s: %w", node, err)
	}
	for i := range lines {
		lines[i] = node + " " + lines[i]
	}
	return lines, nil
}

func parseRemains(out string) ([]string, error) {
	var all []string
	scanner := bufio.NewScanner(strings.NewReader(out))
	scanner.Buffer(nil, 4<<20)
	for scanner.Scan() {
		line := scanner.Text()
		if text, ok := strings.CutPrefix(line, "links "); ok {
			var links []ipLink
			if err := json.Unmarshal([]byte(text), &links); err != nil {
				return nil, fmt.Errorf("ip -j addr: %w", err)
			}
			for _, l := range links {
				all = append(all, l.lines()...)
			}
			continue
		}
		all = append(all, anonymous(line))
	}
	if err := scanner.Err(); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, expected)
	slices.Sort(all)
	return all, nil
}

// Ids of containers and mounts that are different after a restart of the agent.
var (
	containerID = regexp.MustCompile(`[0-9a-f]{64}`)
	snapshotID  = regexp.MustCompile(`snapshots/\d+`)
)

func anonymous(line string) string {
	return snapshotID.ReplaceAllString(containerID.ReplaceAllString(line, "ID"), "snapshots/N")
}

// rule is a sort of line that may be there after the soak although it was not before.
type rule struct {
	line   *regexp.Regexp
	reason string
}

// byContract lists them. A bridge stays, but a port of it would be a line of its own.
var byContract = []rule{
	{regexp.MustCompile(`^(link|address|route|route6) (cni0|soak0) `), "the bridge plugin never removes its bridge"},
	{regexp.MustCompile(`^route6? .*dev (cni0|soak0) `), "the bridge plugin never removes its bridge"},
	{regexp.MustCompile(`^file /var/lib/cni/networks/[^/]+/(last_reserved_ip\.\d+|lock)$`), "host-local continues after the last address"},
	{regexp.MustCompile(`^file /run/k8s.cni.cncf.io/devinfo/dp/`), "the device plugin's file of a device stays until the next Allocate writes it again"},
	{regexp.MustCompile(`^file /var/lib/fairlead/(ledger\.db|clean-vfs\.json|problems\.json)`), "the agent's own; the ledger is read by its buckets"},
	{regexp.MustCompile(`^file /var/lib/cni/results/cni-loopback-`), "containerd's own, if it is killed as it deletes a sandbox"},
	{regexp.MustCompile(`^iptables .*CNI-(HOSTPORT|DN-|SN-)?[A-Z]*(MASQ|SETMARK|DNAT)`), "portmap's own chains stay"},
}

func expected(line string) bool {
	return slices.ContainsFunc(byContract, func(r rule) bool { return r.line.MatchString(line) })
}

// leftOver compares two moments. Both lists are sorted and may have a line several times.
func leftOver(before, after []string) []string {
	count := map[string]int{}
	for _, line := range before {
		count[line]--
	}
	for _, line := range after {
		count[line]++
	}
	var out []string
	for line, n := range count {
		switch {
		case n > 0:
			out = append(out, fmt.Sprintf("left over (%d): %s", n, line))
		case n < 0:
			out = append(out, fmt.Sprintf("missing (%d): %s", -n, line))
		}
	}
	slices.Sort(out)
	return out
}
