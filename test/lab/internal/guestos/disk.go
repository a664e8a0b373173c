package guestos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"fairlead.dev/fairlead/test/lab/guest"
	"fairlead.dev/fairlead/test/lab/internal/cache"
)

// diskSize is the size that a node sees; the file is sparse.
const diskSize = "12G"

// DiskInputs are the pieces of the base disk.
type DiskInputs struct {
	Rootfs     string // folder
	Kernel     Kernel
	Kubernetes string   // folder of programs
	Images     []string // tar files
	// Import boots the new disk once, so that its containerd takes the images.
	Import func(ctx context.Context, disk string) error
}

// nodePrograms are the Kubernetes programs on a node.
var nodePrograms = []string{"kubelet", "kube-proxy", "kubectl"}

// Disk makes the disk on which every node's overlay is based.
func (m *Maker) Disk(ctx context.Context, in DiskInputs) (string, error) {
	inputs := [][]byte{
		[]byte(filepath.Base(in.Rootfs)), []byte(filepath.Base(in.Kernel.Dir)), []byte(filepath.Base(in.Kubernetes)),
		[]byte(diskSize), guest.File("prepare"), guest.File("containerd.toml"),
	}
	for _, tar := range in.Images {
		sum, err := cache.KeyFile(tar)
		if err != nil {
			return "", err
		}
		inputs = append(inputs, sum)
	}
	a := cache.Artefact{Dir: m.Dir, Name: "disk", Key: cache.Key(inputs...), Ext: ".raw"}
	return a.Make(ctx, func(ctx context.Context, out string) error { return m.makeDisk(ctx, in, out) })
}

func (m *Maker) makeDisk(ctx context.Context, in DiskInputs, out string) error {
	tree := filepath.Join(m.Dir, ".disk-tree")
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	m.Status("collecting files")
	if err := m.collect(ctx, in, tree); err != nil {
		return err
	}
	m.Status("writing the file system")
	if err := run(ctx, m.Log, "", "mke2fs", "-q", "-F", "-t", "ext4", "-L", "fairlead-lab", "-m", "0",
		"-E", "lazy_itable_init=0,root_owner=0:0", "-O", "^metadata_csum_seed,^orphan_file", "-d", tree, out, diskSize); err != nil {
		return err
	}
	m.Status("importing the images")
	if err := in.Import(ctx, out); err != nil {
		return fmt.Errorf("import the lab's images: %w", err)
	}
	return nil
}

func (m *Maker) collect(ctx context.Context, in DiskInputs, tree string) error {
	if err := run(ctx, m.Log, "", "cp", "-a", in.Rootfs, tree); err != nil {
		return err
	}
	modules := filepath.Join(tree, "usr/lib/modules")
	if err := os.MkdirAll(modules, 0o755); err != nil {
		return err
	}
	if err := run(ctx, m.Log, "", "cp", "-a", in.Kernel.Modules(), modules); err != nil {
		return err
	}
	for _, name := range nodePrograms {
		if err := copyFile(filepath.Join(in.Kubernetes, name), filepath.Join(tree, "opt/lab/bin", name), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(tree, "root/.bashrc"), []byte("PS1='\\h:\\w# '\n"), 0o644)
}
