package guestos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"fairlead.dev/fairlead/test/lab/internal/cache"
)

// kernelPackage depends on the release's current kernel.
const kernelPackage = "linux-image-amd64"

// Kernel is Debian's kernel, unpacked.
type Kernel struct {
	Dir     string
	Version string // 6.12.117+deb13-amd64
}

// Image returns the path of the file that QEMU boots.
func (k Kernel) Image() string { return filepath.Join(k.Dir, "boot", "vmlinuz-"+k.Version) }

// Modules returns the folder of this kernel's modules.
func (k Kernel) Modules() string { return filepath.Join(k.Dir, "usr/lib/modules", k.Version) }

// Kernel unpacks the kernel and returns its folder.
func (m *Maker) Kernel(ctx context.Context) (Kernel, error) {
	dir, err := m.kernel().Make(ctx, m.fetchKernel)
	if err != nil {
		return Kernel{}, err
	}
	image, err := findOne(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil {
		return Kernel{}, err
	}
	return Kernel{Dir: dir, Version: strings.TrimPrefix(filepath.Base(image), "vmlinuz-")}, nil
}

func (m *Maker) kernel() cache.Artefact {
	return cache.Artefact{Dir: m.Dir, Name: "kernel", Key: cache.Key([]byte(Suite), []byte(kernelPackage))}
}

func (m *Maker) fetchKernel(ctx context.Context, out string) error {
	if err := m.Update(ctx); err != nil {
		return err
	}
	name, err := m.kernelName(ctx)
	if err != nil {
		return err
	}
	m.Status("fetching %s", name)
	deb, err := m.APT.Download(ctx, name, filepath.Join(m.Dir, "kernel-download"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Dir(deb))
	m.Status("unpacking %s", name)
	if err := run(ctx, m.Log, "", "dpkg-deb", "-x", deb, out); err != nil {
		return err
	}
	return run(ctx, m.Log, "", "depmod", "-b", filepath.Join(out, "usr"), strings.TrimPrefix(name, "linux-image-"))
}

// kernelName resolves the metapackage.
func (m *Maker) kernelName(ctx context.Context) (string, error) {
	depends, err := m.APT.Depends(ctx, kernelPackage)
	if err != nil {
		return "", err
	}
	for _, d := range depends {
		if strings.HasPrefix(d, "linux-image-") {
			return d, nil
		}
	}
	return "", fmt.Errorf("%s of %s depends on no kernel: %v", kernelPackage, Suite, depends)
}
