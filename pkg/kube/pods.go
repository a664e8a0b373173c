package kube

import (
	"context"
	"fmt"
	"strings"
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
	if err != nil {
		return nil, err
	}
	if c.o.PodChanged != nil {
		if _, err := i.AddEventHandler(onAnnotation(c.o.PodChanged)); err != nil {
			return nil, err
		}
	}
	_, err = i.AddEventHandler(onEnd(c.o.PodEnded))
	return &podCache{c, i}, err
}

// onAnnotation calls changed for each pod, and again when its networks annotation changes.
func onAnnotation(changed func(namespace, name string)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			if p, ok := o.(*corev1.Pod); ok {
				changed(p.Namespace, p.Name)
			}
		},
		UpdateFunc: func(old, now any) {
			before, _ := old.(*corev1.Pod)
			p, ok := now.(*corev1.Pod)
			if ok && before != nil && (before.UID != p.UID || before.Annotations[network.NetworksAnnotation] != p.Annotations[network.NetworksAnnotation]) {
				changed(p.Namespace, p.Name)
			}
		},
	}
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
		Annotations: p.Annotations, Terminal: terminal(p, time.Now()), Requests: requests(p.Spec),
	}, nil
}

// requests lists the containers' requests of extended resources, in the order of the spec.
func requests(spec corev1.PodSpec) []network.Request {
	var all []network.Request
	add := func(c corev1.Container, init bool) {
		for name, quantity := range c.Resources.Requests {
			if isExtended(name) && !quantity.IsZero() {
				all = append(all, network.Request{Resource: string(name), Container: c.Name, Init: init})
			}
		}
	}
	for _, c := range spec.InitContainers {
		add(c, c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways)
	}
	for _, c := range spec.Containers {
		add(c, false)
	}
	return all
}

// isExtended reports a resource that device plugins can have: Kubernetes' own have no
// domain, or its own.
func isExtended(name corev1.ResourceName) bool {
	domain, _, found := strings.Cut(string(name), "/")
	return found && !strings.HasSuffix(domain, "kubernetes.io")
}

// onlyRequests returns the part of a spec that requests reads.
func onlyRequests(spec corev1.PodSpec) corev1.PodSpec {
	return corev1.PodSpec{InitContainers: requesters(spec.InitContainers), Containers: requesters(spec.Containers)}
}

func requesters(containers []corev1.Container) []corev1.Container {
	var kept []corev1.Container
	for _, c := range containers {
		extended := corev1.ResourceList{}
		for name, quantity := range c.Resources.Requests {
			if isExtended(name) {
				extended[name] = quantity
			}
		}
		if len(extended) > 0 {
			kept = append(kept, corev1.Container{Name: c.Name, RestartPolicy: c.RestartPolicy, Resources: corev1.ResourceRequirements{Requests: extended}})
		}
	}
	return kept
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
	return over(p) ||
		p.DeletionTimestamp != nil && now.After(p.DeletionTimestamp.Time)
}

// over reports whether all containers of a pod have ended for good.
func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}
