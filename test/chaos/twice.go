package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/pkg/network"
)

// owner names the pod and the place of something that only one pod may have.
type owner struct{ node, pod, place string }

// twice lists devices, addresses and MACs that more than one pod has. An ipvlan has the
// MAC of its master, and so has its neighbour.
func twice(samples map[string]sample, names map[string]string) []string {
	owners := map[string][]owner{}
	note := func(what string, o owner) { owners[what] = append(owners[what], o) }
	for node, s := range samples {
		for uid, p := range s.pods {
			pod := names[uid]
			if pod == "" {
				pod = uid
			}
			for _, device := range p.devices {
				note("device "+node+" "+device, owner{node, pod, "environment"})
			}
			for _, l := range p.links {
				if l.Name == "lo" {
					continue
				}
				if l.ParentDev != "" {
					note("link of "+node+" "+l.ParentDev, owner{node, pod, l.Name})
				}
				if l.Info.Kind != "ipvlan" {
					note("MAC "+l.MAC, owner{node, pod, l.Name})
				}
				for _, a := range l.addresses() {
					note("address "+a, owner{node, pod, l.Name})
				}
			}
		}
	}
	var out []string
	for _, what := range slices.Sorted(maps.Keys(owners)) {
		if list := owners[what]; len(list) > 1 {
			out = append(out, fmt.Sprintf("twice: %s is at %s", what, ownerNames(list)))
		}
	}
	return out
}

func ownerNames(list []owner) string {
	var names []string
	for _, o := range list {
		names = append(names, fmt.Sprintf("%s (%s, %s)", o.pod, o.place, o.node))
	}
	slices.Sort(names)
	return strings.Join(names, " and ")
}

// asAsked lists the differences between the request of a running pod and the kernel.
func asAsked(p plan, pod corev1.Pod, s sample, vfs map[string]function) []string {
	var out []string
	differs := func(format string, args ...any) {
		out = append(out, "not as asked: pod "+pod.Name+" ("+pod.Spec.NodeName+"): "+fmt.Sprintf(format, args...))
	}
	has := s.pods[string(pod.UID)]
	if has == nil {
		differs("no process of it is in a network namespace of its own")
		return out
	}
	if len(has.netns) != 1 {
		differs("its processes are in the namespaces %v", has.netns)
	}
	if got, expected := linkNames(has.links), p.linkNames(); got != expected {
		differs("it has the links %s, want %s", got, expected)
		return out
	}
	if want := int(p.devices()); len(has.devices) != want {
		differs("its environment has the devices %v, want %d", has.devices, want)
	}
	for i, want := range p.Links {
		for _, d := range want.differences(fmt.Sprintf("net%d", i+1), has, s, vfs) {
			differs("%s: %s", fmt.Sprintf("net%d", i+1), d)
		}
	}
	for _, d := range statusDiffers(pod, has, time.Now()) {
		differs("%s", d)
	}
	return out
}

// linkNames returns the names in the kernel's order, without lo.
func linkNames(links []ipLink) string {
	var names []string
	for _, l := range links {
		if l.Name != "lo" {
			names = append(names, l.Name)
		}
	}
	return strings.Join(names, " ")
}

func (p plan) linkNames() string {
	names := []string{"eth0"}
	for i, l := range p.Links {
		if l.Want.Kind != "vfio" {
			names = append(names, fmt.Sprintf("net%d", i+1))
		}
	}
	return strings.Join(names, " ")
}

func (p plan) devices() (n int64) {
	for _, count := range p.Kind.needs {
		n += count
	}
	return n
}

// differences compares one network of a pod with the kernel.
func (want plannedLink) differences(ifname string, has *podSample, s sample, vfs map[string]function) []string {
	var out []string
	differs := func(what string, got, expected any) {
		out = append(out, fmt.Sprintf("%s is %v, want %v", what, got, expected))
	}
	device := ""
	if want.Want.Kind == "vfio" {
		if len(has.devices) == 1 {
			device = has.devices[0]
		}
	} else {
		l := has.links[slices.IndexFunc(has.links, func(l ipLink) bool { return l.Name == ifname })]
		device = l.ParentDev
		if l.kind() != want.Want.Kind {
			differs("the kind", l.kind(), want.Want.Kind)
		}
		if want.Want.MTU != 0 && l.MTU != want.Want.MTU {
			differs("the MTU", l.MTU, want.Want.MTU)
		}
		if want.MAC != "" && l.MAC != want.MAC {
			differs("the MAC", l.MAC, want.MAC)
		}
		if addresses := l.addresses(); len(addresses) != 1 || want.IP != "" && addresses[0] != want.IP {
			differs("the address", addresses, want.IP)
		}
		if want.Want.Kind == "vf" && !slices.Contains(has.devices, device) {
			differs("the VF", device, has.devices)
		}
	}
	if want.Want.At == nil {
		return out
	}
	at, found := s.vfAt(vfs, device)
	if !found || at.knobs() != *want.Want.At {
		differs("VF "+device+" at its PF", at.knobs(), *want.Want.At)
	}
	if want.MAC != "" && at.MAC != want.MAC {
		differs("the MAC of VF "+device+" at its PF", at.MAC, want.MAC)
	}
	return out
}

// statusLimit is how long a ready pod may be without its network-status: the API server
// may be stopped as it is written.
const statusLimit = 2 * time.Minute

// statusDiffers compares network-status with the kernel.
func statusDiffers(pod corev1.Pod, has *podSample, now time.Time) []string {
	text, ok := pod.Annotations[network.StatusAnnotation]
	if !ok {
		if since := readySince(pod); now.Sub(since) > statusLimit {
			return []string{fmt.Sprintf("it is ready since %s, and has no network-status", since.Format(time.TimeOnly))}
		}
		return nil
	}
	var entries []network.StatusEntry
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		return []string{"network-status: " + err.Error()}
	}
	var out []string
	for _, e := range entries {
		i := slices.IndexFunc(has.links, func(l ipLink) bool { return l.Name == e.Interface })
		if i < 0 {
			continue // of a vfio device
		}
		l := has.links[i]
		if e.Mac != "" && e.Mac != l.MAC || !slices.Equal(e.IPs, l.addresses()) {
			out = append(out, fmt.Sprintf("network-status says %s %v of %s, the kernel %s %v", e.Mac, e.IPs, e.Interface, l.MAC, l.addresses()))
		}
	}
	return out
}
