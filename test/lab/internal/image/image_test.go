package image

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	content := func() tree {
		tr := tree{}
		tr.file("usr/bin/tool", 0o755, []byte("program"))
		tr.symlink("bin", "usr/bin")
		tr.dir("tmp", 0o777|fs.ModeSticky)
		return tr
	}
	path := filepath.Join(dir, "one.tar")
	if err := write(path, "lab.test/one:1", content(), []string{"/usr/bin/tool"}); err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != "amd64" || strings.Join(config.Config.Cmd, " ") != "/usr/bin/tool" {
		t.Errorf("config %+v", config)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 || len(config.RootFS.DiffIDs) != 1 {
		t.Fatalf("%d layers, %d diff ids, %v, want one", len(layers), len(config.RootFS.DiffIDs), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := "bin -> usr/bin\ntmp/ 1777\nusr/ 755\nusr/bin/ 755\nusr/bin/tool 755 program\n"
	if got := list(t, r); got != want {
		t.Errorf("layer:\n%swant:\n%s", got, want)
	}
	again := filepath.Join(dir, "two.tar")
	if err := write(again, "lab.test/one:1", content(), []string{"/usr/bin/tool"}); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(path)
	b, _ := os.ReadFile(again)
	if string(a) != string(b) {
		t.Error("the same content makes another archive")
	}
}

func list(t *testing.T, r io.Reader) string {
	t.Helper()
	var out strings.Builder
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(h.Name)
		switch h.Typeflag {
		case tar.TypeSymlink:
			out.WriteString(" -> " + h.Linkname)
		case tar.TypeDir:
			out.WriteString(" " + octal(h.Mode))
		default:
			b, _ := io.ReadAll(tr)
			out.WriteString(" " + octal(h.Mode) + " " + string(b))
		}
		out.WriteString("\n")
	}
}

func octal(mode int64) string {
	var b []byte
	for ; mode > 0; mode /= 8 {
		b = append([]byte{byte('0' + mode%8)}, b...)
	}
	return string(b)
}

// The closure of this test's shell must be enough to run it with nothing else.
func TestClosureRuns(t *testing.T) {
	root := t.TempDir()
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	program := strings.TrimPrefix(shell, "/")
	found, err := closure("/", []string{program})
	if err != nil {
		t.Fatal(err)
	}
	tr := tree{}
	for _, p := range append(found, program) {
		if err := tr.copyIn("/", p); err != nil {
			t.Fatal(err)
		}
		dest := filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dest, tr[p].data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var loader string
	libraries := map[string]bool{}
	for _, p := range found {
		if strings.Contains(filepath.Base(p), "ld-linux") {
			loader = filepath.Join(root, p)
		}
		libraries[filepath.Join(root, filepath.Dir(p))] = true
	}
	var path []string
	for dir := range libraries {
		path = append(path, dir)
	}
	out, err := exec.Command(loader, "--inhibit-cache", "--library-path", strings.Join(path, ":"), filepath.Join(root, program), "-c", "echo runs").CombinedOutput()
	if err != nil || string(out) != "runs\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestClosureNamesWhatIsMissing(t *testing.T) {
	root := t.TempDir()
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "sh"), shell, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := closure(root, []string{"sh"}); err == nil || !strings.Contains(err.Error(), "libc.so.6 is not installed") {
		t.Errorf("error %v does not name the library", err)
	}
}
