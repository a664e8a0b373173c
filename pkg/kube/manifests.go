package kube

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
)

// Manifests returns the cached net-attach-defs, the pods of the node and the ConfigMaps as
// a List in JSON, without the fields that nobody reads.
func (c *Client) Manifests() ([]byte, error) {
	list := struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Items      []any  `json:"items"`
	}{"v1", "List", nil}
	for _, o := range c.networks.GetStore().List() {
		if n, ok := o.(*nadv1.NetworkAttachmentDefinition); ok {
			full := *n
			full.TypeMeta = metav1.TypeMeta{APIVersion: "k8s.cni.cncf.io/v1", Kind: "NetworkAttachmentDefinition"}
			list.Items = append(list.Items, full)
		}
	}
	for _, o := range c.pods.GetStore().List() {
		if p, ok := o.(*corev1.Pod); ok {
			list.Items = append(list.Items, corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: p.ObjectMeta})
		}
	}
	for _, i := range c.configMaps {
		for _, o := range i.GetStore().List() {
			if m, ok := o.(*corev1.ConfigMap); ok {
				list.Items = append(list.Items, corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: m.ObjectMeta, Data: m.Data})
			}
		}
	}
	body, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("write the cached objects as JSON: %w", err)
	}
	return body, nil
}
