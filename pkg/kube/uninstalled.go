package kube

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

var daemonSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}

// ownDaemonSet is the agent's own DaemonSet.
type ownDaemonSet struct {
	conn     *connection
	informer cache.SharedIndexInformer

	mu      sync.Mutex // guards the fields below
	uid     types.UID  // the UID last seen; empty: never seen
	deleted bool       // it is gone, or is being deleted
}

func newOwnDaemonSet(c *connection, w *watches) (*ownDaemonSet, error) {
	d := &ownDaemonSet{conn: c}
	var err error
	if d.informer, err = w.informer("daemonset", &metav1.PartialObjectMetadata{}, stripMeta,
		c.metaListWatch(daemonSets, c.o.Namespace, c.o.DaemonSet)); err != nil {
		return nil, err
	}
	_, err = d.informer.AddEventHandler(d.handler())
	return d, err
}

func (d *ownDaemonSet) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { d.saw(o) },
		UpdateFunc: func(_, o any) { d.saw(o) },
		DeleteFunc: func(any) { d.saw(nil) },
	}
}

func (d *ownDaemonSet) saw(o any) {
	m, exists := o.(*metav1.PartialObjectMetadata)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !exists {
		d.deleted = true
		return
	}
	d.uid, d.deleted = m.UID, m.DeletionTimestamp != nil
}

func (d *ownDaemonSet) uninstalled(ctx context.Context) bool {
	c := d.conn
	d.mu.Lock()
	lastUID, deleted := d.uid, d.deleted
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, c.o.RequestTimeout)
	defer cancel()
	m, err := c.meta.Resource(daemonSets).Namespace(c.o.Namespace).Get(ctx, c.o.DaemonSet, metav1.GetOptions{})
	switch {
	case err == nil:
		return m.DeletionTimestamp != nil
	case apierrors.IsNotFound(err):
		// A DaemonSet that was never seen may never have existed under that name.
		return lastUID != ""
	}
	// The agent's permissions may have been deleted together with its DaemonSet. The watch's
	// last event then decides.
	c.log.Warn("reading the agent's DaemonSet failed; its last watch event decides", "deleted", deleted,
		"error", c.explain(fmt.Sprintf("get daemonset %s/%s", c.o.Namespace, c.o.DaemonSet), err))
	return deleted
}
