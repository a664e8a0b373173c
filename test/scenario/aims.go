package scenario

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// makeStorage gives node 1 a storage network on top of pf1: a VLAN link with an address.
const makeStorage = `ip link show storage0 >/dev/null 2>&1 || {
ip link add link pf1 name storage0 type vlan id 4000 && ip addr add 10.99.0.1/24 dev storage0 && ip link set storage0 up; }`

const removeStorage = "ip link del storage0"

// takeAim looks for the things that the attacks are directed at, and remembers the nodes
// and the everyday pods as they are.
func (t *Tenant) takeAim(ctx context.Context) error {
	k := t.c.nodes()
	victim, err := k.vfOf(ctx, otherNamespace, "victim", "net1")
	if err != nil {
		return err
	}
	t.aims = aims{victimVF: victim.Address, storage: "pf1"}
	all, err := k.vfs(ctx, "node1")
	if err != nil {
		return err
	}
	for _, v := range all {
		if v.PF == victim.PF && v.Netdev != "" {
			t.aims.freeVF, t.aims.vfNetdev = v.Address, v.Netdev
		}
	}
	// ip shows it as eth0@if12: 12 is the index of its other end on the host.
	line, err := k.inNetns(ctx, otherNamespace, "victim", "ip -o link show eth0")
	if err != nil {
		return err
	}
	_, index, _ := strings.Cut(line, "@if")
	index, _, _ = strings.Cut(index, ":")
	veth, err := t.c.Lab.Exec(ctx, "node1", makeStorage+"; grep -lx '"+index+"' /sys/class/net/*/ifindex | cut -d/ -f5")
	t.aims.victimVeth = strings.TrimSpace(veth)
	if err == nil && (t.aims.freeVF == "" || t.aims.victimVeth == "") {
		err = fmt.Errorf("not all of them are there: %+v", t.aims)
	}
	if err != nil {
		return err
	}
	if t.before, err = t.look(ctx); err != nil {
		return err
	}
	t.pods, err = t.marks(ctx)
	return err
}

// lookAtNode prints everything of a node that the attacks are after, without asking the
// agent: links (not those of pods), addresses, routes, forwarding of ports, files of the
// runtime's plugins, programs that an attack would have started. Links of pods come and
// go, and so do counters.
const lookAtNode = `ip -o link | grep -v ' veth' | sed 's/^[0-9]*: //; s/ *$//'
ip -o addr | grep -v ' veth' | sed 's/^[0-9]*: //; s/valid_lft.*//'
ip route; ip -6 route | grep -v veth; ip rule
iptables-save -t nat | grep -i -e dnat -e hostport | grep -v KUBE | sed 's/\[.*\]//'
for f in /etc/cni/net.d/* /opt/cni/bin/* /opt/cni/bin/.f*; do [ -f "$f" ] && sha256sum "$f"; done
find /etc /root /run /tmp -xdev -name '*attack*'
ls /etc/cron.d 2>/dev/null; ls -d /var/lib/cni/*
pidof fairlead-agent`

// look reads all nodes.
func (t *Tenant) look(ctx context.Context) (map[string]string, error) {
	seen := map[string]string{}
	for _, node := range t.c.Lab.Nodes() {
		out, err := t.c.Lab.Exec(ctx, node, lookAtNode)
		if err != nil {
			return nil, err
		}
		vfs, err := t.c.nodes().vfs(ctx, node)
		if err != nil {
			return nil, err
		}
		for _, v := range vfs {
			out += v.String() + "\n"
		}
		seen[node] = out
	}
	return seen, nil
}

// marks names the everyday pods and their containers.
func (t *Tenant) marks(ctx context.Context) ([]string, error) {
	var lines []string
	for _, namespace := range []string{tenantNamespace, otherNamespace} {
		pods, err := t.c.pods(ctx, namespace, metav1.ListOptions{FieldSelector: "status.phase=Running"})
		if err != nil {
			return nil, err
		}
		for _, pod := range pods {
			id, restarts, err := container(pod)
			if err != nil {
				return nil, err
			}
			lines = append(lines, fmt.Sprintf("%s %s restarts %d", pod.Name, id, restarts))
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// unharmed compares the nodes and the everyday pods with those before the attacks.
func (t *Tenant) unharmed(ctx context.Context) Facts {
	var f Facts
	f.check("the nodes are as before: links, addresses, routes, ports, files, VFs, agents", func() (string, error) { return "", t.sameNodes(ctx) })
	f.check("the everyday pods of both tenants are as before", func() (string, error) {
		now, err := t.marks(ctx)
		return fmt.Sprintf("%d pods", len(now)), errors.Join(err, difference(t.pods, now))
	})
	f.check("S7, S20: the agents' memory is below its limit", func() (string, error) { return t.memory(ctx) })
	f.check("S11: fairleadctl prints nothing that a terminal obeys", func() (string, error) { return t.printable(ctx) })
	return f
}

func (t *Tenant) sameNodes(ctx context.Context) error {
	return poll(ctx, stateLimit, "nodes as before", func() error {
		now, err := t.look(ctx)
		for _, node := range slices.Sorted(maps.Keys(t.before)) {
			if e := difference(strings.Split(t.before[node], "\n"), strings.Split(now[node], "\n")); e != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", node, e))
			}
		}
		return err
	})
}

// memory reads the highest use that the kernel has seen of each agent.
func (t *Tenant) memory(ctx context.Context) (string, error) {
	var all []string
	for _, node := range t.c.Lab.Nodes() {
		out, err := t.c.Lab.Exec(ctx, node, "grep VmHWM /proc/$(pidof fairlead-agent)/status")
		if err != nil {
			return "", err
		}
		var kib int
		if _, err := fmt.Sscanf(out, "VmHWM: %d kB", &kib); err != nil {
			return "", fmt.Errorf("%q: %w", out, err)
		}
		all = append(all, fmt.Sprintf("%s: %d MiB at most", node, kib>>10))
		if kib > 200<<10 {
			return "", errors.New(all[len(all)-1])
		}
	}
	return strings.Join(all, ", "), nil
}

func (t *Tenant) printable(ctx context.Context) (string, error) {
	for _, command := range []string{"status", "topology", "vf"} {
		// The exit code says whether there are problems. It does not matter here.
		out, err := t.c.Fairleadctl(ctx, "node1", command)
		if out == "" {
			return "", fmt.Errorf("fairleadctl %s prints nothing: %w", command, err)
		}
		if strings.ContainsAny(out, "\x1b\x07\u202e\u200b") {
			return "", fmt.Errorf("fairleadctl %s prints %q", command, out)
		}
	}
	return "status, topology, vf", nil
}
