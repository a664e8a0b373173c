package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"fairlead.dev/fairlead/pkg/host/file"
)

// ShimConfigName is the shim's own settings file, in the directory of its binary. No
// runtime takes it for something else: it is not executable, cni/run runs no file whose
// name begins with a dot, and a network config would end in .conf, .conflist or .json.
const ShimConfigName = ".fairlead-shim"

// ShimConfig has the shim's settings. The agent writes them into a file beside the
// shim. They are never read from standard input, which a pod's network can forge: the
// socket decides whose commands run as root on the host (security S1).
type ShimConfig struct {
	Socket              string `json:"socket"`
	TombstoneDir        string `json:"tombstoneDir"`
	AgentTimeoutSeconds int    `json:"agentTimeoutSeconds"` // how long to wait for an agent that is away
	TimeoutSeconds      int    `json:"timeoutSeconds"`      // how long a call may take in all
}

const (
	// An agent's restart takes less. The kubelet repeats a failed sandbox anyway, but
	// waiting spares the pod the events and the backoff.
	defaultAgentTimeoutSeconds = 30
	// The kubelet gives up the runtime's StopPodSandbox after two minutes. The agent,
	// not the runtime, should end the work.
	defaultTimeoutSeconds = 110

	maxTimeoutSeconds  = 3600
	maxShimConfigBytes = 16 << 10
	maxSocketPath      = 107 // sockaddr_un less the terminating zero
)

// DefaultShimConfig returns the settings of an agent that runs without flags.
func DefaultShimConfig() ShimConfig {
	return ShimConfig{Socket: DefaultSocket, TombstoneDir: DefaultTombstoneDir,
		AgentTimeoutSeconds: defaultAgentTimeoutSeconds, TimeoutSeconds: defaultTimeoutSeconds}
}

// AgentTimeout returns how long the shim waits for an agent that is away.
func (c ShimConfig) AgentTimeout() time.Duration {
	return time.Duration(c.AgentTimeoutSeconds) * time.Second
}

// Timeout returns how long a call may take in all.
func (c ShimConfig) Timeout() time.Duration { return time.Duration(c.TimeoutSeconds) * time.Second }

// LoadShimConfig reads the file in dir, the directory of the shim's binary. Whoever
// may write the file commands the host's root, so the file and dir must be root's, and
// writable by root only. (The user who runs the shim will do instead of root.) With an
// error it returns the defaults, which a DEL goes on with.
func LoadShimConfig(dir string) (ShimConfig, error) {
	path := filepath.Join(dir, ShimConfigName)
	raw, err := readTrusted(dir, path)
	if errors.Is(err, fs.ErrNotExist) {
		return DefaultShimConfig(), fmt.Errorf("read the shim's settings: %w; the Fairlead agent installs the file with the shim: "+
			"look at the agent's pod on this node", err)
	}
	if err != nil {
		return DefaultShimConfig(), fmt.Errorf("read the shim's settings: %w", err)
	}
	c := DefaultShimConfig()
	if err := json.Unmarshal(raw, &c); err != nil {
		return DefaultShimConfig(), fmt.Errorf("parse the shim's settings %s: %w; remove the file, the Fairlead agent writes it again", path, err)
	}
	if err := c.validate(); err != nil {
		return DefaultShimConfig(), fmt.Errorf("parse the shim's settings %s: %w; remove the file, the Fairlead agent writes it again", path, err)
	}
	return c, nil
}

// readTrusted reads a small file that only root can have written.
func readTrusted(dir, path string) ([]byte, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if err := checkTrusted(dir, info); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link; remove it, the Fairlead agent writes the file again", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file; remove it, the Fairlead agent writes the file again", path)
	}
	if err := checkTrusted(path, info); err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxShimConfigBytes+1))
	if err == nil && len(raw) > maxShimConfigBytes {
		err = fmt.Errorf("%s has more than %d bytes; remove it, the Fairlead agent writes it again", path, maxShimConfigBytes)
	}
	return raw, err
}

func checkTrusted(path string, info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not owned by root; run: chown root:root %s", path, path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s can be written by others than root (mode %04o); run: chmod go-w %s", path, info.Mode().Perm(), path)
	}
	return nil
}

func (c ShimConfig) validate() error {
	switch {
	case !filepath.IsAbs(c.Socket) || len(c.Socket) > maxSocketPath:
		return fmt.Errorf("socket: %q is not an absolute path of at most %d bytes", c.Socket, maxSocketPath)
	case !filepath.IsAbs(c.TombstoneDir):
		return fmt.Errorf("tombstoneDir: %q is not an absolute path", c.TombstoneDir)
	case c.AgentTimeoutSeconds < 0 || c.AgentTimeoutSeconds > maxTimeoutSeconds:
		return fmt.Errorf("agentTimeoutSeconds: %d is not between 0 and %d", c.AgentTimeoutSeconds, maxTimeoutSeconds)
	case c.TimeoutSeconds < 1 || c.TimeoutSeconds > maxTimeoutSeconds:
		return fmt.Errorf("timeoutSeconds: %d is not between 1 and %d", c.TimeoutSeconds, maxTimeoutSeconds)
	}
	return nil
}

// Marshal returns the file's content.
func (c ShimConfig) Marshal() ([]byte, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("encode the shim's settings: %w", err)
	}
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the shim's settings: %w", err)
	}
	return append(raw, '\n'), nil
}

// Install writes the file into dir unless it is there as it should be, and reads it
// back as the shim will. Call it before the shim is installed: a shim without the file
// serves DEL only.
func (c ShimConfig) Install(dir string) (changed bool, err error) {
	raw, err := c.Marshal()
	if err != nil {
		return false, err
	}
	if installed, err := LoadShimConfig(dir); err == nil && installed == c {
		return false, nil
	}
	if err := file.Replace(filepath.Join(dir, ShimConfigName), raw, 0o644); err != nil {
		return false, err
	}
	_, err = LoadShimConfig(dir)
	return true, err
}
