package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/cni"
	"fairlead.dev/fairlead/cni/confdir"
	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/deviceplugin"
	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/host"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/kube"
	"fairlead.dev/fairlead/pkg/kubelet"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/repair"
	"fairlead.dev/fairlead/pkg/retry"
	"fairlead.dev/fairlead/pkg/sandbox"
	"fairlead.dev/fairlead/pkg/state"
)

// declaredWait is how long the start waits for the API server. Then the remembered
// configuration and the files are used until it answers.
const declaredWait = 5 * time.Second

// parts are the agent's components, constructed but not yet running.
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
	repairs *repair.Repairer
	reports *reports
	server  *cni.Server
	primary *confdir.Primary
	tombs   wire.Tombstones
	node    *node

	policies     *policies
	installation *installation
	serving      atomic.Bool // the CNI socket answers
}

// Run runs the agent until ctx ends, then stops serving. If its DaemonSet was deleted, it also
// restores the node's own CNI configuration.
func Run(ctx context.Context, o Options, log *slog.Logger) error {
	kube.LogTo(log)
	log.Info("agent starting", "build", o.Build, "node", o.NodeName)
	limitHeap(o.MemoryLimit)
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
		return nil, fmt.Errorf("create the state directory: %w", err)
	}
	var err error
	if p.ledger, err = ledger.Open(o.ledgerPath()); err != nil {
		return nil, err
	}
	p.noteBoot() // before anything reads holders from the ledger
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
		Changed:    func() { p.policies.read(); kick(changed) },
		// The keeper is there before the cluster runs.
		PodChanged: func(namespace, name string) { p.keeper.PodChanged(namespace, name) },
		PodEnded:   func(namespace, name string) { p.keeper.PodEnded(namespace, name) }, Log: log,
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
	if err := p.newKeeper(); err != nil {
		p.close()
		return nil, err
	}
	p.repairs = newRepairer(p)
	p.newServer()
	p.reports = newReports(o, func() (state.State, error) { return p.join(nil) }, p.node.hasApplied, p.cluster, log)
	return p, nil
}

// noteBoot records the node's current boot in the ledger. If the boot id is unknown, all
// records count as of this boot: a VF is then held too long rather than too short.
func (p *parts) noteBoot() {
	id, err := host.BootID(p.o.SysRoot)
	if err != nil {
		p.log.Warn("boot id unknown; assuming that the node has not rebooted", "error", err)
		return
	}
	rebooted, err := p.ledger.Boot(id)
	if err != nil {
		p.log.Error("recording the boot id failed; records of an earlier boot still count", "error", err)
	}
	if rebooted {
		p.log.Info("node rebooted; the VFs of pods from before are free")
	}
}

// run starts the parts. Resources are registered first, as they were last declared: until then
// the kubelet fails every pod that wants a VF. Profiles are applied once the API server has
// answered. Tombstones are replayed before the socket serves, and the shim's conf is installed
// last.
func (p *parts) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.cluster.Run(ctx) })
	g.Go(func() error { return p.inv.Run(ctx) })
	g.Go(func() error { return p.custody.Run(ctx) })
	g.Go(func() error { return p.plugin.Run(ctx) })
	g.Go(func() error { return p.node.run(ctx) }) // advertises the configuration that was last in effect
	wait, cancel := context.WithTimeout(ctx, declaredWait)
	if !p.cluster.WaitDeclared(wait) && ctx.Err() == nil {
		p.log.Warn("API server has not answered; starting with the remembered configuration and the files",
			"problems", problem.Join(p.cluster.Problems(), "; "))
	}
	cancel()
	close(p.node.answered)
	g.Go(func() error { return p.node.keepKnobs(ctx, link.Subscribe) })
	g.Go(func() error {
		return p.node.declared.watchFiles(ctx, func() { p.policies.read(); kick(p.node.changed) })
	})
	g.Go(func() error { return p.keeper.Run(ctx) })
	g.Go(func() error { return p.repairs.Run(ctx) })
	g.Go(func() error {
		return p.server.Serve(ctx, func() {
			p.serving.Store(true)
			g.Go(func() error { return p.installation.keep(ctx) })
		})
	})
	g.Go(func() error { return p.reconcile(ctx) })
	g.Go(func() error { return p.serveState(ctx) })
	g.Go(func() error { return reportProblems(ctx, p) })
	return g.Wait()
}

func (p *parts) reconcile(ctx context.Context) error {
	for {
		if err := p.keeper.Reconcile(ctx); err != nil && ctx.Err() == nil {
			p.log.Warn("reconciling failed; trying again", "error", err)
		}
		if retry.Sleep(ctx, p.o.ReconcileEvery) != nil {
			return nil
		}
	}
}

// serveState serves the node's state to fairleadctl.
func (p *parts) serveState(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(p.o.StateSocket), 0o755); err != nil {
		return fmt.Errorf("serve the state on %s: %w", p.o.StateSocket, err)
	}
	l, err := host.ListenUnix(p.o.StateSocket)
	if err != nil {
		return fmt.Errorf("serve the state: %w", err)
	}
	srv := &http.Server{Handler: state.WithManifests(state.Handler(p.state, p.ready), p.cluster.Manifests), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the state on %s: %w", p.o.StateSocket, err)
	}
	return nil
}

// ready returns nil if pods can start. A probe asks it, so that a rollout does not go on to the
// next node while the agent on this one serves no pods.
func (p *parts) ready() error {
	if !p.serving.Load() {
		return errors.New("the CNI socket is not served yet: the agent is starting, or is replaying DELs missed during downtime")
	}
	return nil
}

// leave runs after an orderly stop. It restores the node's own CNI configuration if the
// DaemonSet was deleted.
func (p *parts) leave() error {
	if p.o.ShimPath == "" || !p.cluster.Uninstalled(context.Background()) {
		p.log.Info("agent stopped; the CNI configuration stays in place")
		return nil
	}
	p.log.Info("DaemonSet deleted; restoring the node's own CNI configuration")
	return p.installation.installer.Uninstall()
}

func (p *parts) close() {
	if p.links != nil {
		p.links.Close()
	}
	if err := p.ledger.Close(); err != nil {
		p.log.Error("closing the ledger failed", "error", err)
	}
}

// kick wakes a loop. Kicks that the loop has not seen yet count as one.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
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
