package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// declaredCache has the objects that declare the node's pools and profiles: the node's labels
// and the agent's ConfigMaps.
type declaredCache struct {
	conn       *connection
	node       cache.SharedIndexInformer
	configMaps map[string]cache.SharedIndexInformer // name -> informer
}

func newDeclaredCache(c *connection, w *watches) (*declaredCache, error) {
	d := &declaredCache{conn: c, configMaps: map[string]cache.SharedIndexInformer{}}
	var err error
	// A node's status changes every few seconds: only its metadata is requested.
	if d.node, err = w.informer("node", &metav1.PartialObjectMetadata{}, stripMeta,
		c.metaListWatch(corev1.SchemeGroupVersion.WithResource("nodes"), "", c.o.NodeName)); err != nil {
		return nil, err
	}
	if _, err = d.node.AddEventHandler(onChange(c.o.Changed, sameLabels)); err != nil {
		return nil, err
	}
	for _, name := range c.o.ConfigMaps {
		i, err := w.informer("configmap "+name, &corev1.ConfigMap{}, stripConfigMap,
			cache.NewListWatchFromClient(c.core, "configmaps", c.o.Namespace, named(name)))
		if err != nil {
			return nil, err
		}
		d.configMaps[name] = i
		if _, err = i.AddEventHandler(onChange(c.o.Changed, sameData)); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// WaitDeclared waits until the node's labels and the ConfigMaps have been read or found
// missing, or ctx ends. It reports whether they have.
func (d *declaredCache) WaitDeclared(ctx context.Context) bool {
	synced := []cache.InformerSynced{d.node.HasSynced}
	for _, i := range d.configMaps {
		synced = append(synced, i.HasSynced)
	}
	return cache.WaitForCacheSync(ctx.Done(), synced...)
}

// reportAbsence calls Options.Changed once a ConfigMap is known not to exist: no event reports
// that. Until then the caller may have used the content from before the agent's start.
func (d *declaredCache) reportAbsence(ctx context.Context, i cache.SharedIndexInformer) {
	if cache.WaitForCacheSync(ctx.Done(), i.HasSynced) && len(i.GetStore().ListKeys()) == 0 {
		d.conn.o.Changed()
	}
}

// NodeLabels returns the node's labels; known is false until they have been read.
func (d *declaredCache) NodeLabels() (labels map[string]string, known bool) {
	o, found, err := d.node.GetStore().GetByKey(d.conn.o.NodeName)
	if err != nil || !found {
		return nil, false
	}
	m, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil, false
	}
	return m.Labels, true
}

// ConfigMap returns the data of one of Options.ConfigMaps; known is false until the ConfigMap
// has been read or found missing.
func (d *declaredCache) ConfigMap(namespace, name string) (data map[string]string, exists, known bool) {
	i := d.configMaps[name]
	if i == nil || namespace != d.conn.o.Namespace || !i.HasSynced() {
		return nil, false, false
	}
	o, found, err := i.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !found {
		return nil, false, true
	}
	m, ok := o.(*corev1.ConfigMap)
	if !ok {
		return nil, false, true
	}
	return m.Data, true, true
}
