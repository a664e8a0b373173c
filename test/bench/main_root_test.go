//go:build root

package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// pluginDir has the stock plugins in the process that runs in a network namespace of
// its own.
const pluginDir = "FAIRLEAD_BENCH_PLUGINS"

// TestMain runs tests and benchmarks in a network namespace of their own: the primary's
// plugins make a bridge where they are called from. The plugins are built outside of it,
// since the build may need the network.
func TestMain(m *testing.M) {
	if os.Getenv(pluginDir) != "" {
		os.Exit(m.Run())
	}
	os.Exit(runInside())
}

func runInside() int {
	dir, err := os.MkdirTemp("", "fairlead-bench-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = buildStockPlugins(dir, "main/bridge", "ipam/host-local")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), pluginDir+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "run in a new network namespace:", err)
		return 1
	}
	return 0
}

// buildStockPlugins builds plugins of containernetworking/plugins, in the version of
// go.mod, into dir.
func buildStockPlugins(dir string, names ...string) error {
	const module = "github.com/containernetworking/plugins"
	source, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return fmt.Errorf("find the sources of %s: %w", module, err)
	}
	for _, name := range names {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, filepath.Base(name)), "./plugins/"+name)
		build.Dir = strings.TrimSpace(string(source)) // its own go.mod has the libraries
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s of %s: %w\n%s", name, module, err, out)
		}
	}
	return nil
}
