package scenario

import (
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed residue.py
var loadXDP string

//go:embed advert.py
var sendAdverts string

// inPython returns a shell command that runs a Python program.
func inPython(program, arguments string) string {
	return "sh -c 'echo " + base64.StdEncoding.EncodeToString([]byte(program)) + " | base64 -d | python3 - " + arguments + "'"
}

// intruder is a pod with NET_ADMIN and a VF of its own. Its commands run in its network
// namespace with all capabilities, so that it has at least the powers of the pod.
const intruderName = "intruder"

// bombs leaves everything on the VF that a pod can: an XDP program that drops the next tenant's packets,
// as many alternative names as the kernel takes, and other attributes. The new name has
// escape codes for an administrator's terminal (security S8, S9, S11).
const bombs = `sh -c 'set -e
ip link set net1 xdpgeneric pinned /sys/fs/bpf/attack
ip link set net1 txqueuelen 7 promisc on allmulticast on arp off multicast off alias "$(printf "\033]0;owned\007")"
i=0; while [ $i -lt 496 ]; do echo "link property add dev net1 altname n$i-$(printf %0120d $i)"; i=$((i+1)); done | ip -force -batch - >/dev/null 2>&1 || true
ip link set net1 down; ip link set net1 name "$(printf "e\033[31m")"
ip -o link show | grep -c -o "altname" >/dev/null; ip -d link show dev "$(printf "e\033[31m")" | grep -o -e altname -e xdp -e alias -e PROMISC | sort | uniq -c'`

// Intrude gives a pod a VF, has it leave everything on it, and looks at the VF afterwards.
func (t *Tenant) Intrude(ctx context.Context) Facts {
	var f Facts
	var vfs, names []string
	var left string
	f.check("a pod with NET_ADMIN has a VF", func() (_ string, err error) {
		if vfs, names, err = t.netdevs(ctx); err != nil {
			return "", err
		}
		pod := Pod{Name: intruderName, Node: "1", Networks: "untagged", Resource: second, Capabilities: []corev1.Capability{"NET_ADMIN", "NET_RAW"}}
		return "", errors.Join(t.apply(ctx, pod.Manifest(tenantNamespace)), t.c.waitReady(ctx, tenantNamespace))
	})
	f.check("S18: its router advertisements reach the nodes, and give them no route and no address", func() (string, error) { return t.advertise(ctx) })
	f.check("S8, S9, S11: it leaves an XDP program, 496 names, attributes and escape codes on the VF", func() (_ string, err error) {
		left, err = t.leaveResidue(ctx)
		return left, err
	})
	f.check("S11: fairleadctl prints nothing that a terminal obeys", func() (string, error) { return t.printable(ctx) })
	f.check("S8, S9: the pod is deleted, and its VF is as new", func() (string, error) {
		if _, err := t.c.Kubectl(ctx, "delete", "pod", "-n", tenantNamespace, intruderName, "--wait", "--timeout=3m"); err != nil {
			return "", err
		}
		err := poll(ctx, stateLimit, "VFs as before", func() error {
			now, nowNames, err := t.netdevs(ctx)
			return errors.Join(err, difference(vfs, now), difference(names, nowNames))
		})
		return fmt.Sprintf("%d VFs, %d netdevs", len(vfs), len(names)), err
	})
	return f
}

// netdevs reads node 1's VFs, and everything that ip shows of their netdevs. Indexes and
// queue lengths in packets do not stay: a driver that is bound again makes a new netdev.
func (t *Tenant) netdevs(ctx context.Context) (vfs, netdevs []string, err error) {
	all, err := t.c.nodes().vfs(ctx, "node1")
	if err != nil {
		return nil, nil, err
	}
	for _, v := range all {
		vfs = append(vfs, v.String())
		if v.Netdev == "" {
			continue
		}
		out, err := t.c.Lab.Exec(ctx, "node1", "ip -d -o link show dev "+v.Netdev)
		if err != nil {
			return nil, nil, err
		}
		_, text, _ := strings.Cut(strings.TrimSpace(out), ": ")
		netdevs = append(netdevs, text)
	}
	return vfs, netdevs, nil
}

// leaveResidue leaves everything on the VF, and counts it in the output of ip.
func (t *Tenant) leaveResidue(ctx context.Context) (string, error) {
	load := "rm -f /sys/fs/bpf/attack; " + inPython(loadXDP, "/sys/fs/bpf/attack")
	if _, err := t.c.Lab.Exec(ctx, "node1", load); err != nil {
		return "", err
	}
	out, err := t.c.nodes().inNetns(ctx, tenantNamespace, intruderName, bombs)
	measured := strings.Join(strings.Fields(out), " ")
	if err != nil {
		return measured, err
	}
	for _, residue := range []string{"altname", "alias", "xdp", "PROMISC"} {
		if !strings.Contains(measured, residue) {
			return measured, fmt.Errorf("the kernel did not take it: %q has no %s", measured, residue)
		}
	}
	_, err = t.c.Lab.Exec(ctx, "node1", "rm /sys/fs/bpf/attack")
	return measured, err
}

// downPFs takes the PFs down, as they are when a node boots whose administrator does not use them.
// The lab brings them up at boot.
const downPFs = `for pf in /sys/class/net/pf*[0-9]; do case $pf in *.*) ;; *) ip link set ${pf##*/} down;; esac; done`

const pfsUp = `for pf in /sys/class/net/pf*[0-9]; do case $pf in *.*) ;; *) echo $(($(cat $pf/flags) & 1)) $(cat /proc/sys/net/ipv6/conf/${pf##*/}/accept_ra);; esac; done | sort -u`

// bringUpPFs has the agents bring the PFs up: it takes them down, and changes the profiles'
// text, so that the agents compare them with the nodes.
func bringUpPFs(ctx context.Context, c *Cluster) error {
	for _, node := range c.Lab.Nodes() {
		if _, err := c.Lab.Exec(ctx, node, downPFs); err != nil {
			return err
		}
	}
	profiles, err := c.api.CoreV1().ConfigMaps(agentNamespace).Get(ctx, "fairlead-profiles", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := applyProfileText(ctx, c, profiles.Data["nics.yaml"]+"# Once more.\n"); err != nil {
		return err
	}
	for _, node := range c.Lab.Nodes() {
		err := poll(ctx, agentLimit, "PFs of "+node, func() error {
			out, err := c.Lab.Exec(ctx, node, pfsUp)
			return errors.Join(err, want("up and accept_ra of the PFs", strings.TrimSpace(out), "1 0"))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// adverts counts the router advertisements that a node's pf0 has received.
const adverts = "awk '/Icmp6InRouterAdvertisements/ {print $2}' /proc/net/dev_snmp6/pf0"

// advertise sends router advertisements from the intruder's VF, which is on the segment of all PFs.
func (t *Tenant) advertise(ctx context.Context) (string, error) {
	before, err := t.received(ctx)
	if err != nil {
		return "", err
	}
	var after map[string]int
	// The pod's interface has no IPv6 address of its own in the first seconds.
	err = poll(ctx, stateLimit, "advertisements", func() error {
		if _, err := t.c.nodes().inNetns(ctx, tenantNamespace, intruderName, inPython(sendAdverts, "net1")); err != nil {
			return err
		}
		if after, err = t.received(ctx); err != nil {
			return err
		}
		for _, node := range t.c.Lab.Nodes() {
			if after[node] == before[node] {
				return fmt.Errorf("%s received no advertisement: the attack was none", node)
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	for _, node := range t.c.Lab.Nodes() {
		out, err := t.c.Lab.Exec(ctx, node, "ip -6 route show proto ra; ip -6 addr | grep 2001:db8:bad || true")
		if err != nil {
			return "", err
		}
		if strings.TrimSpace(out) != "" {
			return "", fmt.Errorf("%s has\n%s", node, out)
		}
	}
	return fmt.Sprintf("received before and after: %v, %v", before, after), nil
}

func (t *Tenant) received(ctx context.Context) (map[string]int, error) {
	counts := map[string]int{}
	for _, node := range t.c.Lab.Nodes() {
		out, err := t.c.Lab.Exec(ctx, node, adverts)
		if err != nil {
			return nil, err
		}
		if counts[node], err = strconv.Atoi(strings.TrimSpace(out)); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// The packets that a host of the tenants' VLAN sends to the node's own address. The first
// counter has all that arrive, the second those that the node takes for itself, or passes on.
const (
	countPackets = `iptables -t raw -I PREROUTING -i pf0.100 -p udp --dport 4949
iptables -I INPUT -p udp --dport 4949; iptables -I FORWARD -p udp --dport 4949`
	readCounts = `for c in "-t raw -L PREROUTING" "-L INPUT" "-L FORWARD"; do
iptables $c -v -x -n | awk '/dpt:4949/ {print $1; exit}'; done`
	stopCounting = `iptables -t raw -D PREROUTING -i pf0.100 -p udp --dport 4949
iptables -D INPUT -p udp --dport 4949; iptables -D FORWARD -p udp --dport 4949`
)

// sendIn sends to the node and to a pod of the node, past the sender's own routes. pf0.100
// has the MAC of node 1's pf0.
const sendIn = `bash -c 'for a in 10.0.1.15 %s; do
ip neigh replace $a lladdr 02:00:00:00:01:01 dev net1; ip route replace $a/32 dev net1
for i in 1 2 3; do echo attack > /dev/udp/$a/4949; done; ip route del $a/32; done'`

// RouteIn checks that the VLAN link below a fallback is no way into the node (security S17).
func (t *Tenant) RouteIn(ctx context.Context) Facts {
	var f Facts
	f.check("S17: packets from the tenants' VLAN reach node 1's VLAN link, and go no further", func() (measured string, err error) {
		victim, err := t.c.Pod(ctx, otherNamespace, "victim")
		if err != nil {
			return "", err
		}
		if _, err := t.c.Lab.Exec(ctx, "node1", countPackets); err != nil {
			return "", err
		}
		defer func() {
			_, e := t.c.Lab.Exec(ctx, "node1", stopCounting)
			err = errors.Join(err, e)
		}()
		if _, err := t.c.nodes().inNetns(ctx, tenantNamespace, "vf-pod", fmt.Sprintf(sendIn, victim.Status.PodIP)); err != nil {
			return "", err
		}
		out, err := t.c.Lab.Exec(ctx, "node1", readCounts)
		measured = strings.Join(strings.Fields(out), " ")
		return "arrived, taken, passed on: " + measured, errors.Join(err, want("packets that arrived, were taken, were passed on", measured, "6 0 0"))
	})
	return f
}
