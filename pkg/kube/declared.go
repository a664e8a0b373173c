package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// WaitDeclared waits until the node's labels and the ConfigMaps have been read or found
// missing, or ctx ends. It reports whether they have.
func (c *Client) WaitDeclared(ctx context.Context) bool {
	synced := []cache.InformerSynced{c.node.HasSynced}
	for _, i := range c.configMaps {
		synced = append(synced, i.HasSynced)
	}
	return cache.WaitForCacheSync(ctx.Done(), synced...)
}

// reportAbsence calls Options.Changed once a ConfigMap is known not to exist: no event reports
// that. Until then the caller may have used the content from before the agent's start.
func (c *Client) reportAbsence(ctx context.Context, i cache.SharedIndexInformer) {
	if cache.WaitForCacheSync(ctx.Done(), i.HasSynced) && len(i.GetStore().ListKeys()) == 0 {
		c.o.Changed()
	}
}

// NodeLabels returns the node's labels; known is false until they have been read.
func (c *Client) NodeLabels() (labels map[string]string, known bool) {
	o, found, err := c.node.GetStore().GetByKey(c.o.NodeName)
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
func (c *Client) ConfigMap(namespace, name string) (data map[string]string, exists, known bool) {
	i := c.configMaps[name]
	if i == nil || namespace != c.o.Namespace || !i.HasSynced() {
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
