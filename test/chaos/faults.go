package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"fairlead.dev/fairlead/test/lab/client"
)

// Pauses between two faults, and the time without an API server. A lease of a node is
// valid for 40 s.
const (
	calm          = 8 * time.Second
	moreCalm      = 14 * time.Second // at most, in addition
	apiServerAway = 30 * time.Second
)

// fault is one way to hurt the cluster. do returns how it hit.
type fault struct {
	name   string
	weight int
	do     func(ctx context.Context, lab *client.Lab, node string, random *rand.Rand) (string, error)
}

func faults() []fault {
	return []fault{
		{"SIGKILL agent", 3, killAgent},
		{"SIGKILL agent in a call", 5, killAgentInCall},
		{"SIGKILL kubelet", 3, killService("kubelet")},
		{"SIGKILL containerd", 3, killService("containerd")},
		{"SIGKILL shim in a call", 2, killShim},
		{"API server stopped", 1, stopAPIServer},
	}
}

// hurt does one fault after another until ctx ends.
func hurt(ctx context.Context, lab *client.Lab, random *rand.Rand, t *tally) {
	all := faults()
	sum := 0
	for _, f := range all {
		sum += f.weight
	}
	nodes := lab.Nodes()
	for pause(ctx, calm+time.Duration(random.Int64N(int64(moreCalm)))) == nil {
		node, f, n := nodes[random.IntN(len(nodes))], all[0], random.IntN(sum)
		for _, f = range all {
			if n -= f.weight; n < 0 {
				break
			}
		}
		hit, err := f.do(ctx, lab, node, random)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			t.say("%s: %s: no effect: %s", node, f.name, reason(err))
			t.count("faults without effect", f.name)
			continue
		}
		t.say("%s: %s%s", node, f.name, hit)
		t.count("faults", f.name)
	}
}

// reason leaves a command's text out.
func reason(err error) string {
	if exit := (*client.ExitError)(nil); errors.As(err, &exit) {
		return strings.TrimSpace(exit.Stderr)
	}
	return err.Error()
}

func killAgent(ctx context.Context, lab *client.Lab, node string, _ *rand.Rand) (string, error) {
	_, err := lab.Exec(ctx, node, "kill -9 $(pidof fairlead-agent)")
	return "", err
}

// inCall waits for a shim, and then as many milliseconds as %d says. It prints the CNI
// command of the shim's call.
const inCall = `for i in $(seq 150); do shim=$(pidof -s fairlead) && break; sleep 0.1; done
[ -n "$shim" ] || { echo "no CNI call within 15 s" >&2; exit 1; }
tr '\0' '\n' <"/proc/$shim/environ" | grep -E '^CNI_COMMAND='
sleep 0.%03d
`

func killAgentInCall(ctx context.Context, lab *client.Lab, node string, random *rand.Rand) (string, error) {
	out, err := lab.Exec(ctx, node, fmt.Sprintf(inCall, random.IntN(900))+"kill -9 $(pidof fairlead-agent)")
	return hitText(out), err
}

// killShim kills the runtime's side of a call, with the plugins that it runs.
func killShim(ctx context.Context, lab *client.Lab, node string, random *rand.Rand) (string, error) {
	out, err := lab.Exec(ctx, node, fmt.Sprintf(inCall, random.IntN(500))+`kill -9 "$shim"`)
	return hitText(out), err
}

func hitText(out string) string {
	command := strings.TrimPrefix(strings.TrimSpace(out), "CNI_COMMAND=")
	if command == "" {
		return ""
	}
	return ", a " + command
}

func killService(name string) func(context.Context, *client.Lab, string, *rand.Rand) (string, error) {
	return func(ctx context.Context, lab *client.Lab, node string, _ *rand.Rand) (string, error) {
		return "", lab.Control(ctx, node, name, "kill")
	}
}

// stopAPIServer lets it go on even if the run ends meanwhile.
func stopAPIServer(ctx context.Context, lab *client.Lab, _ string, _ *rand.Rand) (string, error) {
	start, err := lab.StopAPIServer()
	if err != nil {
		return "", err
	}
	_ = pause(ctx, apiServerAway)
	return fmt.Sprintf(" for %s (both nodes)", apiServerAway), start()
}
