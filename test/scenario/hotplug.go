package scenario

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/network"
)

// HotplugNamespace is where the hot plug tests' pods are.
const HotplugNamespace = "hotplug"

//go:embed hotplug.yaml
var hotplugNetworks string

// Hotplug is a running pod whose annotation changes.
type Hotplug struct {
	c      *Cluster
	before []string // the VFs before the pod had one
}

// StartHotplug creates the pod. It requests a VF, and names no network.
func StartHotplug(ctx context.Context, c *Cluster) (*Hotplug, error) {
	h := &Hotplug{c: c}
	if err := c.Delete(ctx, HotplugNamespace); err != nil {
		return nil, err
	}
	var err error
	if h.before, err = c.nodes().snapshot(ctx); err != nil {
		return nil, err
	}
	if err := c.createNamespaces(ctx, HotplugNamespace); err != nil {
		return nil, err
	}
	networks, err := adapt(hotplugNetworks, change{namespace: HotplugNamespace})
	if err != nil {
		return nil, err
	}
	c.Say("creating a pod whose annotation is going to change")
	if err := c.apply(ctx, networks+Pod{Name: "app", Node: "1", Resource: "fairlead.dev/fast"}.Manifest(HotplugNamespace)); err != nil {
		return nil, err
	}
	return h, c.waitReady(ctx, HotplugNamespace)
}

// Cases changes the annotation step by step: the cases of the dynamic networks controller,
// a VF, and a failure.
func (h *Hotplug) Cases(ctx context.Context) Facts {
	var f Facts
	f.check("a network is added to a running pod that has none", func() (string, error) {
		return h.follow(ctx, "lan", "eth0 net1")
	})
	f.check("one with a name, an address, a MAC and a chain of plugins is added", func() (string, error) {
		if _, err := h.follow(ctx, `[{"name": "lan"}, {"name": "asked", "interface": "data0", "ips": ["10.134.0.7/24"], "mac": "02:00:00:00:13:07"}]`, "eth0 net1 data0"); err != nil {
			return "", err
		}
		link, err := h.c.nodes().linkInPod(ctx, HotplugNamespace, "app", "data0")
		measured := fmt.Sprintf("%s %s mtu %d", link.MAC, link.ipv4(), link.MTU)
		if err != nil {
			return measured, err
		}
		return measured, want("data0", measured, "02:00:00:00:13:07 10.134.0.7/24 mtu 1400")
	})
	f.check("the VF that the pod has becomes an interface, on its network's VLAN", func() (string, error) {
		if _, err := h.follow(ctx, "lan, vlan131@fast0", "eth0 net1 fast0"); err != nil {
			return "", err
		}
		v, err := h.c.nodes().vfOf(ctx, HotplugNamespace, "app", "fast0")
		if err != nil {
			return "", err
		}
		measured := fmt.Sprintf("VLAN %d, trust %s", v.Knobs.VLAN, onOff(v.Knobs.Trust))
		return measured, want("the VF at the PF", measured, "VLAN 131, trust on")
	})
	f.check("a network of a program is added, and one is removed from the middle", func() (string, error) {
		return h.follow(ctx, "vlan131@fast0, program@prog0", "eth0 fast0 prog0")
	})
	f.check("a network that does not exist is an event; the pod's interfaces stay, and follow once it does", func() (string, error) { return h.missing(ctx) })
	f.check("all are removed, and the VF is as it was", func() (string, error) {
		measured, err := h.follow(ctx, "", "eth0")
		if err != nil {
			return measured, err
		}
		after, err := h.c.nodes().snapshot(ctx)
		if err != nil {
			return measured, err
		}
		return measured, difference(h.before, after)
	})
	return f
}

// missing names a network that is created later.
func (h *Hotplug) missing(ctx context.Context) (string, error) {
	if err := h.annotate(ctx, "vlan131@fast0, program@prog0, late@late0"); err != nil {
		return "", err
	}
	err := poll(ctx, stateLimit, "an event about the missing network", func() error {
		events, err := h.c.Events(ctx, HotplugNamespace, "app")
		if err == nil && !strings.Contains(events, "InterfacesNotChanged: ") {
			err = fmt.Errorf("events: %s", events)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if err := h.has(ctx, "eth0 fast0 prog0"); err != nil {
		return "", err
	}
	late := `{"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": {"name": "late", "namespace": "` + HotplugNamespace + `"},
		"spec": {"config": "{\"cniVersion\": \"0.3.1\", \"type\": \"macvlan\", \"master\": \"pf1\"}"}}`
	if err := h.c.apply(ctx, late); err != nil {
		return "", err
	}
	return h.wait(ctx, "eth0 fast0 prog0 late0")
}

func (h *Hotplug) annotate(ctx context.Context, networks string) error {
	_, err := h.c.Kubectl(ctx, "annotate", "--overwrite", "pod", "-n", HotplugNamespace, "app", network.NetworksAnnotation+"="+networks)
	return err
}

func (h *Hotplug) follow(ctx context.Context, networks, interfaces string) (string, error) {
	if err := h.annotate(ctx, networks); err != nil {
		return "", err
	}
	return h.wait(ctx, interfaces)
}

// wait waits until the pod has the interfaces, in any order, and its network-status too.
func (h *Hotplug) wait(ctx context.Context, interfaces string) (string, error) {
	return interfaces, poll(ctx, stateLimit, "interfaces of the pod", func() error { return h.has(ctx, interfaces) })
}

func (h *Hotplug) has(ctx context.Context, interfaces string) error {
	links, err := h.c.nodes().linksInPod(ctx, HotplugNamespace, "app")
	if err != nil {
		return err
	}
	if err := want("the pod's interfaces", sorted(names(links)), sorted(interfaces)); err != nil {
		return err
	}
	entries, err := h.c.NetworkStatus(ctx, HotplugNamespace, "app")
	if err != nil {
		return err
	}
	var status []string
	for _, e := range entries {
		status = append(status, e.Interface)
	}
	return want("the network-status", sorted(strings.Join(status, " ")), sorted(interfaces))
}

func sorted(words string) string {
	all := strings.Fields(words)
	slices.Sort(all)
	return strings.Join(all, " ")
}

// Gone deletes the pod, and looks for remains.
func (h *Hotplug) Gone(ctx context.Context) Facts {
	var f Facts
	f.check("nothing is left", func() (string, error) {
		if err := h.c.Delete(ctx, HotplugNamespace); err != nil {
			return "", err
		}
		out, err := h.c.Lab.Exec(ctx, "node1", "find /var/lib/cni/networks/lan /var/lib/cni/networks/program /var/lib/cni/networks/vlan131 -name '10.*' 2>/dev/null || true")
		if err != nil {
			return out, err
		}
		after, err := h.c.nodes().snapshot(ctx)
		if err != nil {
			return "", err
		}
		if err := difference(h.before, after); err != nil {
			return "", err
		}
		return "no address, all VFs as before", want("addresses in use", strings.TrimSpace(out), "")
	})
	return f
}
