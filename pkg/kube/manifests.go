package kube

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/pkg/network"
)

// manifest is a net-attach-def as the cache has it: its config is written again from the
// parsed one. If it could not be parsed, Status has the error.
type manifest struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        metav1.ObjectMeta `json:"metadata"`
	Spec            struct {
		Config string `json:"config,omitempty"`
	} `json:"spec"`
	Status struct {
		Error string `json:"error,omitempty"`
	} `json:"status"`
}

// Manifests returns the cached net-attach-defs, the pods of the node and the ConfigMaps as
// a List in JSON, without the fields that nobody reads.
func (c *Client) Manifests() ([]byte, error) {
	list := struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Items      []any  `json:"items"`
	}{"v1", "List", []any{}}
	for _, o := range c.networks.GetStore().List() {
		if n, ok := o.(*parsedNetwork); ok {
			m, err := n.manifest()
			if err != nil {
				return nil, err
			}
			list.Items = append(list.Items, m)
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

func (n *parsedNetwork) manifest() (manifest, error) {
	m := manifest{TypeMeta: metav1.TypeMeta{APIVersion: "k8s.cni.cncf.io/v1", Kind: "NetworkAttachmentDefinition"}}
	m.Metadata = metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name}
	if resource := n.definition.Resource; resource != "" {
		m.Metadata.Annotations = map[string]string{network.ResourceAnnotation: resource}
	}
	switch {
	case !n.kept:
		m.Status.Error = "its config is not in the agent's memory, which is full of net-attach-defs: check its manifest by `fairleadctl lint FILE`"
	case n.err != nil:
		m.Status.Error = n.err.Error()
	case !n.definition.FromFile:
		config, err := json.Marshal(n.definition.List)
		if err != nil {
			return m, fmt.Errorf("write the config of net-attach-def %s/%s as JSON: %w", n.Namespace, n.Name, err)
		}
		m.Spec.Config = string(config)
	}
	return m, nil
}
