package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"fairlead.dev/fairlead/cni/wire"
)

// OwnConfig reads the shim's settings beside its own binary (/proc/self/exe), however
// the binary was called.
func OwnConfig() (wire.ShimConfig, error) {
	binary, err := os.Executable()
	if err != nil {
		return wire.DefaultShimConfig(), fmt.Errorf("find the shim's own binary: %w", err)
	}
	return wire.LoadShimConfig(filepath.Dir(binary))
}

// readConf reads the network config, as much as fits into a request to the agent.
func readConf(stdin io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(stdin, wire.MaxFrame+1))
	if err != nil {
		return nil, fmt.Errorf("read the network config from standard input: %w", err)
	}
	if len(raw) > wire.MaxFrame {
		return nil, fmt.Errorf("read the network config from standard input: it has more than %d bytes", wire.MaxFrame)
	}
	return raw, nil
}

// answerVersion returns the CNI version to answer in. It is all that the shim takes
// from the network config: other keys are for the agent, or were written by an earlier
// release (socket, tombstoneDir, timeouts) and are ignored, since a pod's network can
// forge them (security S1, S2).
func answerVersion(stdin []byte) string {
	var conf struct {
		CNIVersion string `json:"cniVersion"`
	}
	if err := json.Unmarshal(stdin, &conf); err != nil || conf.CNIVersion == "" {
		return newestVersion
	}
	return conf.CNIVersion
}

// errReentry: a plugin that Fairlead runs has run the shim.
var errReentry = errors.New("called from within a call of Fairlead: a plugin that it runs has it as IPAM plugin or delegate; " +
	"name another plugin in the network's config")

// checkCaller refuses calls that are not the container runtime's. The error wraps
// errReentry or wire.ErrForeignConf, or says that the config is not valid JSON.
func (s Shim) checkCaller(stdin []byte) error {
	if s.Getenv(wire.CallMarker) != "" {
		return errReentry
	}
	return wire.CheckConf(stdin)
}
