package guestos

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"fairlead.dev/fairlead/test/lab/guest"
	"fairlead.dev/fairlead/test/lab/internal/cache"
)

// excluded has the files that nobody reads on a test machine: a third of a small Debian.
var excluded = []string{"/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*"}

// Rootfs makes the node's root file system, unpacked, and returns its folder.
func (m *Maker) Rootfs(ctx context.Context) (string, error) {
	return m.rootfs().Make(ctx, m.bootstrap)
}

func (m *Maker) rootfs() cache.Artefact {
	key := cache.Key([]byte(Suite), guest.File("packages"), guest.File("rootfs-hook.sh"), []byte(strings.Join(excluded, " ")))
	return cache.Artefact{Dir: m.Dir, Name: "rootfs", Key: key}
}

func (m *Maker) bootstrap(ctx context.Context, out string) error {
	if err := m.Update(ctx); err != nil {
		return err
	}
	hook := filepath.Join(m.Dir, "rootfs-hook.sh")
	if err := os.WriteFile(hook, guest.File("rootfs-hook.sh"), 0o755); err != nil {
		return err
	}
	args := []string{
		"--variant=minbase", "--mode=root", "--format=directory",
		"--aptopt=APT::Install-Recommends \"false\"",
		"--include=" + strings.Join(guest.Lines("packages"), ","),
		"--customize-hook=" + hook,
	}
	for _, pattern := range excluded {
		args = append(args, "--dpkgopt=path-exclude="+pattern)
	}
	args = append(args, hostAptOptions(ctx)...)
	m.Status("installing Debian %s", Suite)
	return run(ctx, m.Log, m.Dir, "mmdebstrap", append(args, Suite, out, m.APT.SourcesFile())...)
}

// hostAptOptions returns the options by which this machine reaches its mirrors, since
// mmdebstrap does not read the host's apt.conf.
func hostAptOptions(ctx context.Context) []string {
	out, err := exec.CommandContext(ctx, "apt-config", "dump", "Acquire").Output()
	if err != nil {
		return nil
	}
	return pickAptOptions(string(out))
}

func pickAptOptions(dump string) []string {
	var args []string
	for line := range strings.Lines(dump) {
		line = strings.TrimSuffix(strings.TrimSpace(line), ";")
		name, value, _ := strings.Cut(line, " ")
		low := strings.ToLower(name)
		for _, wanted := range []string{"proxy", "cainfo", "retries", "verify-peer"} {
			if strings.Contains(low, wanted) && value != `""` {
				args = append(args, "--aptopt="+line)
				break
			}
		}
	}
	return args
}
