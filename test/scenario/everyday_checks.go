package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/pkg/view"
)

// interfaces checks that a pod's links are in the order of its annotation, as the
// kernel lists them in the pod and in its network-status, and that each
// secondary's address begins as it should.
func (e *Everyday) interfaces(ctx context.Context, namespace, pod string, expected []string, addresses ...string) (string, error) {
	entries, err := e.c.NetworkStatus(ctx, namespace, pod)
	if err != nil {
		return "", err
	}
	var told []string
	for _, e := range entries {
		told = append(told, e.Interface)
	}
	if err := want("network-status of "+pod, strings.Join(told, " "), strings.Join(expected, " ")); err != nil {
		return "", err
	}
	links, err := e.c.nodes().linksInPod(ctx, namespace, pod)
	if err != nil {
		return "", err
	}
	if err := want("links in "+pod, names(links), strings.Join(expected, " ")); err != nil {
		return "", err
	}
	measured := []string{"eth0"}
	for i, name := range expected[1:] {
		got := ""
		for _, link := range links {
			if link.Name == name {
				got = link.ipv4()
			}
		}
		if measured = append(measured, name, got); !strings.HasPrefix(got, addresses[i]) {
			return "", fmt.Errorf("%s of %s has the address %q, want %s…; the pod has %s", name, pod, got, addresses[i], names(links))
		}
	}
	return strings.Join(measured, " "), nil
}

// secondInterface also looks as a user does, with kubectl exec.
func (e *Everyday) secondInterface(ctx context.Context, expected []string) (string, error) {
	measured, err := e.interfaces(ctx, "s01", "samplepod", expected, "192.168.1.2")
	if err != nil {
		return measured, err
	}
	out, err := e.c.InPod(ctx, "s01", "samplepod", "ip", "addr")
	if err != nil {
		return "", err
	}
	for _, name := range expected {
		if !strings.Contains(out, " "+name+"@") {
			return "", fmt.Errorf("ip addr in the pod does not show %s:\n%s", name, out)
		}
	}
	return measured, nil
}

func (e *Everyday) storage(ctx context.Context) (string, error) {
	nodes := map[string]bool{}
	for _, name := range []string{"db-0", "db-1", "db-2"} {
		pod, err := e.c.Pod(ctx, "database", name)
		if err != nil {
			return "", err
		}
		nodes[pod.Spec.NodeName] = true
		link, err := e.c.nodes().linkInPod(ctx, "database", name, "net1")
		if err != nil {
			return "", err
		}
		if err := want(name+"'s MTU", link.MTU, 9000); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("3 pods on %d nodes, mtu 9000", len(nodes)), want("number of nodes", len(nodes), 2)
}

// clash looks for the clash that scenario 4 must have. With plain host-local, three pods
// on two nodes have the first address twice, and the report names it.
func (e *Everyday) clash(ctx context.Context) (string, error) {
	states, err := e.c.States(ctx)
	if err != nil {
		return "", err
	}
	for _, line := range view.Clashes(states) {
		if strings.Contains(line, "database/storage-network") {
			return line, nil
		}
	}
	return "", errors.New("no clash on network database/storage-network is reported, although host-local serves one range on two nodes")
}

func (e *Everyday) nfvVF(ctx context.Context) (string, error) {
	if _, err := e.interfaces(ctx, "nfv", "vnf-vf", []string{"eth0", "ctrl0", "data0"}, "10.57.0.", "10.58.1."); err != nil {
		return "", err
	}
	v, err := e.c.nodes().vfOf(ctx, "nfv", "vnf-vf", "data0")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s vf %d vlan %d", v.PF, v.Index, v.Knobs.VLAN), want("the VLAN", v.Knobs.VLAN, 58)
}

// replicas checks the Deployment of scenario 6.
func (e *Everyday) replicas(ctx context.Context, namespace, address string) (string, error) {
	pods, err := e.c.pods(ctx, namespace, metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		return "", err
	}
	for _, pod := range pods {
		if _, err := e.interfaces(ctx, namespace, pod.Name, []string{"eth0", "net1"}, address); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d pods", len(pods)), want("number of pods", len(pods), 3)
}

func (e *Everyday) routes(ctx context.Context) (string, error) {
	out, err := e.c.nodes().inNetns(ctx, "s08", "routes", "ip route")
	if err != nil {
		return "", err
	}
	for _, line := range []string{`default via \S+ dev eth0`, `10\.20\.0\.0/16 via 192\.168\.8\.1 dev net1`, `10\.30\.0\.0/16 via 192\.168\.8\.1 dev net1`} {
		if !regexp.MustCompile(`(?m)^` + line).MatchString(out) {
			return "", fmt.Errorf("no route %q in\n%s", line, out)
		}
	}
	if n := strings.Count(out, "default"); n != 1 {
		return "", fmt.Errorf("%d default routes in\n%s", n, out)
	}
	return "10.20.0.0/16 and 10.30.0.0/16 via 192.168.8.1", nil
}

func (e *Everyday) rbac(ctx context.Context) (string, error) {
	if _, err := e.c.Kubectl(ctx, "--as", "jane", "get", "-n", "s09", "net-attach-def", "macvlan-conf"); err != nil {
		return "", err
	}
	_, err := e.c.Kubectl(ctx, "--as", "jane", "get", "-n", "s09", "net-attach-def", "bridge-conf")
	if err == nil || !strings.Contains(err.Error(), "Forbidden") && !strings.Contains(err.Error(), "forbidden") {
		return "", fmt.Errorf("jane gets bridge-conf: %v", err)
	}
	return "macvlan-conf shown, bridge-conf forbidden", nil
}

// admission tries, as jane, without starting the pods (--dry-run=server).
func (e *Everyday) admission(ctx context.Context) (string, error) {
	try := func(networks string) error {
		pod := Pod{Name: "janes", Networks: networks}
		_, err := e.c.Lab.Kubectl(ctx, strings.NewReader(pod.Manifest("s09")), "--as", "jane", "create", "--dry-run=server", "-f", "-")
		return err
	}
	// A new policy takes the API server a moment.
	refused := poll(ctx, stateLimit, "jane's pod on bridge-conf refused", func() error {
		err := try("bridge-conf")
		if err == nil || !strings.Contains(err.Error(), "may use the networks macvlan-conf") {
			return fmt.Errorf("the API server answers: %v", err)
		}
		return nil
	})
	for _, networks := range []string{`[{"name": "bridge-conf"}]`, "macvlan-conf,bridge-conf"} {
		if err := try(networks); err == nil {
			return "", fmt.Errorf("jane's pod with %s is accepted", networks)
		}
	}
	return "macvlan-conf accepted, bridge-conf refused", errors.Join(refused, try("macvlan-conf@net7"))
}

func (e *Everyday) trouble(ctx context.Context) (string, error) {
	out, err := e.c.InPod(ctx, "s10", "trouble-a", "ping", "-c", "3", "-W", "5", "-I", "net1", "192.168.10.12")
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	shown := []struct {
		what string
		text string
		args []string
	}{
		{"the agents' logs by label", "level=", []string{"logs", "-n", agentNamespace, "-l", agentSelector, "--tail=5"}},
		{"kubectl describe of the network", `"macvlan"`, []string{"describe", "net-attach-def", "-n", "s10", "trouble-net"}},
		{"kubectl describe of the pod", "AddedInterface", []string{"describe", "pod", "-n", "s10", "trouble-a"}},
	}
	for _, s := range shown {
		text, err := e.c.Kubectl(ctx, s.args...)
		if err != nil {
			return "", err
		}
		if !strings.Contains(text, s.text) {
			return "", fmt.Errorf("%s does not show %q:\n%s", s.what, s.text, text)
		}
	}
	counts := pingCounts.FindStringSubmatch(out)
	return counts[2] + " of " + counts[1] + " answers", want("answers", counts[2], counts[1])
}

func (e *Everyday) iperf(ctx context.Context) (string, error) {
	out, err := e.c.InPod(ctx, "s11", "iperf-client", "iperf3", "-J", "-c", "192.168.11.1", "-B", "192.168.11.2", "-t", "3")
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	var result struct {
		Start struct {
			Connected []struct {
				LocalHost string `json:"local_host"`
			} `json:"connected"`
		} `json:"start"`
		End struct {
			Received struct {
				Bytes int64   `json:"bytes"`
				Rate  float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		return "", err
	}
	if len(result.Start.Connected) == 0 || result.Start.Connected[0].LocalHost != "192.168.11.2" || result.End.Received.Bytes == 0 {
		return "", fmt.Errorf("iperf3 did not measure over the VFs:\n%s", out)
	}
	return fmt.Sprintf("%.0f Mbit/s (emulated, no performance figure)", result.End.Received.Rate/1e6), nil
}

func (e *Everyday) primary(ctx context.Context) (string, error) {
	pod, err := e.c.Pod(ctx, "s12", "frontend")
	if err != nil {
		return "", err
	}
	eth0, err := e.c.nodes().linkInPod(ctx, "s12", "frontend", "eth0")
	if err != nil {
		return "", err
	}
	address, _, _ := strings.Cut(eth0.ipv4(), "/")
	if err := want("eth0's address", address, pod.Status.PodIP); err != nil {
		return "", err
	}
	if err := e.serviceGoesTo(ctx, pod); err != nil {
		return "", err
	}
	plain, err := e.c.nodes().linksInPod(ctx, "s12", "plain")
	if err != nil {
		return "", err
	}
	return "Service answers from " + address + " (eth0)", want("the interfaces of a pod that asks for nothing", names(plain), "eth0")
}

// serviceGoesTo checks the Service's endpoint and fetches a page through it.
func (e *Everyday) serviceGoesTo(ctx context.Context, pod corev1.Pod) error {
	slices, err := e.c.api.DiscoveryV1().EndpointSlices("s12").List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=frontend"})
	if err != nil {
		return err
	}
	if len(slices.Items) != 1 || len(slices.Items[0].Endpoints) != 1 {
		return fmt.Errorf("the Service has %d endpoint slices, want one with one endpoint", len(slices.Items))
	}
	if err := want("the Service's endpoint", slices.Items[0].Endpoints[0].Addresses[0], pod.Status.PodIP); err != nil {
		return err
	}
	if _, err := e.c.InPod(ctx, "s12", "frontend", "sh", "-c", "mkdir -p /tmp/www && hostname > /tmp/www/index.html && busybox httpd -p 80 -h /tmp/www"); err != nil {
		return err
	}
	service, err := e.c.api.CoreV1().Services("s12").Get(ctx, "frontend", metav1.GetOptions{})
	if err != nil {
		return err
	}
	page, err := e.c.InPod(ctx, "s12", "plain", "busybox", "wget", "-T", "20", "-q", "-O", "-", "http://"+service.Spec.ClusterIP+"/")
	if err != nil {
		return err
	}
	return want("the page behind the Service", strings.TrimSpace(page), "frontend")
}

func (e *Everyday) oneVF(ctx context.Context) (string, error) {
	v, err := e.c.nodes().vfOf(ctx, "s13", "one-vf", "net1")
	if err != nil {
		return "", err
	}
	link, err := e.c.nodes().linkInPod(ctx, "s13", "one-vf", "net1")
	if err != nil {
		return "", err
	}
	if err := want("the VF at the PF", v.Knobs, knobs{MAC: "02:00:00:00:13:01", VLAN: 13, Trust: true}); err != nil {
		return "", err
	}
	return v.Knobs.String() + " mtu 9000", want("the MTU", link.MTU, 9000)
}

func (e *Everyday) twoVFs(ctx context.Context) (string, error) {
	first, err := e.c.nodes().vfOf(ctx, "s13", "two-vfs", "net1")
	if err != nil {
		return "", err
	}
	second, err := e.c.nodes().vfOf(ctx, "s13", "two-vfs", "net2")
	if err != nil {
		return "", err
	}
	if first.Address == second.Address {
		return "", fmt.Errorf("net1 and net2 are both on %s", first.Address)
	}
	vlans := fmt.Sprintf("VLANs %d and %d", first.Knobs.VLAN, second.Knobs.VLAN)
	return first.Address + " and " + second.Address, want("the VFs'", vlans, "VLANs 14 and 14")
}

func (e *Everyday) dpdk(ctx context.Context) (string, error) {
	v, err := e.c.nodes().vfOf(ctx, "s13", "dpdk", "net1")
	if err != nil {
		return "", err
	}
	out, err := e.c.InPod(ctx, "s13", "dpdk", "sh", "-c", "echo $PCIDEVICE_FAIRLEAD_DEV_DPDK; ls -d /dev/vfio/"+v.Group+"; grep -c /dev/hugepages /proc/mounts")
	if err != nil {
		return "", err
	}
	measured := strings.Join(strings.Fields(out), " ")
	return measured, want("what the pod has", measured, v.Address+" /dev/vfio/"+v.Group+" 1")
}

func (e *Everyday) fallback(ctx context.Context) (string, error) {
	entry, err := e.c.statusOf(ctx, "fallback", "fallback-pod", "net1")
	if err != nil {
		return "", err
	}
	if entry.Fallback == nil {
		return "", fmt.Errorf("network-status has no fallback: %+v", entry)
	}
	return entry.Fallback.Reason, want("the fallback", entry.Fallback.To, "macvlan")
}

func (e *Everyday) describeNode(ctx context.Context) (string, error) {
	var measured []string
	for _, node := range e.c.Lab.Nodes() {
		described, err := e.c.Kubectl(ctx, "describe", "node", node)
		if err != nil {
			return "", err
		}
		for resource, n := range Capacity()[node] {
			line := regexp.MustCompile(regexp.QuoteMeta(resource) + fmt.Sprintf(`:\s+%d\n`, n))
			if !line.MatchString(described) {
				return "", fmt.Errorf("kubectl describe node %s shows no %s: %d", node, resource, n)
			}
		}
		measured = append(measured, fmt.Sprintf("%s: %d resources", node, len(Capacity()[node])))
	}
	return strings.Join(measured, ", "), nil
}
