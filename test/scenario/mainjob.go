package scenario

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

// MainNamespace is where the main job's pods are.
const MainNamespace = "main-job"

//go:embed mainjob.yaml
var mainNetworks string

// mainPods: alpha and beta share VLAN 100 over two nodes. gamma and epsilon are on
// VLAN 200. dpdk has its VF in userspace. beta and epsilon have all VFs of node 2.
func mainPods() []Pod {
	return []Pod{
		{Name: "alpha", Node: "1", Resource: "fairlead.dev/fast", Networks: `[{"name": "vlan100", "mac": "02:00:00:00:01:0a", "ips": ["10.100.0.11/24"]}]`},
		{Name: "beta", Node: "2", Resource: "fairlead.dev/fast", Networks: `[{"name": "vlan100", "mac": "02:00:00:00:01:0b", "ips": ["10.100.0.12/24"]}]`},
		{Name: "gamma", Node: "1", Resource: "fairlead.dev/fast", Networks: `[{"name": "vlan200", "mac": "02:00:00:00:02:0c", "ips": ["10.100.0.13/24"]}]`},
		{Name: "epsilon", Node: "2", Resource: "fairlead.dev/fast", Networks: `[{"name": "vlan200", "ips": ["10.100.0.15/24"]}]`},
		{Name: "dpdk", Node: "1", Resource: "fairlead.dev/dpdk", Networks: `[{"name": "dpdk", "mac": "02:00:00:00:01:0d"}]`},
	}
}

// fallbackPod wants VLAN 100 on node 2, where no VF is left. It requests no VF.
func fallbackPod() Pod {
	return Pod{Name: "delta", Node: "2", Networks: `[{"name": "vlan100", "ips": ["10.100.0.14/24"]}]`}
}

// MainJob is the main job's pods while they run.
type MainJob struct {
	c      *Cluster
	before []string // the VFs before any pod had one
}

// StartMainJob creates the pods, all at once.
func StartMainJob(ctx context.Context, c *Cluster) (*MainJob, error) {
	job := &MainJob{c: c}
	if err := c.Delete(ctx, MainNamespace); err != nil {
		return nil, err
	}
	var err error
	if job.before, err = c.nodes().snapshot(ctx); err != nil {
		return nil, err
	}
	if err := c.createNamespaces(ctx, MainNamespace); err != nil {
		return nil, err
	}
	networks, err := adapt(mainNetworks, change{namespace: MainNamespace})
	if err != nil {
		return nil, err
	}
	pods := mainPods()
	c.Say("creating %d pods with a VF each on two nodes, and one for the fallback", len(pods))
	for _, pod := range append(pods, fallbackPod()) {
		networks += pod.Manifest(MainNamespace)
	}
	if err := c.apply(ctx, networks); err != nil {
		return nil, err
	}
	return job, c.waitReady(ctx, MainNamespace)
}

// Connectivity checks who reaches whom.
func (j *MainJob) Connectivity(ctx context.Context) Facts {
	return sideBySide(3, []claim{
		{"pods on both nodes, VLAN 100: ping over net1, 0 % loss", func() (string, error) { return j.reach(ctx, "alpha", "10.100.0.12", 56) }},
		{"the same with packets of 9000 bytes, not fragmented", func() (string, error) { return j.reach(ctx, "alpha", "10.100.0.12", 8972) }},
		{"pods on both nodes, VLAN 200: ping over net1, 0 % loss", func() (string, error) { return j.reach(ctx, "gamma", "10.100.0.15", 56) }},
		{"VLAN 200 does not reach VLAN 100, same node", func() (string, error) { return j.noPing(ctx, "gamma", "10.100.0.11") }},
		{"VLAN 100 does not reach VLAN 200, other node", func() (string, error) { return j.noPing(ctx, "alpha", "10.100.0.15") }},
	})
}

func (j *MainJob) reach(ctx context.Context, pod, address string, bytes int) (string, error) {
	return j.c.nodes().reach(ctx, MainNamespace, pod, address, bytes)
}

func (j *MainJob) noPing(ctx context.Context, pod, address string) (string, error) {
	// `|| true`: a ping without an answer ends with 1, which is the expected result here.
	out, err := j.c.nodes().inNetns(ctx, MainNamespace, pod, "ping -I net1 -c 4 -i 0.2 -W 1 "+address+" || true")
	if err != nil {
		return "", err
	}
	counts := pingCounts.FindStringSubmatch(out)
	if counts == nil {
		return "", fmt.Errorf("ping from %s to %s says: %s", pod, address, out)
	}
	return counts[2] + " of " + counts[1], want("answers from "+address+" to "+pod, counts[2], "0")
}

// Knobs compares each pod's VF, read at the PF, with the network.
func (j *MainJob) Knobs(ctx context.Context) Facts {
	asked := []struct {
		pod   string
		mtu   int
		knobs knobs
	}{
		{"alpha", 9000, knobs{MAC: "02:00:00:00:01:0a", VLAN: 100, Trust: true, SpoofCheck: false}},
		{"beta", 9000, knobs{MAC: "02:00:00:00:01:0b", VLAN: 100, Trust: true, SpoofCheck: false}},
		{"gamma", 1500, knobs{MAC: "02:00:00:00:02:0c", VLAN: 200, Trust: false, SpoofCheck: true}},
	}
	var claims []claim
	for _, a := range asked {
		atPF := fmt.Sprintf("%s: MAC, VLAN %d, trust, spoofcheck as asked, read at the PF", a.pod, a.knobs.VLAN)
		claims = append(claims, claim{atPF, func() (string, error) {
			v, err := j.c.nodes().vfOf(ctx, MainNamespace, a.pod, "net1")
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%s vf %d: %s", v.PF, v.Index, v.Knobs), want(a.pod+"'s VF at the PF", v.Knobs, a.knobs)
		}})
		inPod := fmt.Sprintf("%s: MAC and MTU %d as asked, in the pod", a.pod, a.mtu)
		claims = append(claims, claim{inPod, func() (string, error) { return j.linkInPod(ctx, a.pod, a.knobs.MAC, a.mtu) }})
	}
	return sideBySide(3, claims)
}

// String returns the claim as a person would say it.
func (k knobs) String() string {
	return fmt.Sprintf("%s vlan %d trust %s spoofcheck %s", k.MAC, k.VLAN, onOff(k.Trust), onOff(k.SpoofCheck))
}

func onOff(v bool) string {
	if v {
		return "on"
	}
	return "off"
}

func (j *MainJob) linkInPod(ctx context.Context, pod, mac string, mtu int) (string, error) {
	link, err := j.c.nodes().linkInPod(ctx, MainNamespace, pod, "net1")
	if err != nil {
		return "", err
	}
	measured := fmt.Sprintf("%s mtu %d", link.MAC, link.MTU)
	return measured, want(pod+"'s net1", measured, fmt.Sprintf("%s mtu %d", mac, mtu))
}

// Userspace checks the pod whose VF is bound to vfio-pci.
func (j *MainJob) Userspace(ctx context.Context) Facts {
	var f Facts
	f.check("vfio-pci pod: PCIDEVICE_… names its VF, /dev/vfio holds its IOMMU group", func() (string, error) {
		v, err := j.c.nodes().vfOf(ctx, MainNamespace, "dpdk", "net1")
		if err != nil {
			return "", err
		}
		out, err := j.c.InPod(ctx, MainNamespace, "dpdk", "sh", "-c", "echo $PCIDEVICE_FAIRLEAD_DEV_DPDK; ls /dev/vfio")
		if err != nil {
			return "", err
		}
		words := strings.Fields(out)
		measured := strings.Join(words, " ")
		if len(words) != 3 || words[0] != v.Address || !slices.Contains(words[1:], v.Group) || !slices.Contains(words[1:], "vfio") {
			return measured, fmt.Errorf("the pod has %q, want %s, /dev/vfio/vfio and /dev/vfio/%s", measured, v.Address, v.Group)
		}
		return measured, want("the VF's driver", v.Driver, "vfio-pci")
	})
	f.check("vfio-pci pod: MAC and VLAN set at the PF", func() (string, error) {
		v, err := j.c.nodes().vfOf(ctx, MainNamespace, "dpdk", "net1")
		if err != nil {
			return "", err
		}
		expected := knobs{MAC: "02:00:00:00:01:0d", VLAN: 100, Trust: v.Knobs.Trust, SpoofCheck: v.Knobs.SpoofCheck}
		return v.Knobs.String(), want("dpdk's VF at the PF", v.Knobs, expected)
	})
	return f
}

// Fallback checks the pod that got no VF.
func (j *MainJob) Fallback(ctx context.Context) Facts {
	var f Facts
	f.check("no VF left, fallback declared: the pod runs on macvlan, and its status says so", func() (string, error) {
		entry, err := j.c.statusOf(ctx, MainNamespace, "delta", "net1")
		if err != nil {
			return "", err
		}
		if entry.Fallback == nil {
			return "", fmt.Errorf("network-status of delta has no fallback: %+v", entry)
		}
		measured := entry.Fallback.From + " → " + entry.Fallback.To + ": " + entry.Fallback.Reason
		s, err := j.c.State(ctx, "node2")
		if err != nil {
			return "", err
		}
		for _, pool := range s.Pools {
			if err := want("free VFs of node2's "+pool.Resource, pool.Capacity-pool.Allocated, 0); err != nil {
				return measured, err
			}
		}
		return measured, want("the fallback", entry.Fallback.From+" → "+entry.Fallback.To, "sriov → macvlan")
	})
	f.check("the macvlan has the network's MTU and reaches VLAN 100", func() (string, error) {
		link, err := j.c.nodes().linkInPod(ctx, MainNamespace, "delta", "net1")
		if err != nil {
			return "", err
		}
		if err := want("delta's MTU", link.MTU, 9000); err != nil {
			return "", err
		}
		return j.reach(ctx, "delta", "10.100.0.11", 56)
	})
	return f
}
