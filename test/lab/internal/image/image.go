// Package image makes the lab's own container images from the nodes' root
// file system, without a registry or a container daemon.
package image

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Names of the images, as pods use them (imagePullPolicy: IfNotPresent).
const (
	Pause = "lab.test/pause:1"
	Tools = "lab.test/tools:1"
	DPDK  = "lab.test/dpdk:1"
)

// sources are this package's files. Together with the root file system they decide the
// images' content.
//
//go:embed image.go layer.go closure.go
var sources embed.FS

// Recipe returns a text for the images' cache key.
func Recipe() []byte {
	var all []byte
	for _, name := range []string{"image.go", "layer.go", "closure.go"} {
		b, err := sources.ReadFile(name)
		if err != nil {
			panic(err) // embedded
		}
		all = append(all, b...)
	}
	return all
}

// toolPrograms are real programs in the tools image, beside busybox.
var toolPrograms = []string{
	"usr/bin/ip", "usr/sbin/bridge", "usr/bin/ss", "usr/bin/ping", "usr/bin/iperf3",
	"usr/bin/tcpdump", "usr/sbin/ethtool", "usr/bin/curl",
	// busybox's own shell would run its applets where the real programs are meant
	"usr/bin/dash", "usr/bin/bash",
}

// Build writes the images' tars below out.
func Build(ctx context.Context, rootfs, pause, out string) error {
	tools, err := toolsTree(ctx, rootfs, toolPrograms)
	if err != nil {
		return err
	}
	dpdk, err := dpdkTree(ctx, rootfs)
	if err != nil {
		return err
	}
	pauseBinary, err := os.ReadFile(pause)
	if err != nil {
		return err
	}
	sleep := []string{"/bin/sleep", "infinity"}
	for _, i := range []struct {
		name string
		tree tree
		cmd  []string
	}{
		{Pause, tree{"pause": {mode: 0o755, data: pauseBinary}}, []string{"/pause"}},
		{Tools, tools, sleep},
		{DPDK, dpdk, sleep},
	} {
		path := filepath.Join(out, fileName(i.name))
		if err := write(path, i.name, i.tree, i.cmd); err != nil {
			return fmt.Errorf("image %s: %w", i.name, err)
		}
	}
	return nil
}

// fileName returns tools.tar for lab.test/tools:1.
func fileName(image string) string {
	base := image[strings.LastIndexByte(image, '/')+1:]
	base, _, _ = strings.Cut(base, ":")
	return base + ".tar"
}

func write(path, image string, t tree, cmd []string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	layer, err := t.layer()
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		Architecture: "amd64",
		OS:           "linux",
		Config:       v1.Config{Cmd: cmd, Env: []string{"PATH=/usr/bin:/usr/sbin:/bin:/sbin"}},
		RootFS:       mustRootFS(img),
	})
	if err != nil {
		return err
	}
	tag, err := name.NewTag(image)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(path, tag, img)
}

// mustRootFS keeps the layer list that AppendLayers computed.
func mustRootFS(img v1.Image) v1.RootFS {
	c, err := img.ConfigFile()
	if err != nil {
		panic(err) // an image in memory
	}
	return c.RootFS
}

// toolsTree returns busybox with a link per applet, and the given programs with their
// libraries, laid out like the Debian that they come from.
func toolsTree(ctx context.Context, rootfs string, programs []string) (tree, error) {
	t := tree{}
	for _, dir := range []string{"proc", "sys", "dev", "etc", "root", "run", "usr/bin", "usr/lib64", "var/lib"} {
		t.dir(dir, 0o755)
	}
	t.dir("tmp", 0o777|fs.ModeSticky)
	t.symlink("bin", "usr/bin")
	t.symlink("sbin", "usr/sbin")
	t.symlink("lib", "usr/lib")
	t.symlink("lib64", "usr/lib64")
	t.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"))
	t.file("etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
	if err := addBusybox(ctx, t, rootfs); err != nil {
		return nil, err
	}
	if err := addPrograms(t, rootfs, programs); err != nil {
		return nil, err
	}
	t.symlink("usr/bin/sh", "dash")
	return t, nil
}

func addBusybox(ctx context.Context, t tree, rootfs string) error {
	const path = "usr/bin/busybox"
	if err := t.copyIn(rootfs, path); err != nil {
		return err
	}
	applets, err := exec.CommandContext(ctx, filepath.Join(rootfs, path), "--list").Output()
	if err != nil {
		return fmt.Errorf("busybox --list: %w", err)
	}
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			t.symlink("usr/bin/"+applet, "busybox")
		}
	}
	return nil
}

// loadedAtRunTime are libraries that no ELF header names: glibc loads libgcc_s
// when a thread is cancelled, as iperf3 does, and aborts without it.
var loadedAtRunTime = []string{"usr/lib/x86_64-linux-gnu/libgcc_s.so.1"}

func addPrograms(t tree, rootfs string, programs []string) error {
	files := slices.Concat(programs, loadedAtRunTime)
	libraries, err := closure(rootfs, files)
	if err != nil {
		return err
	}
	for _, path := range append(libraries, files...) {
		if err := t.copyIn(rootfs, path); err != nil {
			return err
		}
	}
	// One folder for all: nobody looks for ethtool in two places.
	for _, p := range programs {
		if base := filepath.Base(p); filepath.Dir(p) == "usr/sbin" {
			t.symlink("usr/bin/"+base, "../sbin/"+base)
		}
	}
	return nil
}

// dpdkTree returns the tools image with testpmd and its drivers, which it loads at run
// time from the folder that it was compiled for.
func dpdkTree(ctx context.Context, rootfs string) (tree, error) {
	drivers, err := filepath.Glob(filepath.Join(rootfs, "usr/lib/x86_64-linux-gnu/dpdk/pmds-*/*.so*"))
	if err != nil {
		return nil, err
	}
	programs := append([]string{"usr/bin/dpdk-testpmd"}, toolPrograms...)
	for _, d := range drivers {
		rel, err := filepath.Rel(rootfs, d)
		if err != nil {
			return nil, err
		}
		programs = append(programs, rel)
	}
	return toolsTree(ctx, rootfs, programs)
}
