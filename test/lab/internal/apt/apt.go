package apt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// APT runs apt with sources and lists of its own.
type APT struct {
	Dir     string // lists, archives and the sources file
	Sources string // the file's text, deb822
	Log     io.Writer
}

// SourcesFile returns the path of the sources file that apt reads.
func (a *APT) SourcesFile() string { return filepath.Join(a.Dir, "lab.sources") }

// Update writes the sources file and fetches the package lists.
func (a *APT) Update(ctx context.Context) error {
	if strings.TrimSpace(a.Sources) == "" {
		return errors.New("no Debian source for the suite wanted among this machine's apt sources: " +
			"the lab looks in /etc/apt for an entry with component main whose address ends in debian")
	}
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.Dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(a.SourcesFile(), []byte(a.Sources), 0o644); err != nil {
		return err
	}
	// A source that cannot be fetched is an error here, not a warning.
	_, err := a.run(ctx, "", "apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any")
	return err
}

// Install installs packages on this machine, from suite if that is not empty.
func (a *APT) Install(ctx context.Context, suite string, packages ...string) error {
	args := []string{"install", "-y", "-q", "--no-install-recommends"}
	if suite != "" {
		args = append(args, "-t", suite)
	}
	_, err := a.run(ctx, "", "apt-get", append(args, packages...)...)
	return err
}

// Download fetches one package's file into dir and returns its path.
func (a *APT) Download(ctx context.Context, pkg, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if _, err := a.run(ctx, dir, "apt-get", "download", "-q", pkg); err != nil {
		return "", err
	}
	found, _ := filepath.Glob(filepath.Join(dir, pkg+"_*.deb"))
	if len(found) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d files in %s, want one", pkg, len(found), dir)
	}
	return found[0], nil
}

// Depends returns the direct dependencies of a package of the sources.
func (a *APT) Depends(ctx context.Context, pkg string) ([]string, error) {
	out, err := a.run(ctx, "", "apt-cache", "depends", pkg)
	if err != nil {
		return nil, err
	}
	return parseDepends(out), nil
}

var dependsLine = regexp.MustCompile(`(?m)^\s*\|?Depends: (\S+)$`)

func parseDepends(out []byte) []string {
	var names []string
	for _, m := range dependsLine.FindAllSubmatch(out, -1) {
		names = append(names, string(m[1]))
	}
	return names
}

func (a *APT) run(ctx context.Context, dir, program string, args ...string) ([]byte, error) {
	options := []string{
		"-o", "Dir::Etc::sourcelist=" + a.SourcesFile(),
		"-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "Dir::State::lists=" + filepath.Join(a.Dir, "lists"),
		"-o", "Dir::Cache=" + filepath.Join(a.Dir, "cache"),
		"-o", "APT::Sandbox::User=root", // the cache may lie in a home that _apt cannot enter
		"-o", "DPkg::Lock::Timeout=120",
	}
	cmd := exec.CommandContext(ctx, program, append(options, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	var out, all bytes.Buffer
	cmd.Stdout = io.MultiWriter(&out, &all, a.Log)
	cmd.Stderr = io.MultiWriter(&all, a.Log)
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, lastLines(all.String(), 15))
	}
	return out.Bytes(), nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
