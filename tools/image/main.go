// Command image packs the node agent's container image into a tar file, without a
// Docker daemon: an archive in the form of `docker save`, which `ctr -n k8s.io
// images import`, `docker load` and `skopeo` read. The same binaries always give
// the same file.
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() { os.Exit(run()) }

func run() int {
	tag := flag.String("tag", "fairlead.dev/fairlead-agent:dev", "name of the image")
	out := flag.String("o", "dist/fairlead-agent.tar", "file to write")
	flag.Parse()
	if err := build(*tag, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		return 1
	}
	return 0
}

// build packs the binaries into the image's root directory, under their own names.
func build(tag, out string, binaries []string) error {
	ref, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	img, err := image(binaries)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	if err := tarball.WriteToFile(out, ref, img); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	fi, err := os.Stat(out)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s, %.1f MiB\n", out, tag, float64(fi.Size())/(1<<20))
	return nil
}

func image(binaries []string) (v1.Image, error) {
	files, err := layer(binaries)
	if err != nil {
		return nil, err
	}
	// Not compressed: the file is copied once to each node, and unpacking would cost
	// the node more than the copying.
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(files, types.DockerUncompressedLayer))
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, &v1.ConfigFile{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		RootFS:       v1.RootFS{Type: "layers", DiffIDs: diffIDs(img)},
		Config: v1.Config{
			Entrypoint: []string{"/fairlead-agent"},
			Env:        []string{"PATH=/"},
		},
	})
}

func diffIDs(img v1.Image) []v1.Hash {
	cf, err := img.ConfigFile()
	if err != nil {
		return nil
	}
	return cf.RootFS.DiffIDs
}

// layer is the file system as one tar stream, with no times and no owner but root.
func layer(binaries []string) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, dir := range []string{"run/", "tmp/", "var/", "var/lib/", "etc/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	// Runtimes name a sandbox's netns below /var/run; the DaemonSet mounts the node's /run/netns.
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "var/run", Linkname: "../run", Mode: 0o777}); err != nil {
		return nil, err
	}
	for _, file := range binaries {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: path.Base(file), Mode: 0o755, Size: int64(len(data))}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
