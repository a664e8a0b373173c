package kube

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"

	"fairlead.dev/fairlead/pkg/network"
)

// staticPodUID is the annotation of a static pod's mirror in the API server. It has the UID
// that the kubelet and the runtime use for the pod.
const staticPodUID = "kubernetes.io/config.hash"

// podCache has the pods of the node.
type podCache struct {
	conn *connection
	pods cache.SharedIndexInformer
}

func newPodCache(c *connection, w *watches) (*podCache, error) {
	ofNode := fields.OneTermEqualSelector("spec.nodeName", c.o.NodeName)
	i, err := w.informer(podsResource, &corev1.Pod{}, stripPod,
		cache.NewListWatchFromClient(c.core, podsResource, metav1.NamespaceAll, ofNode))
	if err != nil {
		return nil, err
	}
	_, err = i.AddEventHandler(onEnd(c.o.PodEnded))
	return &podCache{c, i}, err
}

// onEnd calls ended when a pod is gone, or has reached its last phase.
func onEnd(ended func(namespace, name string)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(old, now any) {
			before, _ := old.(*corev1.Pod)
			if p, ok := now.(*corev1.Pod); ok && before != nil && over(p) && !over(before) {
				ended(p.Namespace, p.Name)
			}
		},
		DeleteFunc: func(gone any) {
			if missed, ok := gone.(cache.DeletedFinalStateUnknown); ok {
				gone = missed.Obj
			}
			if p, ok := gone.(*corev1.Pod); ok {
				ended(p.Namespace, p.Name)
			}
		},
	}
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
	ctx, cancel := context.WithTimeout(ctx, c.conn.o.RequestTimeout)
	defer cancel()
	p := &corev1.Pod{}
	if err := c.conn.core.Get().Namespace(namespace).Resource(podsResource).Name(name).Do(ctx).Into(p); err != nil {
		return nil, c.conn.explain(doing, err)
	}
	if !isPod(p, uid) {
		return nil, fmt.Errorf("%s: the pod with UID %s is gone, and another (UID %s) has its name: %w", doing, uid, p.UID, network.ErrNotFound)
	}
	return p, nil
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
	return uid == "" || string(p.UID) == uid || p.Annotations[staticPodUID] == uid
}

// terminal reports whether a pod is over. A deletionTimestamp is the moment at which the grace
// period ends.
func terminal(p *corev1.Pod, now time.Time) bool {
	return over(p) ||
		p.DeletionTimestamp != nil && now.After(p.DeletionTimestamp.Time)
}

// over reports whether all containers of a pod have ended for good.
func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}
