package kube

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// watched is an informer with the state of its watch of the API server.
type watched struct {
	what     string // "pods", "configmap fairlead-profiles"
	informer cache.SharedIndexInformer

	// Guarded by Client.mu.
	err  error  // the last failure; nil while the watch is up
	kind string // the class of err, so that each class is logged once
}

// observe records when a watch is refused and when it is up again. The reflector's error
// handler hears of neither: if an API server refuses connections, the reflector retries by
// itself. A successful list does not count, since the watch that follows may still be
// forbidden.
func (c *Client) observe(w *watched, lw cache.ListerWatcher) cache.ListerWatcher {
	inner := cache.ToListerWatcherWithContext(lw)
	return &cache.ListWatch{
		ListWithContextFunc: inner.ListWithContext,
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			stream, err := inner.WatchWithContext(ctx, o)
			if err != nil {
				c.watchFailed(w, err)
				return nil, err
			}
			c.watchStands(w)
			return stream, nil
		},
	}
}

// watchFailed stores a watch's error, and logs it if its class is new: the texts of one failure
// differ from try to try, by ports and timeouts. The reflector retries with backoff.
func (c *Client) watchFailed(w *watched, err error) {
	if expected(err) {
		return
	}
	kind := failure(err)
	err = c.explain("watch "+w.what, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.kind != kind {
		c.log.Warn("watch of the API server failed; trying again", "resource", w.what, "error", err)
	}
	w.err, w.kind = err, kind
}

func (c *Client) watchStands(w *watched) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.err != nil {
		c.log.Info("watch of the API server restored", "resource", w.what)
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

// Problems returns a sentence for each watch that fails or has not begun, with the reason.
func (c *Client) Problems() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, w := range c.watches {
		switch synced := w.informer.HasSynced(); {
		case synced && w.err != nil:
			out = append(out, fmt.Sprintf("%v (the last content read stays in effect)", w.err))
		case !synced && w.err != nil:
			out = append(out, fmt.Sprintf("%v (not read since the agent's start)", w.err))
		case !synced:
			out = append(out, fmt.Sprintf("watch %s: %v (not read since the agent's start)", w.what, c.unanswered()))
		}
	}
	if _, found, err := c.node.GetStore().GetByKey(c.o.NodeName); err == nil && !found && c.node.HasSynced() {
		out = append(out, fmt.Sprintf("the API server has no node %s, whose labels profiles select by: set --node-name to the node's name there", c.o.NodeName))
	}
	return out
}

// cause returns why an informer has read nothing yet; c.mu is held.
func (c *Client) cause(i cache.SharedIndexInformer) error {
	for _, w := range c.watches {
		if w.informer == i && w.err != nil {
			return w.err
		}
	}
	return c.unanswered()
}

func (c *Client) unanswered() error {
	return fmt.Errorf("the API server at %s has not answered", c.host)
}
