package kube

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"fairlead.dev/fairlead/pkg/network"
)

// The annotations of a static pod's mirror in the API server. The hash is the UID that the
// kubelet and the runtime use for the pod. The kubelet writes it as the mirror's mark too.
const (
	staticPodUID    = "kubernetes.io/config.hash"
	staticPodMirror = "kubernetes.io/config.mirror"
	staticPodSource = "kubernetes.io/config.source"
)

// podCache has the pods of the node.
type podCache struct {
	conn *connection
	pods cache.SharedIndexInformer
}

func newPodCache(c *connection, w *watches) (*podCache, error) {
	ofNode := fields.OneTermEqualSelector("spec.nodeName", c.o.NodeName)
	i, err := w.informer(podsResource, &corev1.Pod{}, stripPod,
		streamed(c.core, podsResource, ofNode, podItem))
	return &podCache{c, i}, err
}

// podItem strips a pod of a list.
func podItem(item []byte) (runtime.Object, error) {
	p := &corev1.Pod{}
	if err := decodeItem(item, p); err != nil {
		return nil, err
	}
	return strippedPod(p), nil
}

// Pod finds a pod of this node. An empty uid matches any. The error wraps network.ErrNotFound
// if the pod is gone, or if another pod has its name.
func (c *podCache) Pod(ctx context.Context, namespace, name, uid string) (network.Pod, error) {
	p, err := c.pod(ctx, namespace, name, uid)
	if err != nil {
		return network.Pod{}, err
	}
	return network.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID),
		Annotations: p.Annotations, Terminal: terminal(p, time.Now()),
	}, nil
}

// pod asks the API server only if the cache cannot have the answer: the pod is so new that its
// event has not arrived, or it has replaced the pod in the cache.
func (c *podCache) pod(ctx context.Context, namespace, name, uid string) (*corev1.Pod, error) {
	if p, ok := c.cachedPod(namespace, name, uid); ok {
		return p, nil
	}
	doing := fmt.Sprintf("get pod %s/%s", namespace, name)
	leave, err := c.conn.large.take(ctx)
	if err != nil {
		return nil, c.conn.explain(doing, err)
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, c.conn.o.RequestTimeout)
	defer cancel()
	p := &corev1.Pod{}
	if err := c.conn.core.Get().Namespace(namespace).Resource(podsResource).Name(name).Do(ctx).Into(p); err != nil {
		return nil, c.conn.explain(doing, err)
	}
	if !isPod(p, uid) {
		return nil, fmt.Errorf("%s: the pod with UID %s is gone, and another (UID %s) has its name: %w", doing, uid, p.UID, network.ErrNotFound)
	}
	return strippedPod(p), nil
}

func (c *podCache) cachedPod(namespace, name, uid string) (*corev1.Pod, bool) {
	o, found, err := c.pods.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !found {
		return nil, false
	}
	p, ok := o.(*corev1.Pod)
	return p, ok && isPod(p, uid)
}

func isPod(p *corev1.Pod, uid string) bool {
	return uid == "" || string(p.UID) == uid || isMirror(p, uid)
}

// isMirror reports that a pod is the mirror of the static pod with the UID. Whoever may write
// pods can write all of these annotations, but the kubelet runs no pod that has the mark: it
// deletes it, unless it has the static pod itself. The hash without the mark is nothing: a
// pod that was created again must not pass for its predecessor.
func isMirror(p *corev1.Pod, uid string) bool {
	source := p.Annotations[staticPodSource]
	return p.Annotations[staticPodUID] == uid && p.Annotations[staticPodMirror] == uid && (source == "file" || source == "http")
}

// terminal reports whether a pod is over. A deletionTimestamp is the moment at which the grace
// period ends.
func terminal(p *corev1.Pod, now time.Time) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed ||
		p.DeletionTimestamp != nil && now.After(p.DeletionTimestamp.Time)
}
