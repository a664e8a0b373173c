package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const tag = "fairlead.dev/fairlead-agent:dev"

func binaries(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, name := range []string{"fairlead-agent", "fairlead"} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte("program "+name), 0o700); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

func TestImageHoldsTheBinariesAndNothingElse(t *testing.T) {
	out := filepath.Join(t.TempDir(), "dist", "image.tar")
	if err := build(tag, out, binaries(t)); err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(out, &ref)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(config.OS, config.Config.Entrypoint, config.Config.User); got != "linux[/fairlead-agent]" {
		t.Errorf("config %s", got)
	}
	const want = `drwxr-xr-x 0:0 etc
drwxr-xr-x 0:0 run
drwxr-xr-x 0:0 tmp
drwxr-xr-x 0:0 var
drwxr-xr-x 0:0 var/lib
Lrwxrwxrwx 0:0 var/run -> ../run
-rwxr-xr-x 0:0 fairlead-agent: program fairlead-agent
-rwxr-xr-x 0:0 fairlead: program fairlead
`
	var lines []string
	files := tar.NewReader(mutate.Extract(img))
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%v %d:%d %s", h.FileInfo().Mode(), h.Uid, h.Gid, h.Name)
		if h.Linkname != "" {
			line += " -> " + h.Linkname
		}
		if h.Typeflag == tar.TypeReg {
			data, err := io.ReadAll(files)
			if err != nil {
				t.Fatal(err)
			}
			line += ": " + string(data)
		}
		lines = append(lines, line)
	}
	if d := cmp.Diff(sortedLines(want), sortedLines(strings.Join(lines, "\n"))); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestImageIsReproducible(t *testing.T) {
	files := binaries(t)
	first, second := filepath.Join(t.TempDir(), "a.tar"), filepath.Join(t.TempDir(), "b.tar")
	for _, out := range []string{first, second} {
		if err := build(tag, out, files); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(files[0], time.Unix(1, 0), time.Unix(1, 0)); err != nil { // times don't count
			t.Fatal(err)
		}
	}
	a, errA := os.ReadFile(first)
	b, errB := os.ReadFile(second)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("%v, %v: two images of the same binaries differ", errA, errB)
	}
}

func TestImageErrors(t *testing.T) {
	out := filepath.Join(t.TempDir(), "x.tar")
	if err := build("Not A Tag", out, nil); err == nil {
		t.Error("a tag that is none was accepted")
	}
	if err := build(tag, out, []string{"/absent/binary"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing binary: %v", err)
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a failed build left a file: %v", err)
	}
}

func sortedLines(s string) []string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	slices.Sort(lines)
	return lines
}
