package vm

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/test/lab/internal/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestCommandLines(t *testing.T) {
	ports, err := config.NewPorts(0)
	if err != nil {
		t.Fatal(err)
	}
	b := Boot{Accel: "tcg", Kernel: "/cache/vmlinuz", Initramfs: "/run/node.initrd", Serial: "/run/console.log"}
	kvm := b
	kvm.Accel = "kvm"
	cases := map[string][]string{
		"prepare": PrepareArgs(b, "/cache/disk.raw"),
		"probe":   ProbeArgs(kvm),
	}
	for _, n := range config.Nodes() {
		cases[n.Name] = NodeArgs(n, ports, b, "/run/"+n.Name+".qcow2", "/run/qmp.sock")
	}
	for name, args := range cases {
		t.Run(name, func(t *testing.T) { golden(t, name, lines(args)) })
	}
}

// lines puts each option with its value on a line of its own.
func lines(args []string) string {
	var b strings.Builder
	for i, a := range args {
		switch {
		case i == 0:
		case strings.HasPrefix(a, "-"):
			b.WriteByte('\n')
		default:
			b.WriteByte(' ')
		}
		b.WriteString(a)
	}
	return b.String() + "\n"
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; rewrite with -update):\n%s", path, diff)
	}
}

func TestPathWithComma(t *testing.T) {
	args := strings.Join(disk("/a,b/disk.raw", "raw", true), " ")
	if !strings.Contains(args, "file=/a,,b/disk.raw,if=none") {
		t.Errorf("a comma in the path is not escaped: %s", args)
	}
}
