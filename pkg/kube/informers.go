package kube

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
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
	return &corev1.Pod{
		ObjectMeta: bareMeta(p.ObjectMeta),
		Spec:       onlyRequests(p.Spec),
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
