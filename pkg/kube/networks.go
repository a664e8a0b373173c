package kube

import (
	"context"
	"fmt"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"

	"fairlead.dev/fairlead/pkg/network"
)

// NetAttachDef finds a net-attach-def. The error wraps network.ErrNotFound if there is no such
// object, or if the cluster does not have the CRD.
func (c *Client) NetAttachDef(ctx context.Context, namespace, name string) (network.Definition, error) {
	n, err := c.netAttachDef(ctx, namespace, name)
	if err != nil {
		return network.Definition{}, err
	}
	return network.ParseDefinition(n.Namespace, n.Name, n.Spec.Config, n.Annotations)
}

func (c *Client) netAttachDef(ctx context.Context, namespace, name string) (*nadv1.NetworkAttachmentDefinition, error) {
	if o, found, err := c.networks.GetStore().GetByKey(namespace + "/" + name); err == nil && found {
		if n, ok := o.(*nadv1.NetworkAttachmentDefinition); ok {
			return n, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.RequestTimeout)
	defer cancel()
	n := &nadv1.NetworkAttachmentDefinition{}
	err := c.nads.Get().Namespace(namespace).Resource(nadsResource).Name(name).Do(ctx).Into(n)
	if err != nil {
		return nil, c.explain(fmt.Sprintf("get net-attach-def %s/%s", namespace, name), err)
	}
	return n, nil
}
