package confdir

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"

	"fairlead.dev/fairlead/cni/wire"
)

func newInstaller(t *testing.T) (Installer, string) {
	t.Helper()
	dir := t.TempDir()
	i := Installer{Shim: filepath.Join(dir, "image", "fairlead"), BinDir: filepath.Join(dir, "bin"), ConfDir: filepath.Join(dir, "net.d"),
		Socket: "/run/fairlead/cni.sock", TombstoneDir: "/var/lib/fairlead/tombstones",
		AgentTimeout: 30 * time.Second, Timeout: 110 * time.Second}
	for _, d := range []string{filepath.Dir(i.Shim), i.ConfDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(i.Shim, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return i, dir
}

// m#1221: the shim is replaced while it runs.
func TestInstallShim(t *testing.T) {
	i, _ := newInstaller(t)
	for n, want := range []bool{true, false} {
		if changed, err := i.InstallShim(); err != nil || changed != want {
			t.Fatalf("%d: %v, %v", n, changed, err)
		}
	}
	running := exec.Command(filepath.Join(i.BinDir, "fairlead"), "1000")
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = running.Process.Kill(); _ = running.Wait() }()
	if err := os.WriteFile(i.Shim, []byte("#!/bin/sh\necho newer\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := i.InstallShim(); err != nil || !changed {
		t.Fatalf("%v, %v", changed, err)
	}
	out, err := exec.Command(filepath.Join(i.BinDir, "fairlead")).Output()
	if err != nil || string(out) != "newer\n" {
		t.Errorf("the new shim: %s, %v", out, err)
	}
	if entries, err := os.ReadDir(i.BinDir); err != nil || len(entries) != 2 { // the shim and its settings
		t.Errorf("left in the bin dir: %v, %v", entries, err)
	}
}

func TestInstallConf(t *testing.T) {
	i, _ := newInstaller(t)
	primary := primaryOf(i.ConfDir, "")
	conf := filepath.Join(i.ConfDir, ConfName)
	// m#1155: no conf without a primary, none without a shim.
	if _, err := i.InstallConf(primary); err == nil || !strings.Contains(err.Error(), "no primary network") {
		t.Errorf("without a primary: %v", err)
	}
	if err := os.WriteFile(filepath.Join(i.ConfDir, "10-x.conf"), []byte(`{"name":"x","type":"ptp"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := i.InstallConf(primary); err == nil || !strings.Contains(err.Error(), "before the shim") {
		t.Errorf("without a shim: %v", err)
	}
	if _, err := os.Stat(conf); !os.IsNotExist(err) {
		t.Fatalf("a conf was written all the same: %v", err)
	}
	if _, err := i.InstallShim(); err != nil {
		t.Fatal(err)
	}
	for n, want := range []bool{true, false} {
		if changed, err := i.InstallConf(primary); err != nil || changed != want {
			t.Fatalf("%d: %v, %v", n, changed, err)
		}
	}
	raw, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, ConfName, strings.TrimSuffix(string(raw), "\n"))
	list, err := libcni.ConfListFromFile(conf)
	if err != nil || list.CNIVersion != "1.1.0" || list.Plugins[0].Network.Type != "fairlead" {
		t.Errorf("as a runtime reads it: %+v, %v", list, err)
	}
	if !json.Valid(raw) {
		t.Error("not JSON")
	}
	if _, err := primary.Conf(); err != nil {
		t.Errorf("with our own conf there: %v", err)
	}

	if err := i.Uninstall(); err != nil {
		t.Fatal(err)
	}
	if files, err := confFiles(i.ConfDir); err != nil || len(files) != 1 || filepath.Base(files[0]) != "10-x.conf" {
		t.Errorf("the node's own conf is not the only one again: %v, %v", files, err)
	}
	if err := i.Uninstall(); err != nil {
		t.Errorf("twice: %v", err)
	}
}

// reports 22: a plugin directory that is a symbolic link, as distributions have it.
func TestInstallThroughASymbolicLink(t *testing.T) {
	i, dir := newInstaller(t)
	versioned := filepath.Join(dir, "data", "1234", "bin")
	if err := errors.Join(os.MkdirAll(versioned, 0o755), os.Symlink(versioned, i.BinDir)); err != nil {
		t.Fatal(err)
	}
	tree(t, i.ConfDir, map[string]string{"10-x.conf": `{"name":"x","type":"ptp"}`})
	for n, want := range []bool{true, false} {
		if changed, err := i.InstallShim(); err != nil || changed != want {
			t.Fatalf("%d: %v, %v", n, changed, err)
		}
	}
	if _, err := i.InstallConf(primaryOf(i.ConfDir, "")); err != nil {
		t.Fatal(err)
	}
	for _, bin := range []string{i.BinDir, versioned} { // the shim knows the directory by its real path
		if got, err := wire.LoadShimConfig(bin); err != nil || got != i.settings() {
			t.Errorf("%s: %+v, %v", bin, got, err)
		}
	}
}

// S1: the shim's settings are a file that only root can have written. If that is not so,
// the shim is not installed: an earlier one goes on.
func TestInstallShimSettings(t *testing.T) {
	i, _ := newInstaller(t)
	if _, err := i.InstallShim(); err != nil {
		t.Fatal(err)
	}
	if got, err := wire.LoadShimConfig(i.BinDir); err != nil || got != i.settings() {
		t.Errorf("%+v, %v", got, err)
	}
	settings := filepath.Join(i.BinDir, wire.ShimConfigName)
	if err := os.WriteFile(settings, []byte(`{"socket":"/tmp/evil"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if changed, err := i.InstallShim(); err != nil || !changed {
		t.Errorf("edited: %v, %v", changed, err)
	}
	if err := errors.Join(os.Remove(filepath.Join(i.BinDir, "fairlead")), os.Chmod(i.BinDir, 0o777)); err != nil {
		t.Fatal(err)
	}
	if _, err := i.InstallShim(); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("a directory that all may write: %v", err)
	}
	if _, err := os.Stat(filepath.Join(i.BinDir, "fairlead")); !os.IsNotExist(err) {
		t.Errorf("the shim was installed all the same: %v", err)
	}
}
