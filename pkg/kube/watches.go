package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"fairlead.dev/fairlead/pkg/problem"
)

// watches are the watches of a Client, one for each informer. The list is fixed after New.
type watches struct {
	conn *connection
	list []*watched

	mu sync.Mutex // guards err and kind of each
}

// watched is an informer with the state of its watch of the API server.
type watched struct {
	what     string // "pods", "configmap fairlead-profiles"
	informer cache.SharedIndexInformer

	// Guarded by watches.mu.
	err  error  // the last failure; nil while the watch is up
	kind string // the class of err, so that each class is logged once
}

// informer creates a cache and its watch. strip drops the fields that nobody reads.
func (ws *watches) informer(what string, example runtime.Object, strip cache.TransformFunc, lw cache.ListerWatcher) (cache.SharedIndexInformer, error) {
	w := &watched{what: what}
	w.informer = cache.NewSharedIndexInformer(ws.observe(w, lw), example, 0, cache.Indexers{})
	if err := w.informer.SetTransform(strip); err != nil {
		return nil, err
	}
	err := w.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { ws.failed(w, err) })
	ws.list = append(ws.list, w)
	return w.informer, err
}

// observe records when a watch is refused and when it is up again. The reflector's error
// handler hears of neither: if an API server refuses connections, the reflector retries by
// itself. A successful list does not count, since the watch that follows may still be
// forbidden.
func (ws *watches) observe(w *watched, lw cache.ListerWatcher) cache.ListerWatcher {
	inner := cache.ToListerWatcherWithContext(lw)
	return &cache.ListWatch{
		ListWithContextFunc: inner.ListWithContext,
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			stream, err := inner.WatchWithContext(ctx, o)
			if err != nil {
				ws.failed(w, err)
				return nil, err
			}
			ws.restored(w)
			return stream, nil
		},
	}
}

// failed stores a watch's error, and logs it if its class is new: the texts of one failure
// differ from try to try, by ports and timeouts. The reflector retries with backoff.
func (ws *watches) failed(w *watched, err error) {
	if expected(err) {
		return
	}
	kind := failure(err)
	err = ws.conn.explain("watch "+w.what, err)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.kind != kind {
		ws.conn.log.Warn("watch of the API server failed; trying again", "resource", w.what, "error", err)
	}
	w.err, w.kind = err, kind
}

// restored records that a watch is up.
func (ws *watches) restored(w *watched) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.err != nil {
		ws.conn.log.Info("watch of the API server restored", "resource", w.what)
	}
	w.err, w.kind = nil, ""
}

// failure returns the class of a failed request's error.
func failure(err error) string {
	var status apierrors.APIStatus
	switch {
	case noSuchKind(err):
		return "no such kind"
	case errors.As(err, &status):
		return string(apierrors.ReasonForError(err))
	case unreachable(err):
		return "unreachable"
	}
	return err.Error()
}

// problems lists the watches that fail or have not begun, with the reason.
func (ws *watches) problems() []problem.Problem {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	var out []problem.Problem
	for _, w := range ws.list {
		text := ""
		switch synced := w.informer.HasSynced(); {
		case synced && w.err != nil:
			text = fmt.Sprintf("%v (the last content read stays in effect)", w.err)
		case !synced && w.err != nil:
			text = fmt.Sprintf("%v (not read since the agent's start)", w.err)
		case !synced:
			text = fmt.Sprintf("watch %s: %v (not read since the agent's start)", w.what, ws.conn.unanswered())
		}
		if text != "" {
			out = append(out, problem.Problem{Reason: problem.APIServerUnread, About: w.what, Text: text})
		}
	}
	return out
}

// cause returns why an informer has read nothing yet.
func (ws *watches) cause(i cache.SharedIndexInformer) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.list {
		if w.informer == i && w.err != nil {
			return w.err
		}
	}
	return ws.conn.unanswered()
}
