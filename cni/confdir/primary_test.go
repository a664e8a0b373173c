package confdir

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/network"
)

func confDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func primaryOf(dir, fixed string) *Primary {
	return NewPrimary(Options{Dir: dir, Fixed: fixed, Log: slog.New(slog.DiscardHandler)})
}

const own = `{"cniVersion":"1.0.0","name":"fairlead","plugins":[{"type":"fairlead"}]}`

func TestPrimary(t *testing.T) {
	flannel := `{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel"},{"type":"portmap"}]}`
	single := `{"cniVersion":"0.4.0","name":"single","type":"ptp"}`
	tests := []struct {
		name  string
		files map[string]string
		fixed string
		want  string // name of the network; "" for an error
		err   string
	}{
		{name: "first by name", files: map[string]string{"10-flannel.conflist": flannel, "20-x.conf": single}, want: "cbr0"},
		{name: "a single plugin's conf", files: map[string]string{"05-x.conf": single, "10-flannel.conflist": flannel}, want: "single"},
		{name: "json", files: map[string]string{"05-x.json": single}, want: "single"},
		{name: "own conf passed over", files: map[string]string{ConfName: own, "10-flannel.conflist": flannel}, want: "cbr0"},
		// m#1130: whatever the file is called.
		{name: "never itself", files: map[string]string{"01-copy.conflist": own, "10-flannel.conflist": flannel}, want: "cbr0"},
		{name: "another meta-plugin passed over", files: map[string]string{"00-multus.conf": `{"name":"m","type":"multus-shim"}`, "10-flannel.conflist": flannel}, want: "cbr0"},
		{name: "other files passed over", files: map[string]string{".05-x.conflist": single, "05-x.conflist.bak": single, "README": "", "10-flannel.conflist": flannel}, want: "cbr0"},
		{name: "fixed", files: map[string]string{"10-flannel.conflist": flannel, "20-x.conf": single}, fixed: "20-x.conf", want: "single"},
		{name: "fixed on itself", files: map[string]string{ConfName: own}, fixed: ConfName, err: "without end"},
		{name: "fixed on another meta-plugin", files: map[string]string{"m.conf": `{"name":"m","type":"multus"}`}, fixed: "m.conf", err: "meta-plugin"},
		{name: "fixed and missing", fixed: "x.conf", err: "x.conf"},
		{name: "none", files: map[string]string{ConfName: own}, err: "install the cluster's network plugin"},
		// m#1527: not silently the next network.
		{name: "first is half written", files: map[string]string{"10-flannel.conflist": flannel[:30], "20-x.conf": single}, err: "10-flannel.conflist"},
		{name: "first is empty", files: map[string]string{"10-flannel.conflist": "", "20-x.conf": single}, err: "10-flannel.conflist"},
		{name: "no name in the file", files: map[string]string{"10-x.conf": `{"type":"ptp"}`}, want: "10-x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list, err := primaryOf(confDir(t, tt.files), tt.fixed).Conf()
			switch {
			case tt.err == "" && (err != nil || list.Name != tt.want):
				t.Errorf("got %q, %v; want %q", list.Name, err, tt.want)
			case tt.err != "" && (!errors.Is(err, ErrNoPrimary) || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("got %v; want ErrNoPrimary with %q", err, tt.err)
			}
		})
	}
	if _, err := primaryOf(filepath.Join(t.TempDir(), "none"), "").Conf(); err == nil {
		t.Error("no conf dir, no error")
	}
}

// m#1155, m#1468: a conf that vanishes or breaks for a while changes nothing.
func TestPrimaryKeepsTheLastGood(t *testing.T) {
	dir := confDir(t, map[string]string{"10-x.conf": `{"name":"good","type":"ptp"}`, "20-y.conf": `{"name":"other","type":"ptp"}`})
	p := primaryOf(dir, "")
	want := func(name string) {
		t.Helper()
		if list, err := p.Conf(); err != nil || list.Name != name {
			t.Errorf("got %q, %v; want %q", list.Name, err, name)
		}
	}
	want("good")
	file := filepath.Join(dir, "10-x.conf")
	for _, broken := range []string{"", "{", `{"plugins":[]}`} {
		if err := os.WriteFile(file, []byte(broken), 0o644); err != nil {
			t.Fatal(err)
		}
		want("good")
	}
	if err := os.WriteFile(file, []byte(`{"name":"newer","type":"ptp"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	want("newer")
}

func TestConfByName(t *testing.T) {
	dir := confDir(t, map[string]string{"10-x.conf": "{", "20-y.conf": `{"name":"wanted","type":"ptp"}`})
	p := primaryOf(dir, "")
	if list, err := p.ByName("wanted"); err != nil || list.Plugins[0].Type != "ptp" {
		t.Errorf("got %+v, %v", list, err)
	}
	if _, err := p.ByName("nosuch"); !errors.Is(err, network.ErrNotFound) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
}

// meta-cni E9: the conf is parsed again only if a file of the directory has changed.
func TestPrimaryIsReadWhenItChanges(t *testing.T) {
	dir := confDir(t, map[string]string{"10-a.conflist": `{"name":"a","cniVersion":"1.0.0","plugins":[{"type":"ptp"}]}`})
	file := filepath.Join(dir, "10-a.conflist")
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	p := primaryOf(dir, "")
	name := func() string {
		t.Helper()
		list, err := p.Conf()
		if err != nil {
			t.Fatal(err)
		}
		return list.Name
	}
	if name() != "a" || p.seen == "" {
		t.Fatal("it is not remembered")
	}
	p.last.Name = "remembered"
	if name() != "remembered" {
		t.Error("it was parsed again though nothing has changed")
	}
	if err := os.WriteFile(filepath.Join(dir, "05-b.conflist"), []byte(`{"name":"b","cniVersion":"1.0.0","plugins":[{"type":"ptp"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if name() != "b" || p.seen != "" {
		t.Error("a new file is not seen, or its first moments are trusted")
	}
	if err := os.Remove(filepath.Join(dir, "05-b.conflist")); err != nil {
		t.Fatal(err)
	}
	if name() != "a" {
		t.Error("a file that is gone is still used")
	}
}

func BenchmarkPrimaryConf(b *testing.B) {
	dir := b.TempDir()
	file := filepath.Join(dir, "10-a.conflist")
	old := time.Now().Add(-time.Hour)
	err := errors.Join(os.WriteFile(file, []byte(`{"name":"a","cniVersion":"1.0.0","plugins":[{"type":"bridge"},{"type":"portmap"}]}`), 0o644), os.Chtimes(file, old, old))
	if err != nil {
		b.Fatal(err)
	}
	p := primaryOf(dir, "")
	for b.Loop() {
		if _, err := p.Conf(); err != nil {
			b.Fatal(err)
		}
	}
}
