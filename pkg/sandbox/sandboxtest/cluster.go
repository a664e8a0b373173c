package sandboxtest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

// Cluster is an API server. Tests write its fields while nothing runs.
type Cluster struct {
	mu        sync.Mutex // guards what follows
	Pods      map[string]network.Pod
	NADs      map[string]network.Definition
	Status    map[string]string
	Events    []string
	Down      error
	StatusErr error
	Hang      bool // SetNetworkStatus waits until its context ends
	Patches   int
	Lookups   int // of pods and net-attach-defs
}

// NewCluster makes one that has nothing.
func NewCluster() *Cluster {
	return &Cluster{Pods: map[string]network.Pod{}, NADs: map[string]network.Definition{}, Status: map[string]string{}}
}

// NAD makes a net-attach-def of the namespace default.
func (c *Cluster) NAD(t testing.TB, name, resource, config string) {
	t.Helper()
	d, err := network.ParseDefinition("default", name, config, map[string]string{network.ResourceAnnotation: resource})
	if err != nil {
		t.Fatal(err)
	}
	c.NADs["default/"+name] = d
}

// AddPod makes a pod of the namespace default with a networks annotation.
func (c *Cluster) AddPod(name, networks string) {
	c.Pods["default/"+name] = network.Pod{Namespace: "default", Name: name, UID: "uid-" + name,
		Annotations: map[string]string{network.NetworksAnnotation: networks}}
}

// Pod finds a pod.
func (c *Cluster) Pod(_ context.Context, namespace, name, uid string) (network.Pod, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Lookups++
	p, ok := c.Pods[namespace+"/"+name]
	switch {
	case c.Down != nil:
		return p, c.Down
	case !ok, uid != "" && p.UID != uid:
		return p, fmt.Errorf("pod %s/%s: %w", namespace, name, network.ErrNotFound)
	}
	return p, nil
}

// NetAttachDef finds a net-attach-def.
func (c *Cluster) NetAttachDef(_ context.Context, namespace, name string) (network.Definition, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Lookups++
	d, ok := c.NADs[namespace+"/"+name]
	switch {
	case c.Down != nil:
		return d, c.Down
	case !ok:
		return d, fmt.Errorf("net-attach-def %s/%s: %w", namespace, name, network.ErrNotFound)
	}
	return d, nil
}

// NetAttachDefSize is the size of a net-attach-def, or of the largest if there is no such one.
func (c *Cluster) NetAttachDefSize(namespace, name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, ok := c.NADs[namespace+"/"+name]; ok {
		return d.Size()
	}
	return network.MaxSize
}

// SetNetworkStatus writes the annotation.
func (c *Cluster) SetNetworkStatus(ctx context.Context, pod ledger.PodRef, status string) error {
	c.mu.Lock()
	c.Patches++
	hang := c.Hang
	c.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.StatusErr != nil {
		return c.StatusErr
	}
	c.Status[pod.String()] = status
	return nil
}

// Event keeps an event.
func (c *Cluster) Event(pod ledger.PodRef, eventType, reason, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Events = append(c.Events, fmt.Sprintf("%s %s %s: %s", pod, eventType, reason, message))
}

// Ready returns what keeps the caches from being used.
func (c *Cluster) Ready() error { return c.Down }

// Devices is the kubelet's account: pod → resource → ids.
type Devices struct {
	mu     sync.Mutex // guards what follows
	ByPod  map[string]map[string][]string
	Asked  int  // how often InUse was
	Hanged bool // InUse waits until its context ends
}

// PodDevices returns the devices of a pod.
func (d *Devices) PodDevices(_ context.Context, namespace, name string) (map[string][]string, error) {
	return d.ByPod[namespace+"/"+name], nil
}

// InUse returns the devices of all pods.
func (d *Devices) InUse(ctx context.Context) (map[string][]string, error) {
	d.mu.Lock()
	d.Asked++
	hang := d.Hanged
	d.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	all := map[string][]string{}
	for _, devices := range d.ByPod {
		for resource, ids := range devices {
			all[resource] = append(all[resource], ids...)
		}
	}
	return all, nil
}
