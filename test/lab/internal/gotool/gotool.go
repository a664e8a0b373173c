// Package gotool builds programs from their Go modules: Kubernetes and etcd
// from the lab's own modules of tools, the guest programs from this one.
package gotool

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"fairlead.dev/fairlead/test/lab/internal/cache"
)

// Program is a main package and the file that it becomes.
type Program struct{ Package, Name string }

// Set is what one go build makes.
type Set struct {
	Name     string // of the artefact
	Module   string // folder of the go.mod
	LDFlags  string
	Programs []Program
}

// KubernetesVersion is the release that test/lab/kubernetes/go.mod pins.
const KubernetesVersion = "1.36.3"

// Kubernetes are the programs of the control plane and of the nodes.
func Kubernetes(repo string) Set {
	const version = "k8s.io/component-base/version"
	major, rest, _ := strings.Cut(KubernetesVersion, ".")
	minor, _, _ := strings.Cut(rest, ".")
	s := Set{
		Name:   "kubernetes",
		Module: filepath.Join(repo, "test/lab/kubernetes"),
		LDFlags: fmt.Sprintf("-s -w -X %[1]s.gitVersion=v%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s",
			version, KubernetesVersion, major, minor),
	}
	for _, name := range []string{"kubectl", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"} {
		s.Programs = append(s.Programs, Program{"k8s.io/kubernetes/cmd/" + name, name})
	}
	return s
}

// Etcd is the store of the control plane.
func Etcd(repo string) Set {
	return Set{
		Name: "etcd", Module: filepath.Join(repo, "test/lab/etcd"), LDFlags: "-s -w",
		Programs: []Program{{"go.etcd.io/etcd/server/v3", "etcd"}},
	}
}

// Guest are the lab's own programs inside the nodes.
func Guest(repo string) Set {
	return Set{
		Name: "guest", Module: repo, LDFlags: "-s -w",
		Programs: []Program{
			{"fairlead.dev/fairlead/test/lab/guestagent", "guestagent"},
			{"fairlead.dev/fairlead/test/lab/pause", "pause"},
		},
	}
}

// Build makes the set's programs below dir, unless they are there already,
// and returns their folder. Status hears how far it is.
func (s Set) Build(ctx context.Context, dir string, status func(format string, args ...any)) (string, error) {
	a, err := s.artefact(ctx, dir)
	if err != nil {
		return "", err
	}
	return a.Make(ctx, func(ctx context.Context, out string) error { return s.Compile(ctx, out, status) })
}

func (s Set) artefact(ctx context.Context, dir string) (cache.Artefact, error) {
	version, err := output(ctx, s.Module, "env", "GOVERSION", "GOARCH")
	if err != nil {
		return cache.Artefact{}, err
	}
	inputs := [][]byte{version, []byte(s.LDFlags)}
	for _, f := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(s.Module, f))
		if err != nil {
			return cache.Artefact{}, err
		}
		inputs = append(inputs, b)
	}
	for _, p := range s.Programs {
		inputs = append(inputs, []byte(p.Package))
	}
	return cache.Artefact{Dir: dir, Name: s.Name, Key: cache.Key(inputs...)}, nil
}

// Compile runs go build into out without asking the cache of this package. Go's own
// cache makes a repetition quick.
func (s Set) Compile(ctx context.Context, out string, status func(format string, args ...any)) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	status("fetching modules, counting packages")
	total, err := s.packages(ctx)
	if err != nil {
		return err
	}
	for _, p := range s.Programs {
		args := append([]string{"build", "-v", "-o", filepath.Join(out, p.Name)}, s.flags()...)
		cmd := command(ctx, s.Module, append(args, p.Package)...)
		if err := s.follow(cmd, total, status); err != nil {
			return fmt.Errorf("build %s: %w", p.Name, err)
		}
	}
	return nil
}

func (s Set) flags() []string { return []string{"-p", "2", "-trimpath", "-ldflags", s.LDFlags} }

// counter counts the compiled packages and all packages.
type counter struct{ done, total int }

// packages counts the packages that may have to be compiled. To ask Go which of them its
// cache has would take longer than it saves.
func (s Set) packages(ctx context.Context) (*counter, error) {
	args := []string{"list", "-deps"}
	for _, p := range s.Programs {
		args = append(args, p.Package)
	}
	out, err := output(ctx, s.Module, args...)
	if err != nil {
		return nil, err
	}
	return &counter{total: len(bytes.Fields(out))}, nil
}

// follow runs a go build -v, which prints each package that it compiles.
func (s Set) follow(cmd *exec.Cmd, n *counter, status func(format string, args ...any)) error {
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var other []string // lines that are no package names: errors
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		if pkg, ok := compiled(lines.Text()); ok {
			n.done++
			status("%d of at most %d packages, %s", n.done, max(n.done, n.total), pkg)
		} else {
			other = append(other, lines.Text())
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.Join(other[max(0, len(other)-20):], "\n"))
	}
	return nil
}

// compiled separates a package name from the other lines of go build -v:
// downloads, headings and errors.
func compiled(line string) (string, bool) {
	ok := line != "" && !strings.ContainsAny(line, " \t:#")
	return line, ok
}

func output(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := command(ctx, dir, args...)
	var errText bytes.Buffer
	cmd.Stderr = &errText
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", args[0], err, strings.TrimSpace(errText.String()))
	}
	return out, nil
}

// command runs compilers with a low priority, so that the machine stays usable.
func command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nice", append([]string{"-n", "10", "go"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=-buildvcs=false", "GOWORK=off")
	return cmd
}

// Repo returns the folder of Fairlead's module, in which the lab must be
// started: the lab builds its sources.
func Repo(ctx context.Context) (string, error) {
	out, err := output(ctx, "", "list", "-m", "-f", "{{.Dir}}", "fairlead.dev/fairlead")
	if err != nil {
		return "", fmt.Errorf("run the lab from within Fairlead's source tree: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
