package kube

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// lab "allocated, in no network lingers": the end of a pod is news, once.
func TestTheEndOfAPodIsReported(t *testing.T) {
	pod := func(phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: "p"}, Status: corev1.PodStatus{Phase: phase}}
	}
	for name, tt := range map[string]struct {
		event func(cache.ResourceEventHandler)
		want  string
	}{
		"begins":         {func(h cache.ResourceEventHandler) { h.OnAdd(pod(corev1.PodPending), false) }, ""},
		"runs":           {func(h cache.ResourceEventHandler) { h.OnUpdate(pod(corev1.PodPending), pod(corev1.PodRunning)) }, ""},
		"succeeds":       {func(h cache.ResourceEventHandler) { h.OnUpdate(pod(corev1.PodRunning), pod(corev1.PodSucceeded)) }, "d/p "},
		"stays so":       {func(h cache.ResourceEventHandler) { h.OnUpdate(pod(corev1.PodFailed), pod(corev1.PodFailed)) }, ""},
		"is deleted":     {func(h cache.ResourceEventHandler) { h.OnDelete(pod(corev1.PodRunning)) }, "d/p "},
		"was missed":     {func(h cache.ResourceEventHandler) { h.OnDelete(cache.DeletedFinalStateUnknown{Obj: pod("")}) }, "d/p "},
		"is no pod":      {func(h cache.ResourceEventHandler) { h.OnDelete("x") }, ""},
		"updates no pod": {func(h cache.ResourceEventHandler) { h.OnUpdate("x", "x") }, ""},
	} {
		got := ""
		tt.event(onEnd(func(namespace, name string) { got += namespace + "/" + name + " " }))
		if got != tt.want {
			t.Errorf("a pod that %s: %q, want %q", name, got, tt.want)
		}
	}
}

// lab, words at 3 a.m.: "Logs mix slog and klog lines".
func TestClientGoLogsThroughSlog(t *testing.T) {
	var out bytes.Buffer
	LogTo(slog.New(slog.NewTextHandler(&out, nil)))
	defer klog.ClearLogger()
	klog.ErrorS(errors.New("no route"), "Failed to watch", "type", "Pod")
	klog.Warning("watch closed")
	for i, want := range []string{`level=ERROR msg="Failed to watch" err="no route" type=Pod`, `level=INFO msg="watch closed`} {
		lines := strings.Split(out.String(), "\n")
		if len(lines) <= i || !strings.Contains(lines[i], want) {
			t.Errorf("logged\n%s\nwant %q", out.String(), want)
		}
	}
}
