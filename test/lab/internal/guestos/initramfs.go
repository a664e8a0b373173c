package guestos

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"fairlead.dev/fairlead/test/lab/guest"
	"fairlead.dev/fairlead/test/lab/internal/cache"
)

// Initramfs makes the archive that mounts the disk and carries the lab's own
// files. It is small, so that a change of a script costs seconds.
func (m *Maker) Initramfs(ctx context.Context, k Kernel, rootfs, agent string) (string, error) {
	files, err := initramfsFiles(ctx, k, rootfs, agent)
	if err != nil {
		return "", err
	}
	var plain bytes.Buffer
	if err := WriteCPIO(&plain, files); err != nil {
		return "", err
	}
	a := cache.Artefact{Dir: m.Dir, Name: "initramfs", Key: cache.Key(plain.Bytes()), Ext: ".cpio.gz"}
	return a.Make(ctx, func(_ context.Context, out string) error {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write(plain.Bytes()) // into memory: cannot fail
		if err := z.Close(); err != nil {
			return err
		}
		return os.WriteFile(out, packed.Bytes(), 0o644)
	})
}

func initramfsFiles(ctx context.Context, k Kernel, rootfs, agent string) (map[string]File, error) {
	files := map[string]File{
		"init":                {Mode: 0o755, Data: guest.File("initramfs-init")},
		"lab/init":            {Mode: 0o755, Data: guest.File("init")},
		"lab/prepare":         {Mode: 0o755, Data: guest.File("prepare")},
		"lab/containerd.toml": {Mode: 0o644, Data: guest.File("containerd.toml")},
	}
	for _, dir := range []string{"proc", "sys", "dev", "mnt", "sbin"} {
		files[dir] = File{Mode: os.ModeDir | 0o755}
	}
	for name, from := range map[string]string{
		"bin/busybox":    filepath.Join(rootfs, "usr/bin/busybox"),
		"lab/guestagent": agent,
	} {
		b, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		files[name] = File{Mode: 0o755, Data: b}
	}
	return files, addModules(ctx, files, k)
}

// addModules unpacks the modules here: busybox reads no xz.
func addModules(ctx context.Context, files map[string]File, k Kernel) error {
	var order []string
	for _, m := range guest.Lines("modules") {
		data, err := exec.CommandContext(ctx, "xz", "-dc", filepath.Join(k.Modules(), m+".xz")).Output()
		if err != nil {
			return fmt.Errorf("kernel module %s of %s: %w", m, k.Version, err)
		}
		name := path.Base(m)
		files["modules/"+name] = File{Mode: 0o644, Data: data}
		order = append(order, name)
	}
	files["modules/order"] = File{Mode: 0o644, Data: []byte(strings.Join(order, "\n") + "\n")}
	return nil
}

// WriteNodeInitrd writes the base archive with a node's own files after it.
func WriteNodeInitrd(out, base string, files map[string]File) error {
	b, err := os.ReadFile(base)
	if err != nil {
		return err
	}
	// An archive must begin at a multiple of 4.
	b = append(b, make([]byte, (4-len(b)%4)%4)...)
	var own bytes.Buffer
	if err := WriteCPIO(&own, files); err != nil {
		return err
	}
	return os.WriteFile(out, append(b, own.Bytes()...), 0o600)
}
