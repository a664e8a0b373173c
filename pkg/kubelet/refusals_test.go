package kubelet_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// limitedKubelet refuses as the kubelet does: 100 questions a second of all clients,
// ten at once (pkg/kubelet/apis/podresources/constants.go of Kubernetes).
type limitedKubelet struct {
	fakeKubelet
	limit            *rate.Limiter
	questions, lists atomic.Int32
}

func newLimitedKubelet(pods ...*v1.PodResources) *limitedKubelet {
	return &limitedKubelet{fakeKubelet: fakeKubelet{pods: pods}, limit: rate.NewLimiter(100, 10)}
}

func (k *limitedKubelet) Get(ctx context.Context, req *v1.GetPodResourcesRequest) (*v1.GetPodResourcesResponse, error) {
	k.questions.Add(1)
	if !k.limit.Allow() {
		return nil, status.Error(codes.ResourceExhausted, "rejected by rate limit")
	}
	return k.fakeKubelet.Get(ctx, req)
}

func (k *limitedKubelet) List(context.Context, *v1.ListPodResourcesRequest) (*v1.ListPodResourcesResponse, error) {
	k.questions.Add(1)
	k.lists.Add(1)
	if !k.limit.Allow() {
		return nil, status.Error(codes.ResourceExhausted, "rejected by rate limit")
	}
	return &v1.ListPodResourcesResponse{PodResources: k.pods}, nil
}

// devices A5: 64 ADDs at once all get their devices, by few questions.
func TestManyAddsAtOnce(t *testing.T) {
	const adds = 64
	var pods []*v1.PodResources
	for i := range adds {
		pods = append(pods, &v1.PodResources{Namespace: "nfv", Name: fmt.Sprint("p", i),
			Containers: []*v1.ContainerResources{container("main", devices("fairlead.dev/fast", fmt.Sprintf("0000:3b:%02x.0", i)))}})
	}
	for _, rival := range []bool{false, true} {
		t.Run(fmt.Sprint("another client uses the limit up: ", rival), func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "k.sock")
			k := newLimitedKubelet(pods...)
			serve(t, socket, k)
			c := client(t, socket)
			if rival {
				k.limit.AllowN(time.Now(), 10)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var all sync.WaitGroup
			for i := range adds {
				all.Go(func() {
					got, err := c.PodDevices(ctx, "nfv", fmt.Sprint("p", i))
					if want := fmt.Sprintf("0000:3b:%02x.0", i); err != nil || len(got["fairlead.dev/fast"]) != 1 || got["fairlead.dev/fast"][0] != want {
						t.Errorf("p%d: %v, %v; want %s", i, got, err, want)
					}
				})
			}
			all.Wait()
			if n := k.questions.Load(); n > 16 {
				t.Errorf("the kubelet was asked %d times for %d pods", n, adds)
			}
		})
	}
}

// A list that was asked for before a pod existed must not answer for it.
func TestASharedListIsNeverOlderThanTheQuestion(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "k.sock")
	k := &slowKubelet{entered: make(chan struct{}), answer: make(chan []*v1.PodResources)}
	serve(t, socket, k)
	c := client(t, socket)
	ask := func(into chan<- int) {
		allocated, err := c.Allocated(t.Context())
		if err != nil {
			t.Error(err)
		}
		into <- len(allocated)
	}
	first, later := make(chan int, 1), make(chan int, 2)
	go ask(first)
	<-k.entered
	go ask(later)
	go ask(later)
	k.answer <- nil
	<-k.entered
	time.Sleep(10 * time.Millisecond) // the second of the two may come after the list has begun
	k.answer <- node
	select {
	case <-k.entered:
		k.answer <- node
	case n := <-later:
		later <- n
	}
	if a, b, d := <-first, <-later, <-later; a != 0 || b != 2 || d != 2 {
		t.Errorf("resources: %d before, %d and %d after; want 0, 2, 2", a, b, d)
	}
}

type slowKubelet struct {
	v1.UnimplementedPodResourcesListerServer
	entered chan struct{}
	answer  chan []*v1.PodResources
}

func (k *slowKubelet) List(context.Context, *v1.ListPodResourcesRequest) (*v1.ListPodResourcesResponse, error) {
	k.entered <- struct{}{}
	return &v1.ListPodResourcesResponse{PodResources: <-k.answer}, nil
}

// A kubelet that refuses for good fails the call at its deadline, with the reason.
func TestRefusalsUntilTheDeadline(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "k.sock")
	k := newLimitedKubelet()
	k.limit = rate.NewLimiter(0, 0)
	serve(t, socket, k)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := client(t, socket).PodDevices(ctx, "nfv", "p")
	if err == nil || !strings.Contains(err.Error(), "its limit of 100 a second") || strings.Contains(err.Error(), "is the kubelet running") {
		t.Errorf("error %v, want one that names the kubelet's limit", err)
	}
	if n := k.questions.Load(); n < 3 || n > 20 {
		t.Errorf("asked %d times within 300 ms", n)
	}
}
