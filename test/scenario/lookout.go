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

// lookout remembers the nodes and the pods of some namespaces, and sees if they change.
type lookout struct {
	c     *Cluster
	nodes map[string]string // the state of each node
	pods  []string          // a line for each pod and its container
}

// newLookout looks for the first time.
func newLookout(ctx context.Context, c *Cluster, namespaces ...string) (*lookout, error) {
	o := &lookout{c: c}
	var err error
	if o.nodes, err = o.look(ctx); err != nil {
		return nil, err
	}
	o.pods, err = o.marks(ctx, namespaces)
	return o, err
}

// lookAtNode prints everything of a node that the attacks are after, without asking the
// agent: links (not those of pods), addresses, routes, forwarding of ports, files of the
// runtime's plugins, programs that an attack would have started. Links of pods come and
// go, and so do counters.
const lookAtNode = `ip -o link | grep -v ' veth' | sed 's/^[0-9]*: //; s/ *$//'
ip -o addr | grep -v ' veth' | sed 's/^[0-9]*: //; s/valid_lft.*//; s/ tentative//'
ip route; ip -6 route | grep -v veth; ip rule
iptables-save -t nat | grep -i -e dnat -e hostport | grep -v KUBE | sed 's/\[.*\]//'
for f in /etc/cni/net.d/* /opt/cni/bin/* /opt/cni/bin/.f*; do [ -f "$f" ] && sha256sum "$f"; done
find /etc /root /run /tmp -xdev -name '*attack*'
ls /etc/cron.d 2>/dev/null; ls -d /var/lib/cni/*
pidof fairlead-agent`

// look reads all nodes.
func (o *lookout) look(ctx context.Context) (map[string]string, error) {
	seen := map[string]string{}
	for _, node := range o.c.Lab.Nodes() {
		out, err := o.c.Lab.Exec(ctx, node, lookAtNode)
		if err != nil {
			return nil, err
		}
		vfs, err := o.c.nodes().vfs(ctx, node)
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

// marks names the running pods and their containers.
func (o *lookout) marks(ctx context.Context, namespaces []string) ([]string, error) {
	var lines []string
	for _, namespace := range namespaces {
		pods, err := o.c.pods(ctx, namespace, metav1.ListOptions{FieldSelector: "status.phase=Running"})
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

// samePods compares the pods of the namespaces with those of the first look.
func (o *lookout) samePods(ctx context.Context, namespaces ...string) (string, error) {
	now, err := o.marks(ctx, namespaces)
	return fmt.Sprintf("%d pods", len(now)), errors.Join(err, difference(o.pods, now))
}

// sameNodes waits until the nodes are as they were at the first look.
func (o *lookout) sameNodes(ctx context.Context) error {
	return poll(ctx, stateLimit, "nodes as before", func() error {
		now, err := o.look(ctx)
		for _, node := range slices.Sorted(maps.Keys(o.nodes)) {
			if e := difference(strings.Split(o.nodes[node], "\n"), strings.Split(now[node], "\n")); e != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", node, e))
			}
		}
		return err
	})
}
