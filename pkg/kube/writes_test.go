package kube

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

// devices C11: the calls of an ADD cost the API server two writes and no read.
// pkg/sandbox's TestCallsToTheAPIServer counts the calls.
func TestWritesOfAnAdd(t *testing.T) {
	s := newAPIServer(t)
	s.put(podPath, podObject("u1"))
	c := start(t, s)
	ref := ledger.PodRef{Namespace: "nfv", Name: "upf", UID: "u1"}
	eventually(t, "the pod is known", func() bool { _, known := c.cachedPod("nfv", "upf", "u1"); return known })
	s.mu.Lock()
	s.requests = nil
	s.mu.Unlock()
	if _, err := c.Pod(t.Context(), "nfv", "upf", "u1"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetNetworkStatus(t.Context(), ref, "[]"); err != nil {
		t.Fatal(err)
	}
	c.Event(ref, "Normal", "AddedInterface", "Add eth0 [10.1.2.3/24] from cluster, net1 [10.1.0.5/24] from default/lan")
	<-s.created
	s.mu.Lock()
	defer s.mu.Unlock()
	want := []string{"PATCH " + podPath + "/status", "POST /api/v1/namespaces/nfv/events"}
	if diff := cmp.Diff(want, s.requests); diff != "" {
		t.Error(diff)
	}
}

// Refusals are final, except for those that speak of this moment or of the token.
func TestWhichRefusalsAreFinal(t *testing.T) {
	s := newAPIServer(t)
	s.put(podPath, podObject("u1"))
	c := start(t, s)
	for code, final := range map[int]bool{400: true, 401: false, 403: true, 405: true, 408: false, 409: false, 413: true, 422: true, 429: false, 500: false, 503: false, 504: false} {
		t.Run(fmt.Sprint(code, " ", http.StatusText(code)), func(t *testing.T) {
			s.setRefusal(func(string, string) error {
				return apierrors.NewGenericServerResponse(code, "patch", schema.GroupResource{Resource: "pods"}, "upf", "no", 0, false)
			})
			err := c.SetNetworkStatus(t.Context(), ledger.PodRef{Namespace: "nfv", Name: "upf", UID: "u1"}, "[]")
			if err == nil || errors.Is(err, network.ErrRefused) != final || errors.Is(err, network.ErrNotFound) {
				t.Errorf("final is %t: %v", !final, err)
			}
		})
	}
}
