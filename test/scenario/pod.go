package scenario

import (
	"encoding/json"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/pkg/network"
)

// Pod is a pod of the lab that sleeps.
type Pod struct {
	Name     string
	Node     string // the lab's node number; empty: anywhere
	Networks string // the annotation; empty: none
	Resource string // extended resource; empty: none
	Count    int64  // how many; 0 is 1

	Annotations  map[string]string // others
	Capabilities []corev1.Capability
}

// Manifest returns the pod as JSON, which is also YAML.
func (p Pod) Manifest(namespace string) string {
	grace := int64(1)
	pod := corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: namespace, Annotations: map[string]string{}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "shell", Image: labImage, Command: []string{"sleep", "infinity"}}},
		},
	}
	maps.Copy(pod.Annotations, p.Annotations)
	if p.Capabilities != nil {
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: p.Capabilities}}
	}
	if p.Networks != "" {
		pod.Annotations[network.NetworksAnnotation] = p.Networks
	}
	if p.Node != "" {
		pod.Spec.NodeSelector = map[string]string{"fairlead.dev/lab-node": p.Node}
	}
	if p.Resource != "" {
		pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{
			corev1.ResourceName(p.Resource): *resource.NewQuantity(max(p.Count, 1), resource.DecimalSI),
		}
	}
	// A value of plain fields always has a JSON form.
	text, _ := json.Marshal(pod)
	return "---\n" + string(text) + "\n"
}
