package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
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
	// RequestTimeout limits one request; 0: 5 seconds.
	RequestTimeout time.Duration
	Log            *slog.Logger
}

const defaultRequestTimeout = 5 * time.Second

// Client is the agent's view of the cluster. Its methods may be called from several goroutines,
// before, during and after Run.
type Client struct {
	o    Options
	log  *slog.Logger
	host string // the API server's host, for messages

	core rest.Interface
	nads rest.Interface
	meta metadata.Interface

	pods       cache.SharedIndexInformer
	networks   cache.SharedIndexInformer
	node       cache.SharedIndexInformer
	configMaps map[string]cache.SharedIndexInformer // name -> informer
	daemonSet  cache.SharedIndexInformer            // nil: no DaemonSet to watch

	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder

	watches []*watched // one for each informer; fixed after New

	mu  sync.Mutex // guards the fields below, and the contents of watches
	own ownDaemonSet
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
	c := &Client{o: o, log: o.Log, host: cfg.Host, configMaps: map[string]cache.SharedIndexInformer{}}
	if err := c.connect(cfg); err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	if err := c.newInformers(); err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	c.newRecorder()
	return c, nil
}

// connect creates the clients, which share one connection. The scheme has only the kinds in
// use: the scheme of client-go's clientset has all of Kubernetes, some 10 MiB of the agent's
// binary.
func (c *Client) connect(cfg *rest.Config) error {
	cfg = rest.CopyConfig(cfg)
	// No client-side limit: an agent's calls are few, but come in bursts when many pods start
	// at once, and each delayed call delays a pod. The API server ensures fairness among its
	// clients.
	cfg.QPS = -1
	cfg.UserAgent = "fairlead-agent/" + c.o.NodeName
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	shared, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return err
	}
	core := rest.CopyConfig(cfg)
	core.APIPath, core.GroupVersion = "/api", &corev1.SchemeGroupVersion
	core.ContentType = runtime.ContentTypeProtobuf
	core.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	if c.core, err = rest.RESTClientForConfigAndClient(core, shared); err != nil {
		return err
	}
	nads := rest.CopyConfig(cfg)
	nads.APIPath, nads.GroupVersion = "/apis", &nadv1.SchemeGroupVersion
	if c.nads, err = rest.RESTClientForConfigAndClient(nads, shared); err != nil {
		return err
	}
	c.meta, err = metadata.NewForConfigAndClient(metadata.ConfigFor(cfg), shared)
	return err
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return scheme, errors.Join(corev1.AddToScheme(scheme), nadv1.AddToScheme(scheme))
}

// Run watches until ctx ends. The caches stay readable afterwards.
func (c *Client) Run(ctx context.Context) error {
	c.broadcaster.StartRecordingToSink(eventSink{c})
	defer c.broadcaster.Shutdown()
	var wg sync.WaitGroup
	for _, w := range c.watches {
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
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Errorf("the pods of node %s have not been read yet: %w", c.o.NodeName, c.cause(c.pods))
}
