package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/retry"
)

// reinstall is how often the shim and its conf are checked without any event.
const reinstall = time.Minute

// keepInstalled installs the shim and its conf once the socket serves, and again when their
// directories change: the cluster's own network may be installed later, and somebody may remove
// the files. If that happens again and again, the pause between two installations grows.
func (p *parts) keepInstalled(ctx context.Context) error {
	if p.o.ShimPath == "" {
		return nil
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the CNI directories: %w", err)
	}
	defer w.Close()
	for {
		p.watchCNI(w) // before the files are installed: their removal is noticed from the first moment
		if retry.Sleep(ctx, p.lookForContest()) != nil {
			return nil
		}
		if err := p.installOnce(); p.installed.set(err) && err != nil {
			p.log.Warn("installing the CNI configuration failed; trying again", "error", err)
		}
		p.watchCNI(w) // a directory that was only made now
		if !p.awaitChange(ctx, w) {
			return nil
		}
	}
}

func (p *parts) watchCNI(w *fsnotify.Watcher) {
	for _, dir := range []string{p.o.CNIBinDir, p.o.CNIConfDir} {
		if err := w.Add(dir); err != nil {
			p.log.Debug("watching a CNI directory failed", "dir", dir, "error", err)
		}
	}
}

// lookForContest returns the pause before the next installation. It reports software that
// removes the files, once for each cause, and the end of that.
func (p *parts) lookForContest() time.Duration {
	pause, changed := p.contest.Look(time.Now())
	problem := p.contest.Problem()
	switch {
	case changed && problem == "":
		p.log.Info("the CNI configuration stays in place again", "confDir", p.o.CNIConfDir)
	case changed:
		p.log.Warn("the CNI configuration does not stay in place", "error", problem)
		p.cluster.NodeEvent("Warning", "CNIConfigurationRemoved", problem)
	}
	return pause
}

// awaitChange waits for a change in the CNI directories that may concern the shim or its conf,
// at most until the next regular check. It returns false when ctx ends.
func (p *parts) awaitChange(ctx context.Context, w *fsnotify.Watcher) bool {
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
			own := e.Name == filepath.Join(p.o.CNIBinDir, wire.OwnType) || e.Name == filepath.Join(p.o.CNIBinDir, wire.ShimConfigName)
			if !e.Has(fsnotify.Chmod) && (own || filepath.Dir(e.Name) == filepath.Clean(p.o.CNIConfDir)) {
				return retry.Sleep(ctx, 100*time.Millisecond) == nil // an installer writes several files at once
			}
		}
	}
}

func (p *parts) installOnce() error {
	shim, err := p.install.InstallShim()
	if err != nil {
		return err
	}
	conf, err := p.install.InstallConf(p.primary)
	if err != nil {
		return err
	}
	changed := shim || conf
	p.contest.Installed(changed, time.Now())
	if changed && p.contest.Problem() == "" {
		p.log.Info("CNI configuration installed", "shim", shim, "conf", conf, "binDir", p.o.CNIBinDir, "confDir", p.o.CNIConfDir)
	}
	return nil
}
