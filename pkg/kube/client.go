package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"

	"fairlead.dev/fairlead/pkg/problem"
)

// Options configure the watches and time limits of a Client.
type Options struct {
	NodeName   string
	Namespace  string   // the namespace of the agent's own objects
	DaemonSet  string   // the agent's own DaemonSet; empty: Uninstalled is always false
	ConfigMaps []string // names in Namespace

	// Changed is called when the node's labels or a ConfigMap's data have changed. It must not
	// block.
	Changed func()
	// PodChanged is called for each pod of the node, and again when its networks annotation
	// changes. It must not block. It may be nil.
	PodChanged func(namespace, name string)
	// PodEnded is called when a pod of this node is gone, or when its containers have ended. It
	// must not block.
	PodEnded func(namespace, name string)
	// RequestTimeout limits one request; 0: 5 seconds.
	RequestTimeout time.Duration
	Log            *slog.Logger
}

const defaultRequestTimeout = 5 * time.Second

// Client is the agent's view of the cluster. Its methods may be called from several goroutines,
// before, during and after Run.
type Client struct {
	*connection

	// Each part has the calls about one kind of object.
	*podCache
	*networkCache
	*declaredCache

	own     *ownDaemonSet // nil: no DaemonSet to watch
	watches *watches      // one for each informer

	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder
}

// New creates a Client. Its caches are empty until Run. An empty kubeconfig means the
// ServiceAccount of the agent's own pod; client-go reads the token again after each rotation
// (m#852).
func New(kubeconfig string, o Options) (*Client, error) {
	cfg, err := restConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	return newForConfig(cfg, o)
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("connect to the API server: not in a pod with a ServiceAccount, and no kubeconfig given: %w", err)
		}
		return cfg, nil
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: read kubeconfig %s: %w", kubeconfig, err)
	}
	return cfg, nil
}

func newForConfig(cfg *rest.Config, o Options) (*Client, error) {
	if o.NodeName == "" {
		return nil, errors.New("connect to the API server: the node's name is not set: pass it as --node-name, like the manifest")
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = defaultRequestTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	if o.PodEnded == nil {
		o.PodEnded = func(string, string) {}
	}
	conn, err := connect(cfg, o)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	c := &Client{connection: conn, watches: &watches{conn: conn}}
	if err := c.newCaches(); err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	c.newRecorder()
	return c, nil
}

// newCaches creates the caches. Each requests and keeps only the fields that are read.
func (c *Client) newCaches() (err error) {
	if c.podCache, err = newPodCache(c.connection, c.watches); err != nil {
		return err
	}
	if c.networkCache, err = newNetworkCache(c.connection, c.watches); err != nil {
		return err
	}
	if c.declaredCache, err = newDeclaredCache(c.connection, c.watches); err != nil {
		return err
	}
	if c.o.DaemonSet != "" {
		c.own, err = newOwnDaemonSet(c.connection, c.watches)
	}
	return err
}

// Run watches until ctx ends. The caches stay readable afterwards.
func (c *Client) Run(ctx context.Context) error {
	c.broadcaster.StartRecordingToSink(eventSink{c})
	defer c.broadcaster.Shutdown()
	var wg sync.WaitGroup
	for _, w := range c.watches.list {
		wg.Go(func() { w.informer.RunWithContext(ctx) })
	}
	for _, i := range c.configMaps {
		wg.Go(func() { c.reportAbsence(ctx, i) })
	}
	wg.Wait()
	return nil
}

// Ready says why pods cannot be looked up: their cache has not been filled since the agent's
// start. If the API server goes away later, pods that are already in the cache can still be
// attached.
func (c *Client) Ready() error {
	if c.pods.HasSynced() {
		return nil
	}
	return fmt.Errorf("the pods of node %s have not been read yet: %w", c.o.NodeName, c.watches.cause(c.pods))
}

// Problems lists the watches that fail or have not begun, with the reason.
func (c *Client) Problems() []problem.Problem {
	out := c.watches.problems()
	if _, found, err := c.node.GetStore().GetByKey(c.o.NodeName); err == nil && !found && c.node.HasSynced() {
		out = append(out, problem.Problem{Reason: problem.NodeUnknown, About: "node " + c.o.NodeName,
			Text: fmt.Sprintf("the API server has no node %s, whose labels profiles select by: set --node-name to the node's name there", c.o.NodeName)})
	}
	return out
}

// Uninstalled reports whether the agent's DaemonSet was deleted, so that no other agent will
// replace this one. The agent asks when it is stopped. Any doubt counts as no: a restart must
// never remove the CNI configuration (m#1527, m#1468).
func (c *Client) Uninstalled(ctx context.Context) bool {
	return c.own != nil && c.own.uninstalled(ctx)
}
