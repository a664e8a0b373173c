package kube

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"fairlead.dev/fairlead/pkg/network"
)

const (
	podsResource = "pods"
	nadsResource = "network-attachment-definitions"
)

// onChange calls changed unless an update changed nothing.
func onChange(changed func(), same func(old, new any) bool) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		DeleteFunc: func(any) { changed() },
		UpdateFunc: func(old, new any) {
			if !same(old, new) {
				changed()
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
	return strippedPod(p), nil
}

// strippedPod keeps the annotations that are read, and of them nothing that the parser would
// refuse for its size: all annotations of a pod may have 256 KiB.
func strippedPod(p *corev1.Pod) *corev1.Pod {
	bare := bareMeta(p.ObjectMeta)
	for key, limit := range podAnnotations {
		if text, ok := p.Annotations[key]; ok {
			if bare.Annotations == nil {
				bare.Annotations = map[string]string{}
			}
			bare.Annotations[key] = network.Shorten(text, limit)
		}
	}
	return &corev1.Pod{ObjectMeta: bare, Spec: onlyRequests(p.Spec), Status: corev1.PodStatus{Phase: p.Status.Phase}}
}

// podAnnotations are the annotations of pods that are read, with the number of bytes that may
// mean something.
var podAnnotations = map[string]int{
	network.NetworksAnnotation: network.MaxAnnotationBytes, network.DefaultNetworkAnnotation: network.MaxAnnotationBytes,
	staticPodUID: network.MaxNameBytes, staticPodMirror: network.MaxNameBytes, staticPodSource: network.MaxNameBytes,
}

func stripMeta(o any) (any, error) {
	m, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return o, nil
	}
	bare := bareMeta(m.ObjectMeta)
	bare.Labels = m.Labels
	return &metav1.PartialObjectMetadata{ObjectMeta: bare}, nil
}

func stripConfigMap(o any) (any, error) {
	m, ok := o.(*corev1.ConfigMap)
	if !ok {
		return o, nil
	}
	return &corev1.ConfigMap{ObjectMeta: bareMeta(m.ObjectMeta), Data: m.Data}, nil
}

func bareMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion, DeletionTimestamp: m.DeletionTimestamp}
}
