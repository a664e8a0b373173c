package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// connection sends requests to the API server.
type connection struct {
	o    Options
	log  *slog.Logger
	host string // the API server's host, for messages

	// large has a place for each object that may be requested whole at the same time.
	large places

	core rest.Interface
	nads rest.Interface
	meta metadata.Interface
}

// LargeRequests is how many objects may be requested whole at the same time. The API server
// takes objects of 1.5 MB, and decoding one takes a few times as much.
const LargeRequests = 4

// connect creates the clients, which share one connection. The scheme has only the kinds in
// use: the scheme of client-go's clientset has all of Kubernetes, some 10 MiB of the agent's
// binary.
func connect(cfg *rest.Config, o Options) (*connection, error) {
	c := &connection{o: o, log: o.Log, host: cfg.Host, large: make(places, LargeRequests)}
	cfg = rest.CopyConfig(cfg)
	// No client-side limit: an agent's calls are few, but come in bursts when many pods start
	// at once, and each delayed call delays a pod. The API server ensures fairness among its
	// clients.
	cfg.QPS = -1
	cfg.UserAgent = "fairlead-agent/" + c.o.NodeName
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	shared, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	core := rest.CopyConfig(cfg)
	core.APIPath, core.GroupVersion = "/api", &corev1.SchemeGroupVersion
	core.ContentType = runtime.ContentTypeProtobuf
	core.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	if c.core, err = rest.RESTClientForConfigAndClient(core, shared); err != nil {
		return nil, err
	}
	nads := rest.CopyConfig(cfg)
	nads.APIPath, nads.GroupVersion = "/apis", &nadv1.SchemeGroupVersion
	if c.nads, err = rest.RESTClientForConfigAndClient(nads, shared); err != nil {
		return nil, err
	}
	c.meta, err = metadata.NewForConfigAndClient(metadata.ConfigFor(cfg), shared)
	return c, err
}

// places is a number of places for work of one kind.
type places chan struct{}

// take waits for a place, until ctx ends. leave gives it up.
func (p places) take(ctx context.Context) (leave func(), err error) {
	select {
	case p <- struct{}{}:
		return func() { <-p }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return scheme, errors.Join(corev1.AddToScheme(scheme), nadv1.AddToScheme(scheme))
}

// metaListWatch watches the metadata of one object.
func (c *connection) metaListWatch(resource schema.GroupVersionResource, namespace, name string) cache.ListerWatcher {
	r := c.meta.Resource(resource).Namespace(namespace)
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = named(name).String()
			return r.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = named(name).String()
			return r.Watch(ctx, o)
		},
	}
}

func named(name string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", name) }

// unanswered is the cause of everything that has not been read yet, unless a watch knows a better
// one.
func (c *connection) unanswered() error {
	return fmt.Errorf("the API server at %s has not answered", c.host)
}
