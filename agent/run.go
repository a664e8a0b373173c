package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/cni"
	"fairlead.dev/fairlead/cni/confdir"
	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/deviceplugin"
	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/kube"
	"fairlead.dev/fairlead/pkg/kubelet"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/sandbox"
	"fairlead.dev/fairlead/pkg/state"
)

// declaredWait is how long the start waits for the API server's word on what is
// declared; then what is remembered and the files count, until it answers.
const declaredWait = 5 * time.Second

// parts are the agent's components, constructed and not yet running.
type parts struct {
	o       Options
	log     *slog.Logger
	ledger  *ledger.Ledger
	links   *link.Handle
	cluster *kube.Client
	kubelet *kubelet.PodResources
	inv     *inventory.Inventory
	custody *custody.Oracle
	plugin  *deviceplugin.Manager
	keeper  *sandbox.Keeper
	server  *cni.Server
	primary *confdir.Primary
	install confdir.Installer
	tombs   wire.Tombstones
	node    *node

	policies *policies

	serving   atomic.Bool // the CNI socket answers
	installed outcome     // of putting the shim and its conf in place
}

// Run runs the agent until ctx ends. It then stops serving and, only where its
// DaemonSet was deleted, restores the node's CNI configuration.
func Run(ctx context.Context, o Options, log *slog.Logger) error {
	log.Info("the agent starts", "build", o.Build, "node", o.NodeName)
	p, err := construct(o, log)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.run(ctx); err != nil {
		return err
	}
	return p.leave()
}

func construct(o Options, log *slog.Logger) (*parts, error) {
	p := &parts{o: o, log: log}
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	var err error
	if p.ledger, err = ledger.Open(o.ledgerPath()); err != nil {
		return nil, err
	}
	p.noteBoot() // before anything asks the ledger who holds what
	if p.links, err = link.Open(); err != nil {
		return nil, errors.Join(err, p.ledger.Close())
	}
	if p.kubelet, err = kubelet.New(o.PodResources); err != nil {
		p.close()
		return nil, err
	}
	changed := make(chan struct{}, 1)
	p.cluster, err = kube.New(o.Kubeconfig, kube.Options{
		NodeName: o.NodeName, Namespace: o.Namespace, DaemonSet: o.DaemonSet,
		ConfigMaps: nonEmpty(o.ProfilesConfigMap, o.DevicePluginConfigMap, o.PoliciesConfigMap),
		Changed:    func() { p.policies.read(); kick(changed) }, Log: log,
	})
	if err != nil {
		p.close()
		return nil, err
	}
	p.policies = newPolicies(o, p.cluster, log)
	p.inv = inventory.New(inventory.Host(o.SysRoot, p.links, log))
	p.custody = newCustody(o, p.ledger, p.inv, p.links, p.kubelet, log)
	p.plugin = newManager(o, p.ledger, p.custody, log)
	p.node = newNode(p, changed)
	p.newKeeper()
	p.newServer()
	return p, nil
}

// run starts the parts. Resources are registered first, as they were declared last:
// until then the kubelet fails every pod that wants a VF. Profiles are applied once the
// API server has answered, tombstones are replayed before the socket serves, and the
// runtime hears of the shim last.
func (p *parts) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.cluster.Run(ctx) })
	g.Go(func() error { return p.inv.Run(ctx) })
	g.Go(func() error { return p.custody.Run(ctx) })
	g.Go(func() error { return p.plugin.Run(ctx) })
	g.Go(func() error { return p.node.run(ctx) }) // advertises what was declared last
	wait, cancel := context.WithTimeout(ctx, declaredWait)
	if !p.cluster.WaitDeclared(wait) && ctx.Err() == nil {
		p.log.Warn("what is declared has not been read from the API server; starting with what it said last, and with the files",
			"problems", p.cluster.Problems())
	}
	cancel()
	close(p.node.answered)
	g.Go(func() error { return p.node.keepKnobs(ctx, link.Subscribe) })
	g.Go(func() error {
		return p.node.declared.watchFiles(ctx, func() { p.policies.read(); kick(p.node.changed) })
	})
	g.Go(func() error { return p.keeper.Run(ctx) })
	g.Go(func() error {
		return p.server.Serve(ctx, func() {
			p.serving.Store(true)
			g.Go(func() error { return p.keepInstalled(ctx) })
		})
	})
	g.Go(func() error { return p.reconcile(ctx) })
	g.Go(func() error { return p.serveState(ctx) })
	return g.Wait()
}

// reinstall is how often the shim and its conf are looked at without any event.
const reinstall = time.Minute

// keepInstalled puts the shim and its conf in place once the socket serves, and
// again when their directories change: the cluster's own network may come later,
// and somebody may remove them.
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
		if err := p.installOnce(); p.installed.set(err) && err != nil {
			p.log.Warn("the CNI configuration is not in place yet", "error", err)
		}
		if !p.awaitChange(ctx, w) {
			return nil
		}
	}
}

// awaitChange waits for a change in the CNI directories that can matter to the
// shim or its conf, or until it is time to look anyway; false when ctx ends.
func (p *parts) awaitChange(ctx context.Context, w *fsnotify.Watcher) bool {
	for _, dir := range []string{p.o.CNIBinDir, p.o.CNIConfDir} {
		if err := w.Add(dir); err != nil {
			p.log.Debug("watch", "dir", dir, "error", err)
		}
	}
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
				return sleep(ctx, 100*time.Millisecond) // several files of one installer come together
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
	if shim || conf {
		p.log.Info("installed", "shim", shim, "conf", conf, "binDir", p.o.CNIBinDir, "confDir", p.o.CNIConfDir)
	}
	return err
}

func (p *parts) reconcile(ctx context.Context) error {
	for {
		if err := p.keeper.Reconcile(ctx); err != nil && ctx.Err() == nil {
			p.log.Warn("reconcile", "error", err)
		}
		if !sleep(ctx, p.o.ReconcileEvery) {
			return nil
		}
	}
}

// serveState answers fairleadctl.
func (p *parts) serveState(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(p.o.StateSocket), 0o755); err != nil {
		return fmt.Errorf("state socket: %w", err)
	}
	if err := os.Remove(p.o.StateSocket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("state socket: %w", err)
	}
	l, err := net.Listen("unix", p.o.StateSocket)
	if err != nil {
		return fmt.Errorf("state socket: %w", err)
	}
	if err := os.Chmod(p.o.StateSocket, 0o600); err != nil {
		return errors.Join(fmt.Errorf("state socket: %w", err), l.Close())
	}
	srv := &http.Server{Handler: state.WithManifests(state.Handler(p.state, p.ready), p.cluster.Manifests), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("state socket: %w", err)
	}
	return nil
}

// ready tells probes that pods can start: a rollout must not go on to the next node
// while the agent on this one serves none.
func (p *parts) ready() error {
	if !p.serving.Load() {
		return errors.New("the CNI socket does not answer yet: the agent is starting, or works off DELs from while it was away")
	}
	return nil
}

// leave is the end after an orderly stop.
func (p *parts) leave() error {
	if p.o.ShimPath == "" || !p.cluster.Uninstalled(context.Background()) {
		p.log.Info("stopped; the CNI configuration stays in place")
		return nil
	}
	p.log.Info("the DaemonSet was deleted: restoring the node's own CNI configuration")
	return p.install.Uninstall()
}

func (p *parts) close() {
	if p.links != nil {
		p.links.Close()
	}
	if err := p.ledger.Close(); err != nil {
		p.log.Error("close the ledger", "error", err)
	}
}

// kick wakes a loop that has not yet seen the last kick, once.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func nonEmpty(names ...string) []string {
	var out []string
	for _, n := range names {
		if n != "" {
			out = append(out, n)
		}
	}
	return out
}
