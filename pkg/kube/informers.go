package kube

import (
	"context"
	"maps"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

const (
	podsResource = "pods"
	nadsResource = "network-attachment-definitions"
)

// newInformers creates the caches. Each requests and keeps only the fields that are read.
func (c *Client) newInformers() error {
	var err error
	ofNode := fields.OneTermEqualSelector("spec.nodeName", c.o.NodeName)
	if c.pods, err = c.informer(podsResource, &corev1.Pod{}, stripPod,
		cache.NewListWatchFromClient(c.core, podsResource, metav1.NamespaceAll, ofNode)); err != nil {
		return err
	}
	// If the CRD is missing, the watch is retried until it appears, with pauses of a few
	// seconds at first and 30 at most.
	if c.networks, err = c.informer(nadsResource, &nadv1.NetworkAttachmentDefinition{}, c.parseNetwork,
		cache.NewListWatchFromClient(c.nads, nadsResource, metav1.NamespaceAll, fields.Everything())); err != nil {
		return err
	}
	// A node's status changes every few seconds: only its metadata is requested.
	if c.node, err = c.informer("node", &metav1.PartialObjectMetadata{}, stripMeta,
		c.metaListWatch(corev1.SchemeGroupVersion.WithResource("nodes"), "", c.o.NodeName)); err != nil {
		return err
	}
	if _, err = c.node.AddEventHandler(c.onChange(sameLabels)); err != nil {
		return err
	}
	for _, name := range c.o.ConfigMaps {
		if err := c.newConfigMapInformer(name); err != nil {
			return err
		}
	}
	if c.o.DaemonSet == "" {
		return nil
	}
	if c.daemonSet, err = c.informer("daemonset", &metav1.PartialObjectMetadata{}, stripMeta,
		c.metaListWatch(daemonSets, c.o.Namespace, c.o.DaemonSet)); err != nil {
		return err
	}
	_, err = c.daemonSet.AddEventHandler(c.ownHandler())
	return err
}

func (c *Client) newConfigMapInformer(name string) error {
	i, err := c.informer("configmap "+name, &corev1.ConfigMap{}, stripConfigMap,
		cache.NewListWatchFromClient(c.core, "configmaps", c.o.Namespace, named(name)))
	if err != nil {
		return err
	}
	c.configMaps[name] = i
	_, err = i.AddEventHandler(c.onChange(sameData))
	return err
}

func (c *Client) informer(what string, example runtime.Object, strip cache.TransformFunc, lw cache.ListerWatcher) (cache.SharedIndexInformer, error) {
	w := &watched{what: what}
	w.informer = cache.NewSharedIndexInformer(c.observe(w, lw), example, 0, cache.Indexers{})
	if err := w.informer.SetTransform(strip); err != nil {
		return nil, err
	}
	err := w.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { c.watchFailed(w, err) })
	c.watches = append(c.watches, w)
	return w.informer, err
}

func (c *Client) metaListWatch(resource schema.GroupVersionResource, namespace, name string) cache.ListerWatcher {
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

// onChange calls Options.Changed unless an update changed nothing.
func (c *Client) onChange(same func(old, new any) bool) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { c.o.Changed() },
		DeleteFunc: func(any) { c.o.Changed() },
		UpdateFunc: func(old, new any) {
			if !same(old, new) {
				c.o.Changed()
			}
		},
	}
}

func sameLabels(old, new any) bool {
	a, okA := old.(*metav1.PartialObjectMetadata)
	b, okB := new.(*metav1.PartialObjectMetadata)
	return okA && okB && maps.Equal(a.Labels, b.Labels)
}

func sameData(old, new any) bool {
	a, okA := old.(*corev1.ConfigMap)
	b, okB := new.(*corev1.ConfigMap)
	return okA && okB && maps.Equal(a.Data, b.Data)
}

// The strippers drop the fields that nobody reads: there may be thousands of objects.

func stripPod(o any) (any, error) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	return &corev1.Pod{
		ObjectMeta: bareMeta(p.ObjectMeta),
		Status:     corev1.PodStatus{Phase: p.Status.Phase},
	}, nil
}

func stripMeta(o any) (any, error) {
	m, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return o, nil
	}
	bare := bareMeta(m.ObjectMeta)
	bare.Labels, bare.Annotations = m.Labels, nil
	return &metav1.PartialObjectMetadata{ObjectMeta: bare}, nil
}

func stripConfigMap(o any) (any, error) {
	m, ok := o.(*corev1.ConfigMap)
	if !ok {
		return o, nil
	}
	bare := bareMeta(m.ObjectMeta)
	bare.Annotations = nil
	return &corev1.ConfigMap{ObjectMeta: bare, Data: m.Data}, nil
}

func bareMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	annotations := m.Annotations
	if _, ok := annotations[corev1.LastAppliedConfigAnnotation]; ok {
		annotations = maps.Clone(annotations) // the object may be shared
		delete(annotations, corev1.LastAppliedConfigAnnotation)
	}
	return metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		DeletionTimestamp: m.DeletionTimestamp, Annotations: annotations,
	}
}
