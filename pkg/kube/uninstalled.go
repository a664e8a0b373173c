package kube

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

var daemonSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}

// ownDaemonSet is the last known state of the agent's own DaemonSet.
type ownDaemonSet struct {
	uid     types.UID // the UID last seen; empty: never seen
	deleted bool      // it is gone, or is being deleted
}

func (c *Client) ownHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { c.sawOwn(o) },
		UpdateFunc: func(_, o any) { c.sawOwn(o) },
		DeleteFunc: func(any) { c.sawOwn(nil) },
	}
}

func (c *Client) sawOwn(o any) {
	m, exists := o.(*metav1.PartialObjectMetadata)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !exists {
		c.own.deleted = true
		return
	}
	c.own = ownDaemonSet{uid: m.UID, deleted: m.DeletionTimestamp != nil}
}

// Uninstalled reports whether the agent's DaemonSet was deleted, so that no other agent will
// replace this one. The agent asks when it is stopped. Any doubt counts as no: a restart must
// never remove the CNI configuration (m#1527, m#1468).
func (c *Client) Uninstalled(ctx context.Context) bool {
	if c.daemonSet == nil {
		return false
	}
	c.mu.Lock()
	seen := c.own
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, c.o.RequestTimeout)
	defer cancel()
	m, err := c.meta.Resource(daemonSets).Namespace(c.o.Namespace).Get(ctx, c.o.DaemonSet, metav1.GetOptions{})
	switch {
	case err == nil:
		return m.DeletionTimestamp != nil
	case apierrors.IsNotFound(err):
		// A DaemonSet that was never seen may never have existed under that name.
		return seen.uid != ""
	}
	// The agent's permissions may have been deleted together with its DaemonSet. The watch's
	// last event then decides.
	c.log.Warn("reading the agent's DaemonSet failed; its last watch event decides", "deleted", seen.deleted,
		"error", c.explain(fmt.Sprintf("get daemonset %s/%s", c.o.Namespace, c.o.DaemonSet), err))
	return seen.deleted
}
