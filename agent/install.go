package agent

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"fairlead.dev/fairlead/cni/confdir"
	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/retry"
)

// reinstall is how often the shim and its conf are checked without any event.
const reinstall = time.Minute

// installation keeps the shim and its conf in place.
type installation struct {
	installer confdir.Installer
	primary   *confdir.Primary
	contest   *confdir.Contest
	log       *slog.Logger

	outcome outcome // of the last attempt
}

// keep installs the shim and its conf once the socket serves, and again when their
// directories change: the cluster's own network may be installed later, and somebody may remove
// the files. If that happens again and again, the pause between two installations grows.
func (i *installation) keep(ctx context.Context) error {
	if i.installer.Shim == "" {
		return nil
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the CNI directories: %w", err)
	}
	defer w.Close()
	for {
		i.watch(w) // before the files are installed: their removal is noticed from the first moment
		if retry.Sleep(ctx, i.lookForContest()) != nil {
			return nil
		}
		if err := i.once(); i.outcome.set(err) && err != nil {
			i.log.Warn("installing the CNI configuration failed; trying again", "error", err)
		}
		i.watch(w) // a directory that was only made now
		if !i.awaitChange(ctx, w) {
			return nil
		}
	}
}

func (i *installation) watch(w *fsnotify.Watcher) {
	for _, dir := range []string{i.installer.BinDir, i.installer.ConfDir} {
		if err := w.Add(dir); err != nil {
			i.log.Debug("watching a CNI directory failed", "dir", dir, "error", err)
		}
	}
}

// lookForContest returns the pause before the next installation. It reports software that
// removes the files, once for each cause, and the end of that.
func (i *installation) lookForContest() time.Duration {
	pause, changed := i.contest.Look(time.Now())
	cause := i.contest.Problem()
	switch {
	case changed && cause == "":
		i.log.Info("the CNI configuration stays in place again", "confDir", i.installer.ConfDir)
	case changed:
		i.log.Warn("the CNI configuration does not stay in place", "error", cause)
	}
	return pause
}

// awaitChange waits for a change in the CNI directories that may concern the shim or its conf,
// at most until the next regular check. It returns false when ctx ends.
func (i *installation) awaitChange(ctx context.Context, w *fsnotify.Watcher) bool {
	timer := time.NewTimer(reinstall)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-w.Errors:
			return true
		case e := <-w.Events:
			own := e.Name == filepath.Join(i.installer.BinDir, wire.OwnType) || e.Name == filepath.Join(i.installer.BinDir, wire.ShimConfigName)
			if !e.Has(fsnotify.Chmod) && (own || filepath.Dir(e.Name) == filepath.Clean(i.installer.ConfDir)) {
				return retry.Sleep(ctx, 100*time.Millisecond) == nil // an installer writes several files at once
			}
		}
	}
}

func (i *installation) once() error {
	shim, err := i.installer.InstallShim()
	if err != nil {
		return err
	}
	conf, err := i.installer.InstallConf(i.primary)
	if err != nil {
		return err
	}
	changed := shim || conf
	i.contest.Installed(changed, time.Now())
	if changed && i.contest.Problem() == "" {
		i.log.Info("CNI configuration installed", "shim", shim, "conf", conf, "binDir", i.installer.BinDir, "confDir", i.installer.ConfDir)
	}
	return nil
}

// problems lists what keeps the files from being in place.
func (i *installation) problems() []problem.Problem {
	var out []problem.Problem
	if err := i.outcome.get(); err != nil {
		out = append(out, problem.Problem{Reason: problem.CNIConfNotInstalled,
			Text: fmt.Sprintf("the CNI configuration is not in place, so new pods may start without their networks: %v (tried again when %s changes, and every minute)", err, i.installer.ConfDir)})
	}
	if contest := i.contest.Problem(); contest != "" {
		out = append(out, problem.Problem{Reason: problem.CNIConfRemoved, Text: contest})
	}
	return out
}
