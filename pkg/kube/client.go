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

// Options configure the watches of a Client, and its patience.
type Options struct {
	NodeName   string
	Namespace  string   // of the agent's own objects
	DaemonSet  string   // the agent's own; empty: Uninstalled is always false
	ConfigMaps []string // names in Namespace

	// Changed is called when the node's labels or a ConfigMap's data changed. It
	// must not block.
	Changed func()
	// RequestTimeout bounds one request; 0: 5 seconds.
	RequestTimeout time.Duration
	Log            *slog.Logger
}

const defaultRequestTimeout = 5 * time.Second

// Client is the agent's view of the cluster. Its methods may be called from
// several goroutines, also before and after Run.
type Client struct {
	o    Options
	log  *slog.Logger
	host string // of the API server, for messages

	core rest.Interface
	nads rest.Interface
	meta metadata.Interface

	pods       cache.SharedIndexInformer
	networks   cache.SharedIndexInformer
	node       cache.SharedIndexInformer
	configMaps map[string]cache.SharedIndexInformer // by name
	daemonSet  cache.SharedIndexInformer            // nil: none to watch

	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder

	watches []*watched // one for each informer; the list is not changed after New

	mu  sync.Mutex // guards all below, and the contents of watches
	own ownDaemonSet
}

// New makes a Client, which knows nothing until Run. An empty kubeconfig means
// the ServiceAccount of the pod that the agent runs in; client-go reads its token
// again after each rotation (m#852).
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
			return nil, fmt.Errorf("API server: not in a pod with a ServiceAccount, and no kubeconfig given: %w", err)
		}
		return cfg, nil
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("API server: kubeconfig %s: %w", kubeconfig, err)
	}
	return cfg, nil
}

func newForConfig(cfg *rest.Config, o Options) (*Client, error) {
	if o.NodeName == "" {
		return nil, errors.New("API server: the node's name is not set; the manifest passes it as --node-name")
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
		return nil, fmt.Errorf("API server: %w", err)
	}
	if err := c.newInformers(); err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	c.newRecorder()
	return c, nil
}

// connect makes the clients, which share one connection. The scheme holds just
// the kinds in use: that of client-go's clientset holds all of Kubernetes, some
// 10 MiB of the agent's binary.
func (c *Client) connect(cfg *rest.Config) error {
	cfg = rest.CopyConfig(cfg)
	// No limit on this side: one agent's calls are few, but come in bursts when many
	// pods start at once, and a call that waits here is a pod that waits. The API
	// server has its own fairness among clients.
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

// Run watches until ctx ends. The caches stay readable after that.
func (c *Client) Run(ctx context.Context) error {
	c.broadcaster.StartRecordingToSink(eventSink{c})
	defer c.broadcaster.Shutdown()
	var wg sync.WaitGroup
	for _, w := range c.watches {
		wg.Go(func() { w.informer.RunWithContext(ctx) })
	}
	for _, i := range c.configMaps {
		wg.Go(func() { c.tellOfAbsence(ctx, i) })
	}
	wg.Wait()
	return nil
}

// Ready says why pods cannot be looked up: their cache has not been filled since
// the agent's start. An API server that goes away later does not keep pods that
// it has told of from being attached.
func (c *Client) Ready() error {
	if c.pods.HasSynced() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Errorf("the pods of node %s are not known yet: %w", c.o.NodeName, c.cause(c.pods))
}
