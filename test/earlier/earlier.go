// Package earlier builds Fairlead as it was at a commit of this repository's history,
// for tests that upgrade from it. It installs nothing.
package earlier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrNoCommit says that the history does not reach back to the commit.
var ErrNoCommit = errors.New("commit is not in this repository's history; a shallow clone needs: git fetch --unshallow")

// Release has the files that a user would have of a version. Files lie at the same places as in
// the repository: dist/fairlead-agent.tar, deployments/….
type Release struct {
	Root  string
	Image string // the agent's, tagged with the commit
}

const (
	imageName = "fairlead.dev/fairlead-agent:"
	archive   = "dist/fairlead-agent.tar"
	manifest  = "deployments/fairlead.yaml"
)

// Build makes the release of a commit in dist/<commit> of the repository at root, or finds
// it there.
func Build(ctx context.Context, root, commit string) (Release, error) {
	r := Release{Root: filepath.Join(root, "dist", commit), Image: imageName + commit}
	if _, err := git(ctx, root, "cat-file", "-e", commit+"^{commit}"); err != nil {
		return Release{}, fmt.Errorf("%s: %w (%w)", commit, ErrNoCommit, err)
	}
	if _, err := os.Stat(r.path(archive)); !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	source, err := os.MkdirTemp("", "fairlead-"+commit+"-")
	if err != nil {
		return Release{}, err
	}
	defer os.RemoveAll(source)
	if err := extract(ctx, root, commit, source); err != nil {
		return Release{}, err
	}
	if err := r.copyDeployments(source); err != nil {
		return Release{}, err
	}
	// The image comes last: a release with an image is complete.
	out, err := filepath.Abs(r.path(archive))
	if err != nil {
		return Release{}, err
	}
	return r, buildImage(ctx, source, commit, r.Image, out)
}

func (r Release) path(file string) string { return filepath.Join(r.Root, filepath.FromSlash(file)) }

// extract writes the commit's files, without touching the working tree.
func extract(ctx context.Context, root, commit, dir string) error {
	files, err := git(ctx, root, "archive", "--format=tar", commit)
	if err != nil {
		return err
	}
	tar := exec.CommandContext(ctx, "tar", "-x", "-C", dir)
	tar.Stdin = bytes.NewReader(files)
	return runCommand(tar)
}

// copyDeployments copies the manifests, the agent's with the release's own image.
func (r Release) copyDeployments(source string) error {
	if err := os.RemoveAll(r.Root); err != nil {
		return err
	}
	if err := copyYAML(filepath.Join(source, "deployments"), r.path("deployments")); err != nil {
		return err
	}
	text, err := os.ReadFile(r.path(manifest))
	if err != nil {
		return err
	}
	changed := strings.ReplaceAll(string(text), imageName+"dev", r.Image)
	if !strings.Contains(changed, r.Image) {
		return fmt.Errorf("%s names no image %sdev", r.path(manifest), imageName)
	}
	return os.WriteFile(r.path(manifest), []byte(changed), 0o644)
}

// copyYAML leaves Go files out: they would become packages of this module.
func copyYAML(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		rest, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rest)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o644)
	})
}

// buildImage runs the commit's own `make image`.
func buildImage(ctx context.Context, source, commit, image, out string) error {
	build := exec.CommandContext(ctx, "make", "image", "IMAGE="+image, "BUILD="+commit)
	build.Dir = source
	if err := runCommand(build); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(source, filepath.FromSlash(archive)))
	if err != nil {
		return err
	}
	part := out + ".part"
	if err := os.WriteFile(part, data, 0o644); err != nil {
		return err
	}
	return os.Rename(part, out)
}

func git(ctx context.Context, root string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

func runCommand(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
