package main

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/pkg/network"
)

// namespace is that of networks.yaml.
const namespace = "soak"

// image is in every node of the lab.
const image = "lab.test/tools:1"

// plan is one pod with its requests, which the kernel must show.
type plan struct {
	Name  string
	Kind  kind
	Node  int
	Links []plannedLink // net1, net2, …
}

// plannedLink is one network of a pod, with the addresses that the pod asks for.
type plannedLink struct {
	Network string
	IP, MAC string // empty: not asked for
	Want    wantedLink
}

// newPlan makes the number-th pod. Its addresses follow from the number, so no two pods
// of a run ask for the same.
func newPlan(k kind, node, number int) plan {
	p := plan{Name: fmt.Sprintf("%s-%d", k.name, number), Kind: k, Node: node}
	for i, w := range k.networks {
		l := plannedLink{Network: w.name(node), Want: w.link}
		if w.ip {
			l.IP = fmt.Sprintf("10.%d.%d.%d", 160+i, number/250, number%250+1)
		}
		if w.mac {
			l.MAC = fmt.Sprintf("02:50:a0:%02x:%02x:%02x", i, number>>8, number&0xff)
		}
		p.Links = append(p.Links, l)
	}
	return p
}

// annotation returns the pod's networks, in the JSON form.
func (p plan) annotation() string {
	type element struct {
		Name string   `json:"name"`
		IPs  []string `json:"ips,omitempty"`
		MAC  string   `json:"mac,omitempty"`
	}
	list := []element{}
	for _, l := range p.Links {
		e := element{Name: l.Network, MAC: l.MAC}
		if l.IP != "" {
			e.IPs = []string{l.IP + "/16"}
		}
		list = append(list, e)
	}
	// A value of strings always has a JSON form.
	text, _ := json.Marshal(list)
	return string(text)
}

// object returns the pod for the API server.
func (p plan) object() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: namespace, Annotations: p.annotations()},
		Spec:       p.spec(),
	}
}

func (p plan) annotations() map[string]string {
	if len(p.Links) == 0 {
		return nil
	}
	return map[string]string{network.NetworksAnnotation: p.annotation()}
}

func (p plan) spec() corev1.PodSpec {
	grace := int64(1) // `sleep` as process 1 ignores SIGTERM
	limits := corev1.ResourceList{}
	for name, n := range p.Kind.needs {
		limits[corev1.ResourceName("fairlead.dev/"+name)] = *resource.NewQuantity(n, resource.DecimalSI)
	}
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: &grace,
		DNSPolicy:                     corev1.DNSDefault,
		NodeSelector:                  map[string]string{"fairlead.dev/lab-node": fmt.Sprint(p.Node)},
		Containers: []corev1.Container{{
			Name: "shell", Image: image, Command: []string{"sleep", "infinity"},
			Resources: corev1.ResourceRequirements{Limits: limits},
		}},
	}
}

// ready reports whether all containers of a pod run.
func ready(p corev1.Pod) bool { return !readySince(p).IsZero() }

// readySince returns when the pod became ready; zero: it is not.
func readySince(p corev1.Pod) time.Time {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}
