package kubelet

import (
	"cmp"
	"context"
	"sync"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/status"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"fairlead.dev/fairlead/pkg/retry"
)

// sharedList answers many callers by one List. A caller gets only a list that was
// asked for after it came: an earlier one may lack its pod.
type sharedList struct {
	client podresources.PodResourcesListerClient
	limit  *rate.Limiter

	mu      sync.Mutex // guards what follows
	next    *listRound // that callers join; nil: nobody waits for one
	running bool       // a goroutine works on rounds, and ends when nobody waits
}

// listRound is one List and its callers.
type listRound struct {
	answered chan struct{} // closed when pods and err are set
	pods     []*podresources.PodResources
	err      error

	ctx    context.Context // ends when the last caller has left
	cancel context.CancelFunc

	joined  int   // guarded by sharedList.mu, as is the next
	refusal error // the kubelet's last one
}

// get returns the devices of all pods of the node. It shares the call with everybody
// who comes before it begins.
func (s *sharedList) get(ctx context.Context) ([]*podresources.PodResources, error) {
	r := s.join()
	defer s.leave(r)
	select {
	case <-r.answered:
		return r.pods, r.err
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		return nil, cmp.Or(r.refusal, status.FromContextError(ctx.Err()).Err())
	}
}

func (s *sharedList) join() *listRound {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = &listRound{answered: make(chan struct{})}
		s.next.ctx, s.next.cancel = context.WithCancel(context.Background())
	}
	s.next.joined++
	if !s.running {
		s.running = true
		go s.work()
	}
	return s.next
}

func (s *sharedList) leave(r *listRound) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.joined--; r.joined > 0 {
		return
	}
	r.cancel()
	if s.next == r {
		s.next = nil
	}
}

// work makes round after round until nobody waits.
func (s *sharedList) work() {
	for {
		r := s.begin()
		if r == nil {
			return
		}
		r.pods, r.err = s.ask(r)
		close(r.answered)
	}
}

// begin closes the next round to further callers.
func (s *sharedList) begin() *listRound {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.next
	s.next = nil
	s.running = r != nil
	return r
}

// ask asks within the limit, and again after each refusal, while anybody waits.
func (s *sharedList) ask(r *listRound) ([]*podresources.PodResources, error) {
	for refusals := 0; ; {
		if err := s.limit.Wait(r.ctx); err != nil {
			return nil, err
		}
		got, err := s.client.List(r.ctx, &podresources.ListPodResourcesRequest{})
		if !refused(err) {
			return got.GetPodResources(), err
		}
		s.mu.Lock()
		r.refusal = err
		s.mu.Unlock()
		refusals++
		if err := retry.Sleep(r.ctx, pauseAfter(refusals)); err != nil {
			return nil, err
		}
	}
}
