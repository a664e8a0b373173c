package shim

import (
	"encoding/json"
	"fmt"
	"time"

	"fairlead.dev/fairlead/cni/wire"
)

// conf is the part of the shim's network config that it reads itself; the agent
// writes it (see the file 00-fairlead.conflist).
type conf struct {
	CNIVersion          string `json:"cniVersion"`
	Socket              string `json:"socket"`
	TombstoneDir        string `json:"tombstoneDir"`
	AgentTimeoutSeconds *int   `json:"agentTimeoutSeconds"` // how long to wait for an agent that is away
	TimeoutSeconds      *int   `json:"timeoutSeconds"`      // how long a request may take in all
}

const (
	// defaultWait covers an agent's restart. The kubelet repeats a failed sandbox
	// anyway; waiting spares the pod the events and the back-off.
	defaultWait = 30 * time.Second
	// defaultTimeout is below the two minutes after which the kubelet gives a
	// runtime's StopPodSandbox up, so that the agent, not the runtime, ends the work.
	defaultTimeout = 110 * time.Second
	maxSeconds     = 3600
)

// parseConf never fails without giving usable defaults: a DEL goes on with them.
func parseConf(stdin []byte) (conf, error) {
	var c conf
	err := json.Unmarshal(stdin, &c)
	if err != nil {
		c, err = conf{}, fmt.Errorf("the network config on standard input is not valid: %w", err)
	}
	if c.CNIVersion == "" {
		c.CNIVersion = newestVersion
	}
	if c.Socket == "" {
		c.Socket = wire.DefaultSocket
	}
	if c.TombstoneDir == "" {
		c.TombstoneDir = wire.DefaultTombstoneDir
	}
	return c, err
}

func (c conf) wait() time.Duration { return seconds(c.AgentTimeoutSeconds, defaultWait) }
func (c conf) timeout() time.Duration {
	return max(seconds(c.TimeoutSeconds, defaultTimeout), time.Second)
}

func seconds(given *int, otherwise time.Duration) time.Duration {
	if given == nil || *given < 0 || *given > maxSeconds {
		return otherwise
	}
	return time.Duration(*given) * time.Second
}
