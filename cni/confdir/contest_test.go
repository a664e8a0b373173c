package confdir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// contested returns a contest after the first installation.
func contested(t *testing.T, now time.Time) *Contest {
	t.Helper()
	i, _ := newInstaller(t)
	tree(t, i.ConfDir, map[string]string{"05-cilium.conflist": `{"cniVersion":"1.0.0","name":"cilium","plugins":[{"type":"cilium-cni"}]}`})
	c := &Contest{Installer: i}
	if pause, changed := c.Look(now); pause != 0 || changed {
		t.Errorf("before the first installation: %s, %t", pause, changed)
	}
	install(t, c, now)
	return c
}

func install(t *testing.T, c *Contest, now time.Time) {
	t.Helper()
	shim, err := c.Installer.InstallShim()
	if err != nil {
		t.Fatal(err)
	}
	conf, err := c.Installer.InstallConf(primaryOf(c.Installer.ConfDir, ""))
	if err != nil {
		t.Fatal(err)
	}
	c.Installed(shim || conf, now)
}

// reports 13: Cilium renames the conf each time. The pause doubles up to a minute, and the
// problem names the cause and the remedy, until the conf stays.
func TestContestWithCilium(t *testing.T) {
	now := time.Now()
	c := contested(t, now)
	conf := filepath.Join(c.Installer.ConfDir, ConfName)
	for n, want := range []time.Duration{0, 1, 2, 4, 8, 16, 32, 60, 60} {
		if err := os.Rename(conf, conf+".cilium_bak"); err != nil {
			t.Fatal(err)
		}
		pause, changed := c.Look(now)
		if pause != want*time.Second || changed != (n == 0) {
			t.Errorf("loss %d: pause %s, changed %t; want %d s", n+1, pause, changed, want)
		}
		if again, changed := c.Look(now); again != pause || changed { // another event in the directory
			t.Errorf("loss %d is counted twice: pause %s, changed %t", n+1, again, changed)
		}
		for _, want := range []string{conf + ".cilium_bak", "cni.exclusive=false"} {
			if problem := c.Problem(); !strings.Contains(problem, want) {
				t.Errorf("loss %d: %q lacks %q", n+1, problem, want)
			}
		}
		install(t, c, now)
	}
	if !strings.Contains(c.Problem(), "9 times") {
		t.Error(c.Problem())
	}
	if _, changed := c.Look(now.Add(Calm - 1)); changed || c.Problem() == "" {
		t.Error("over too early")
	}
	if pause, changed := c.Look(now.Add(Calm)); pause != 0 || !changed || c.Problem() != "" {
		t.Errorf("not over: %s, %t, %q", pause, changed, c.Problem())
	}
}

// reports 13: the same for whatever else removes or replaces the files. A leftover of an
// earlier time is not taken for the cause.
func TestContestWithOthers(t *testing.T) {
	for what, disturb := range map[string]func(Installer) (lost string, err error){
		"a conf that is removed": func(i Installer) (string, error) { return i.confPath(), os.Remove(i.confPath()) },
		"a conf of another release": func(i Installer) (string, error) {
			return i.confPath(), os.WriteFile(i.confPath(), []byte("{}"), 0o644)
		},
		"a shim of another release":   func(i Installer) (string, error) { return i.shimPath(), os.WriteFile(i.shimPath(), []byte("x"), 0o755) },
		"a directory that is no more": func(i Installer) (string, error) { return i.confPath(), os.RemoveAll(i.ConfDir) },
	} {
		now := time.Now()
		c := contested(t, now)
		tree(t, c.Installer.ConfDir, map[string]string{ConfName + ".cilium_bak": ""})
		c.installed = now.Add(time.Hour)
		lost, err := disturb(c.Installer)
		if err != nil {
			t.Fatal(err)
		}
		_, changed := c.Look(now)
		if problem := c.Problem(); !changed || !strings.Contains(problem, lost) || !strings.Contains(problem, "configuration management") || strings.Contains(problem, "_bak") {
			t.Errorf("%s: %t, %q", what, changed, problem)
		}
	}
}
