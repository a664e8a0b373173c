package sandbox

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/ledger"
)

const (
	// maxFailing bounds the pods that are remembered: several times the pods of a node.
	maxFailing = 256
	// failureOver is how long a failure is remembered if neither the pod's success nor its end
	// becomes known. The kubelet tries again within minutes.
	failureOver = time.Hour
)

// AttachFailure has the failed Attaches of one pod; the cause is that of the last.
type AttachFailure struct {
	Pod             ledger.PodRef
	Network, IfName string // empty: the step is not of one network
	Step, Cause     string
	Count           int
	First, Last     time.Time
}

// failures remembers the pods whose networks could not be made, until they are made or the pod
// is gone. It is not kept over a restart: the kubelet tries again.
type failures struct {
	now func() time.Time

	mu     sync.Mutex // guards all below
	pods   map[ledger.PodRef]AttachFailure
	counts AttachCounts
}

// AttachCounts counts the Attaches since the start.
type AttachCounts struct{ Succeeded, Failed int64 }

func newFailures(now func() time.Time) *failures {
	return &failures{now: now, pods: map[ledger.PodRef]AttachFailure{}}
}

// note takes the outcome of an Attach.
func (f *failures) note(pod ledger.PodRef, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.counts.Succeeded++
		f.forgetLocked(pod.Namespace, pod.Name)
		return
	}
	f.counts.Failed++
	if pod.Name == "" {
		return
	}
	had, known := f.pods[pod]
	if !known {
		f.makeRoom()
		had.First = f.now()
	}
	next := AttachFailure{Pod: pod, Cause: err.Error(), Count: had.Count + 1, First: had.First, Last: f.now()}
	var own *Error
	if errors.As(err, &own) {
		next.Network, next.IfName, next.Step, next.Cause = own.Network, own.IfName, own.Step, own.Err.Error()
	}
	f.pods[pod] = next
}

// makeRoom forgets the pod that failed longest ago.
func (f *failures) makeRoom() {
	if len(f.pods) < maxFailing {
		return
	}
	var oldest AttachFailure
	for _, a := range f.pods {
		if oldest.Count == 0 || a.Last.Before(oldest.Last) {
			oldest = a
		}
	}
	delete(f.pods, oldest.Pod)
}

// forget drops the failures of a pod that is gone.
func (f *failures) forget(namespace, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgetLocked(namespace, name)
}

func (f *failures) forgetLocked(namespace, name string) {
	for pod := range f.pods {
		if pod.Namespace == namespace && pod.Name == name {
			delete(f.pods, pod)
		}
	}
}

func (f *failures) list() ([]AttachFailure, AttachCounts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []AttachFailure
	for pod, a := range f.pods {
		if f.now().Sub(a.Last) > failureOver {
			delete(f.pods, pod)
			continue
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b AttachFailure) int { return strings.Compare(a.Pod.String(), b.Pod.String()) })
	return all, f.counts
}
