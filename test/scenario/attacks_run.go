package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/fairlead/pkg/network"
)

// definition returns the attack's net-attach-def as JSON, or "".
func (a attack) definition() string {
	if a.conf == "" {
		return ""
	}
	annotations := map[string]string{}
	if a.resource != "" {
		annotations[network.ResourceAnnotation] = a.resource
	}
	// A value of plain fields always has a JSON form.
	text, _ := json.Marshal(map[string]any{
		"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
		"metadata": map[string]any{"name": a.name, "namespace": a.in, "annotations": annotations},
		"spec":     map[string]any{"config": a.conf},
	})
	return string(text)
}

// manifest returns all objects of the attack.
func (a attack) manifest() string {
	text := a.pod.Manifest(a.in)
	if d := a.definition(); d != "" {
		text = "---\n" + d + "\n" + text
	}
	return text
}

// Attack tries all attacks: each pod must get the event that explains the refusal.
func (t *Tenant) Attack(ctx context.Context) Facts {
	t.c.Say("trying %d attacks", len(attacks()))
	var claims []claim
	for _, a := range attacks() {
		a = a.aimed(t.aims)
		claims = append(claims, claim{a.claim, func() (string, error) { return t.try(ctx, a) }})
	}
	return append(sideBySide(6, claims), t.unharmed(ctx)...)
}

// try makes one attack, and takes it back as soon as its events explain the refusal, so
// that the nodes do not try again and again.
func (t *Tenant) try(ctx context.Context, a attack) (line string, err error) {
	api := t.api
	if a.in != tenantNamespace {
		api = t.c.api // an administrator makes the mistake
	}
	a.pod.Node = "1"
	if err := a.create(ctx, api); err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, api.CoreV1().Pods(a.in).Delete(ctx, a.name, metav1.DeleteOptions{}))
	}()
	err = poll(ctx, stateLimit, "events of "+a.name, func() error {
		events, err := t.c.Events(ctx, a.in, a.name)
		if err != nil {
			return err
		}
		line, err = explaining(events, []string{a.says, a.in + "/" + a.name})
		return errors.Join(err, saysTooMuch(events))
	})
	if err != nil {
		return "", err
	}
	pod, err := t.c.Pod(ctx, a.in, a.name)
	if err != nil {
		return "", err
	}
	if pod.Status.PodIP != "" || pod.Status.Phase != "Pending" {
		return "", fmt.Errorf("the pod is %s and has the address %q", pod.Status.Phase, pod.Status.PodIP)
	}
	return line[max(0, len(line)-200):], nil
}

// create makes the objects with the attacker's rights. kubectl would validate and copy
// them first.
func (a attack) create(ctx context.Context, api kubernetes.Interface) error {
	post := func(path, object string) error {
		return api.CoreV1().RESTClient().Post().AbsPath(path).SetHeader("Content-Type", "application/json").Body([]byte(object)).Do(ctx).Error()
	}
	if d := a.definition(); d != "" {
		if err := post("/apis/k8s.cni.cncf.io/v1/namespaces/"+a.in+"/network-attachment-definitions", d); err != nil {
			return fmt.Errorf("create the net-attach-def: %w", err)
		}
	}
	pod := strings.TrimPrefix(a.pod.Manifest(a.in), "---\n")
	if err := post("/api/v1/namespaces/"+a.in+"/pods", pod); err != nil {
		return fmt.Errorf("create the pod: %w", err)
	}
	return nil
}

// saysTooMuch finds another tenant, or characters that a terminal obeys, in the texts for
// a tenant (security S11, S21).
func saysTooMuch(events string) error {
	for _, name := range []string{otherNamespace + "/victim", "victim", "\x1b", "\u202e"} {
		if strings.Contains(strings.ReplaceAll(events, otherNamespace+"/private", ""), name) {
			return fmt.Errorf("the events contain %q:\n%q", name, events)
		}
	}
	return nil
}

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
	t.before, err = newLookout(ctx, t.c, tenantNamespace, otherNamespace)
	return err
}

// unharmed compares the nodes and the everyday pods with those before the attacks.
func (t *Tenant) unharmed(ctx context.Context) Facts {
	var f Facts
	f.check("the nodes are as before: links, addresses, routes, ports, files, VFs, agents", func() (string, error) { return "", t.before.sameNodes(ctx) })
	f.check("the everyday pods of both tenants are as before", func() (string, error) {
		return t.before.samePods(ctx, tenantNamespace, otherNamespace)
	})
	f.check("S7, S20: the agents' memory is below its limit", func() (string, error) { return t.memory(ctx) })
	f.check("S11: fairleadctl prints nothing that a terminal obeys", func() (string, error) { return t.printable(ctx) })
	return f
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
