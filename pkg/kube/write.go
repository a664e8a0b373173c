package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

// SetNetworkStatus writes the network-status annotation of a pod. The merge patch has only that
// key, so it conflicts with no other writer of the pod. It goes to the pod's status
// subresource, which accepts annotations but no change of the spec: the agent needs no
// permission to change a pod's containers. The error wraps network.ErrNotFound if the pod is
// gone, or if another pod has its name.
func (c *Client) SetNetworkStatus(ctx context.Context, pod ledger.PodRef, status string) error {
	doing := fmt.Sprintf("write the network status of pod %s", pod)
	metadata := map[string]any{"annotations": map[string]string{network.StatusAnnotation: status}}
	if uid := c.apiUID(pod); uid != "" {
		// A precondition: a UID cannot be changed, so a patch of another pod with this name is
		// rejected.
		metadata["uid"] = uid
	}
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.RequestTimeout)
	defer cancel()
	err = c.core.Patch(types.MergePatchType).Namespace(pod.Namespace).Resource(podsResource).Name(pod.Name).SubResource("status").Body(patch).Do(ctx).Error()
	if refusesUID(err) {
		return fmt.Errorf("%s: the pod with UID %s is gone: %w (%w)", doing, pod.UID, network.ErrNotFound, err)
	}
	return c.explain(doing, err)
}

// refusesUID distinguishes a UID mismatch from other reasons for which the API server calls an
// object invalid: a ValidatingAdmissionPolicy denies with the same code.
func refusesUID(err error) bool {
	if !apierrors.IsInvalid(err) {
		return false
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool { return c.Field == "metadata.uid" })
}

// apiUID returns the UID that the API server has for a pod. It differs from the runtime's if
// the pod is static, since the API server has a mirror of it.
func (c *Client) apiUID(pod ledger.PodRef) string {
	if p, ok := c.cachedPod(pod.Namespace, pod.Name, pod.UID); ok {
		return string(p.UID)
	}
	return pod.UID
}

func (c *Client) newRecorder() {
	// The default correlator accepts 25 events about one object, then one in five minutes, and
	// counts equal events instead of repeating them.
	c.broadcaster = record.NewBroadcaster()
	c.recorder = c.broadcaster.NewRecorder(runtime.NewScheme(), corev1.EventSource{Component: "fairlead-agent", Host: c.o.NodeName})
}

// maxMessage is the longest event message that the API server accepts, in bytes.
const maxMessage = 1024

// Event records an event of a pod; eventType is Normal or Warning. It does not wait: the event
// is written later, or dropped if there are too many.
func (c *Client) Event(pod ledger.PodRef, eventType, reason, message string) {
	c.event(&corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: types.UID(pod.UID),
	}, eventType, reason, message)
}

// NodeEvent records an event of the agent's node, like Event.
func (c *Client) NodeEvent(eventType, reason, message string) {
	// The kubelet too writes the node's name in place of its UID: kubectl describe looks for that.
	c.event(&corev1.ObjectReference{Kind: "Node", Name: c.o.NodeName, UID: types.UID(c.o.NodeName)}, eventType, reason, message)
}

func (c *Client) event(of *corev1.ObjectReference, eventType, reason, message string) {
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage-4], "") + " …"
	}
	c.recorder.Event(of, eventType, reason, message)
}

// eventSink writes events through the shared core client.
type eventSink struct{ c *Client }

const eventsResource = "events"

func (s eventSink) Create(e *corev1.Event) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.c.o.RequestTimeout)
	defer cancel()
	out := &corev1.Event{}
	return out, s.c.core.Post().Namespace(e.Namespace).Resource(eventsResource).Body(e).Do(ctx).Into(out)
}

func (s eventSink) Update(e *corev1.Event) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.c.o.RequestTimeout)
	defer cancel()
	out := &corev1.Event{}
	return out, s.c.core.Put().Namespace(e.Namespace).Resource(eventsResource).Name(e.Name).Body(e).Do(ctx).Into(out)
}

func (s eventSink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.c.o.RequestTimeout)
	defer cancel()
	out := &corev1.Event{}
	return out, s.c.core.Patch(types.StrategicMergePatchType).Namespace(e.Namespace).Resource(eventsResource).Name(e.Name).Body(data).Do(ctx).Into(out)
}
