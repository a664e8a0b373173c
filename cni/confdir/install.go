package confdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/host/file"
)

// Installer puts Fairlead between the runtime and the cluster's own network, and
// takes it away again. An agent that stops or restarts removes nothing: without
// the conf, pods would start silently without their networks (m#1527).
type Installer struct {
	Shim         string // the shim's binary, in the agent's image
	BinDir       string
	ConfDir      string
	Socket       string // as the host sees it
	TombstoneDir string // as the host sees it

	AgentTimeout time.Duration // the shim's wait for an agent that is away; whole seconds
	Timeout      time.Duration // one call of the shim; whole seconds
}

// capabilities are all that a runtime may offer. The primary gets those that its own
// conf declares.
var capabilities = map[string]bool{
	"portMappings": true, "bandwidth": true, "ipRanges": true, "ips": true, "mac": true, "dns": true, "infinibandGUID": true,
	"deviceID": true, "aliases": true, "cgroupPath": true, "io.kubernetes.cri.pod-annotations": true,
}

// InstallShim copies the shim to the host in one step: a call under way goes on
// with the old one, and the file is never being written to while it is run
// (m#1221). Its settings go first: without them it serves DEL only. It reports whether
// there was anything to do.
func (i Installer) InstallShim() (changed bool, err error) {
	want, err := os.ReadFile(i.Shim)
	if err != nil {
		return false, fmt.Errorf("install the shim: %w", err)
	}
	if err := os.MkdirAll(i.BinDir, 0o755); err != nil {
		return false, fmt.Errorf("install the shim: %w", err)
	}
	settings, err := i.settings().Install(i.BinDir)
	if err != nil {
		return settings, fmt.Errorf("install the shim: %w", err)
	}
	shim, err := file.ReplaceIfDifferent(i.shimPath(), want, 0o755)
	return settings || shim, err
}

func (i Installer) settings() wire.ShimConfig {
	return wire.ShimConfig{Socket: i.Socket, TombstoneDir: i.TombstoneDir,
		AgentTimeoutSeconds: int(i.AgentTimeout.Seconds()), TimeoutSeconds: int(i.Timeout.Seconds())}
}

// InstallConf writes the conf that makes the runtime call the shim. It is called
// when the socket serves. It refuses if there is no primary network, which
// would leave the node worse off than it was (m#1155).
func (i Installer) InstallConf(primary *Primary) (changed bool, err error) {
	if _, err := primary.Conf(); err != nil {
		return false, fmt.Errorf("install %s: %w", ConfName, err)
	}
	if _, err := os.Stat(i.shimPath()); err != nil {
		return false, fmt.Errorf("install %s before the shim: %w", ConfName, err)
	}
	raw, err := i.conf()
	if err != nil {
		return false, fmt.Errorf("install %s: %w", ConfName, err)
	}
	return file.ReplaceIfDifferent(i.confPath(), raw, 0o644)
}

func (i Installer) conf() ([]byte, error) {
	raw, err := json.MarshalIndent(map[string]any{
		// 1.0.0 for runtimes that know no more; those that read cniVersions take 1.1.0,
		// and with it GC and STATUS.
		"cniVersion":  "1.0.0",
		"cniVersions": []string{"1.0.0", "1.1.0"},
		"name":        wire.OwnName,
		"plugins": []any{map[string]any{
			"type": wire.OwnType, "capabilities": capabilities,
		}},
	}, "", "  ")
	return append(raw, '\n'), err
}

// Uninstall removes the conf first, so that the runtime goes back to the cluster's
// own network before the shim is gone. Pods that run keep their networks.
func (i Installer) Uninstall() error {
	for _, path := range []string{i.confPath(), i.shimPath(), filepath.Join(i.BinDir, wire.ShimConfigName)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("uninstall: %w", err)
		}
	}
	return nil
}

func (i Installer) shimPath() string { return filepath.Join(i.BinDir, wire.OwnType) }
func (i Installer) confPath() string { return filepath.Join(i.ConfDir, ConfName) }
