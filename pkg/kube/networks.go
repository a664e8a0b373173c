package kube

import (
	"context"
	"fmt"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/pkg/network"
)

// NetAttachDef finds a net-attach-def. The error wraps network.ErrNotFound if
// there is no such object, or if the cluster does not know the kind. The definition is
// parsed when the object arrives, not for each pod, and pods share it.
func (c *Client) NetAttachDef(ctx context.Context, namespace, name string) (network.Definition, error) {
	if n, ok := c.cachedNetwork(namespace + "/" + name); ok {
		return n.definition, n.err
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.RequestTimeout)
	defer cancel()
	n := &nadv1.NetworkAttachmentDefinition{}
	err := c.nads.Get().Namespace(namespace).Resource(nadsResource).Name(name).Do(ctx).Into(n)
	if err != nil {
		return network.Definition{}, c.explain(fmt.Sprintf("get net-attach-def %s/%s", namespace, name), err)
	}
	return parse(n)
}

func parse(n *nadv1.NetworkAttachmentDefinition) (network.Definition, error) {
	return network.ParseDefinition(n.Namespace, n.Name, n.Spec.Config, n.Annotations)
}

// parsedNetwork is a net-attach-def in the cache. The text of its spec is not
// kept.
type parsedNetwork struct {
	metav1.ObjectMeta // namespace, name, UID and resource version only
	definition        network.Definition
	err               error // of parsing; it concerns only the pods that use the network
}

// parseNetwork is the transform of the informer. An object that arrives again unchanged,
// as after a gap in the watch, is not parsed again.
func (c *Client) parseNetwork(o any) (any, error) {
	n, ok := o.(*nadv1.NetworkAttachmentDefinition)
	if !ok {
		return o, nil
	}
	known, ok := c.cachedNetwork(n.Namespace + "/" + n.Name)
	if ok && n.ResourceVersion != "" && known.UID == n.UID && known.ResourceVersion == n.ResourceVersion {
		return known, nil
	}
	p := &parsedNetwork{ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion}}
	p.definition, p.err = parse(n)
	return p, nil
}

func (c *Client) cachedNetwork(key string) (*parsedNetwork, bool) {
	o, found, err := c.networks.GetStore().GetByKey(key)
	if err != nil || !found {
		return nil, false
	}
	n, ok := o.(*parsedNetwork)
	return n, ok
}
