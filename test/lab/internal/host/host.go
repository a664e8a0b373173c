// Package host checks that this machine has the programs that the lab needs,
// and installs missing ones from its own Debian sources.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"fairlead.dev/fairlead/test/lab/internal/apt"
)

// tool is a program and the package that has it.
type tool struct{ program, pkg string }

var tools = []tool{
	{"qemu-img", "qemu-utils"},
	{"mmdebstrap", "mmdebstrap"},
	{"mke2fs", "e2fsprogs"},
	{"depmod", "kmod"},
	{"xz", "xz-utils"},
}

// qemuPackages come from another suite than the rest if the release's own are too old.
var qemuPackages = []string{"qemu-system-x86", "qemu-utils"}

// Missing returns the packages that the lab needs and this machine lacks.
func Missing(ctx context.Context) []string {
	var missing []string
	if !hasIGB(ctx) {
		missing = append(missing, "qemu-system-x86")
	}
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			missing = append(missing, t.pkg)
		}
	}
	return missing
}

// hasIGB asks the emulator itself for the card; its version says less.
func hasIGB(ctx context.Context) bool {
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "-device", "help").Output()
	return err == nil && strings.Contains(string(out), `name "igb"`)
}

// Setup installs the missing packages of this machine.
type Setup struct {
	System apt.System
	Dir    string // for apt's lists
	Log    io.Writer
}

// Check returns the exact reason why packages cannot be installed here.
func (s Setup) Check(missing []string) error {
	var reasons []string
	if s.System.ID != "debian" || (s.System.Version != "12" && s.System.Version != "13") {
		reasons = append(reasons, fmt.Sprintf("this is %s %s, and the lab sets itself up on Debian 12 and 13", s.System.ID, s.System.Version))
	}
	if os.Geteuid() != 0 {
		reasons = append(reasons, "it is not run as root")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		reasons = append(reasons, "there is no apt-get")
	}
	if len(reasons) == 0 {
		return nil
	}
	what := "nothing; only the nodes' system is to be made, for which it needs Debian's sources and root"
	if len(missing) > 0 {
		what = strings.Join(missing, ", ")
	}
	return fmt.Errorf("the lab cannot set this machine up: %s\nmissing: %s\nto do: install these (QEMU %d or newer, with the igb device), or run the lab as root on Debian 12 or 13",
		strings.Join(reasons, "; "), what, apt.MinQEMU)
}

// Install installs the missing packages.
func (s Setup) Install(ctx context.Context, missing []string) error {
	suite, err := apt.QEMUSuite(s.System.Version, s.System.Codename)
	if err != nil {
		return err
	}
	sources := apt.Derive(s.System.Sources, s.System.Codename, s.System.Codename)
	if suite != "" {
		sources = apt.WithBackports(s.System.Sources, s.System.Codename)
	}
	a := &apt.APT{Dir: filepath.Join(s.Dir, "apt-host"), Sources: apt.Format(sources), Log: s.Log}
	if err := a.Update(ctx); err != nil {
		return err
	}
	var fromSuite, rest []string
	for _, p := range missing {
		if slices.Contains(qemuPackages, p) {
			fromSuite = append(fromSuite, p)
		} else {
			rest = append(rest, p)
		}
	}
	if len(fromSuite) > 0 {
		if err := a.Install(ctx, suite, qemuPackages...); err != nil {
			return err
		}
	}
	if len(rest) > 0 {
		if err := a.Install(ctx, "", rest...); err != nil {
			return err
		}
	}
	if left := Missing(ctx); len(left) > 0 {
		return errors.New("still missing after the installation: " + strings.Join(left, ", "))
	}
	return nil
}
