package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// nodes reads the lab's nodes, and the pods on them, from the kernel.
type nodes struct{ c *Cluster }

func (c *Cluster) nodes() nodes { return nodes{c} }

// podLink is a link, as `ip -j addr` in the pod shows it.
type podLink struct {
	Name      string `json:"ifname"`
	MAC       string `json:"address"`
	MTU       int    `json:"mtu"`
	Addresses []struct {
		Family string `json:"family"`
		Local  string `json:"local"`
		Prefix int    `json:"prefixlen"`
	} `json:"addr_info"`
}

// ipv4 returns the link's first IPv4 address with its prefix length.
func (l podLink) ipv4() string {
	for _, a := range l.Addresses {
		if a.Family == "inet" {
			return fmt.Sprintf("%s/%d", a.Local, a.Prefix)
		}
	}
	return ""
}

// linksInPod lists the pod's links without lo, in the kernel's order.
func (k nodes) linksInPod(ctx context.Context, namespace, pod string) ([]podLink, error) {
	out, err := k.inNetns(ctx, namespace, pod, "ip -j addr show")
	if err != nil {
		return nil, err
	}
	var all, links []podLink
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return nil, fmt.Errorf("ip -j addr in %s/%s: %w", namespace, pod, err)
	}
	for _, link := range all {
		if link.Name != "lo" {
			links = append(links, link)
		}
	}
	return links, nil
}

// inNetns runs a command on the pod's node, in the pod's network namespace. It shows
// what `kubectl exec` shows, without the seconds that an emulated node needs to start a
// process in a container.
func (k nodes) inNetns(ctx context.Context, namespace, name, command string) (string, error) {
	pod, err := k.c.Pod(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	script := fmt.Sprintf(`pid=$(grep -ls 'pod%s' /proc/[0-9]*/cgroup | head -n 1 | cut -d/ -f3)
[ -n "$pid" ] || { echo "no process of the pod" >&2; exit 1; }
nsenter -t "$pid" -n %s`, pod.UID, command)
	return k.c.Lab.Exec(ctx, pod.Spec.NodeName, script)
}

func (k nodes) linkInPod(ctx context.Context, namespace, pod, ifname string) (podLink, error) {
	links, err := k.linksInPod(ctx, namespace, pod)
	if err != nil {
		return podLink{}, err
	}
	for _, link := range links {
		if link.Name == ifname {
			return link, nil
		}
	}
	return podLink{}, fmt.Errorf("pod %s/%s has no interface %s, only %s", namespace, pod, ifname, names(links))
}

func names(links []podLink) string {
	var all []string
	for _, link := range links {
		all = append(all, link.Name)
	}
	return strings.Join(all, " ")
}

// forgetAddresses removes host-local's files of a network that no pod uses. host-local
// continues after the last address that it gave, on each node by itself. After an earlier
// run, two nodes could be out of step, and would not give one address twice.
func (k nodes) forgetAddresses(ctx context.Context, network string) error {
	for _, node := range k.c.Lab.Nodes() {
		if _, err := k.c.Lab.Exec(ctx, node, "rm -rf /var/lib/cni/networks/"+network); err != nil {
			return err
		}
	}
	return nil
}
