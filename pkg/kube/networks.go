package kube

import (
	"context"
	"fmt"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"fairlead.dev/fairlead/pkg/network"
)

// networkCache has the net-attach-defs of all namespaces. Whoever may create them decides about
// their number and size, in every agent (security S16). So they are parsed as they arrive;
// those above the limits leave only an error, and those above the budget only their names.
type networkCache struct {
	conn     *connection
	networks cache.SharedIndexInformer
}

// networkParser parses the net-attach-defs that arrive.
type networkParser struct {
	known  func(key string) (*parsedNetwork, bool) // in the cache
	budget *budget
}

// newNetworkCache creates the cache. If the CRD is missing, the watch is retried until it
// appears, with pauses of a few seconds at first and 30 at most.
func newNetworkCache(c *connection, w *watches) (*networkCache, error) {
	n := &networkCache{conn: c}
	parser := networkParser{n.cachedNetwork, newBudget()}
	var err error
	n.networks, err = w.informer(nadsResource, &nadv1.NetworkAttachmentDefinition{}, parser.parseNetwork,
		streamed(c.nads, nadsResource, fields.Everything(), parser.parseItem))
	if err != nil {
		return nil, err
	}
	_, err = n.networks.AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: parser.forget})
	return n, err
}

// forget takes a deleted object off the budget.
func (p networkParser) forget(o any) {
	if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = last.Obj
	}
	if n, ok := o.(*parsedNetwork); ok {
		p.budget.drop(n.key(), n.UID)
	}
}

// NetAttachDef finds a net-attach-def. The error wraps network.ErrNotFound if
// there is no such object, or if the cluster does not know the kind. The definition is
// parsed when the object arrives, not for each pod, and pods share it.
func (c *networkCache) NetAttachDef(ctx context.Context, namespace, name string) (network.Definition, error) {
	if n, ok := c.cachedNetwork(namespace + "/" + name); ok && n.kept {
		return n.definition, n.err
	}
	doing := fmt.Sprintf("get net-attach-def %s/%s", namespace, name)
	leave, err := c.conn.large.take(ctx)
	if err != nil {
		return network.Definition{}, c.conn.explain(doing, err)
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, c.conn.o.RequestTimeout)
	defer cancel()
	n := &nadv1.NetworkAttachmentDefinition{}
	err = c.conn.nads.Get().Namespace(namespace).Resource(nadsResource).Name(name).Do(ctx).Into(n)
	if err != nil {
		return network.Definition{}, c.conn.explain(doing, err)
	}
	return parse(n)
}

func parse(n *nadv1.NetworkAttachmentDefinition) (network.Definition, error) {
	return network.ParseDefinition(n.Namespace, n.Name, n.Spec.Config, n.Annotations)
}

// NetAttachDefSize returns the memory that a definition takes while a pod is attached to it,
// in bytes. One that is not cached counts as the largest that there may be.
func (c *networkCache) NetAttachDefSize(namespace, name string) int {
	if n, ok := c.cachedNetwork(namespace + "/" + name); ok {
		return n.size
	}
	return network.MaxSize
}

// parsedNetwork is a net-attach-def in the cache. The text of its spec is not kept.
type parsedNetwork struct {
	metav1.ObjectMeta // namespace, name, UID and resource version only
	definition        network.Definition
	err               error // of parsing; it concerns only the pods that use the network
	size              int   // of the definition, or of the error's text
	kept              bool  // definition or err is here; else it was above the budget
}

func (n *parsedNetwork) key() string { return n.Namespace + "/" + n.Name }

// GetObjectKind and DeepCopyObject let a list of the API server's have such objects.
func (n *parsedNetwork) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns the object itself: it is never changed.
func (n *parsedNetwork) DeepCopyObject() runtime.Object { return n }

// parseItem parses an object of a list.
func (p networkParser) parseItem(item []byte) (runtime.Object, error) {
	n := &nadv1.NetworkAttachmentDefinition{}
	if err := decodeItem(item, n); err != nil {
		return nil, err
	}
	return p.parsed(n), nil
}

// parseNetwork is the transform of the informer.
func (p networkParser) parseNetwork(o any) (any, error) {
	n, ok := o.(*nadv1.NetworkAttachmentDefinition)
	if !ok {
		return o, nil
	}
	return p.parsed(n), nil
}

// parsed parses an object. One that arrives again unchanged, as after a gap in the watch, is
// not parsed again.
func (p networkParser) parsed(n *nadv1.NetworkAttachmentDefinition) *parsedNetwork {
	known, ok := p.known(n.Namespace + "/" + n.Name)
	if ok && n.ResourceVersion != "" && known.UID == n.UID && known.ResourceVersion == n.ResourceVersion {
		return known
	}
	out := &parsedNetwork{ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion}}
	out.definition, out.err = parse(n)
	out.size = out.definition.Size()
	if out.err != nil {
		out.definition, out.size = network.Definition{}, len(out.err.Error())
	}
	if out.kept = p.budget.keep(out.key(), out.UID, out.size); !out.kept {
		out.definition, out.err = network.Definition{}, nil
	}
	return out
}

func (c *networkCache) cachedNetwork(key string) (*parsedNetwork, bool) {
	o, found, err := c.networks.GetStore().GetByKey(key)
	if err != nil || !found {
		return nil, false
	}
	n, ok := o.(*parsedNetwork)
	return n, ok
}
