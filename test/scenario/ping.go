package scenario

import (
	"context"
	"fmt"
	"regexp"
)

var pingCounts = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)
var pingTimes = regexp.MustCompile(`= [\d.]+/([\d.]+)/`)

// reach measures after a warm-up, in which ARP and the switch learn.
func (k nodes) reach(ctx context.Context, namespace, pod, address string, bytes int) (string, error) {
	if _, err := k.inNetns(ctx, namespace, pod, "ping -I net1 -c 5 -i 0.2 -W 2 "+address+" >/dev/null || true"); err != nil {
		return "", err
	}
	out, err := k.inNetns(ctx, namespace, pod, fmt.Sprintf("ping -I net1 -M do -s %d -c 20 -i 0.2 -W 5 %s", bytes, address))
	counts := pingCounts.FindStringSubmatch(out)
	if counts == nil {
		return "", fmt.Errorf("ping from %s to %s: %w\n%s", pod, address, err, out)
	}
	measured := counts[2] + " of " + counts[1]
	if times := pingTimes.FindStringSubmatch(out); times != nil {
		measured += ", " + times[1] + " ms"
	}
	if counts[1] != counts[2] {
		return measured, fmt.Errorf("ping from %s to %s lost packets:\n%s", pod, address, out)
	}
	return measured, nil
}
