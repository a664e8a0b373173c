package scenario

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"fairlead.dev/fairlead/deployments/examples"
)

// The namespaces of the tenant, of another tenant, of a slow one, and of the
// administrators' networks.
const (
	tenantNamespace = "team-a"
	otherNamespace  = "team-b"
	slowNamespace   = "team-slow"
	sharedNamespace = "shared"
)

// policiesName is the ConfigMap that the agents read policies from.
const policiesName = "fairlead-policies"

//go:embed tenant.yaml
var tenantSetting string

//go:embed tenantown.yaml
var tenantOwn string

//go:embed slowpolicy.yaml
var slowPolicy string

// TenantNamespaces returns all namespaces that the tenant's chapter uses.
func TenantNamespaces() []string {
	return []string{tenantNamespace, otherNamespace, slowNamespace, sharedNamespace}
}

// Tenant is a tenant in a cluster with the strict policy, and its pods while they run.
type Tenant struct {
	c      *Cluster
	api    kubernetes.Interface // with the tenant's rights
	before *lookout             // the nodes and the everyday pods before the attacks
	aims   aims
}

// StartTenant puts the strict policy into effect and starts the tenant's everyday pods,
// and one pod of another tenant.
func StartTenant(ctx context.Context, c *Cluster) (*Tenant, error) {
	if err := c.Delete(ctx, TenantNamespaces()...); err != nil {
		return nil, err
	}
	if err := c.createNamespaces(ctx, TenantNamespaces()...); err != nil {
		return nil, err
	}
	if err := bringUpPFs(ctx, c); err != nil {
		return nil, err
	}
	c.Say("putting the strict policy into effect")
	if err := usePolicies(ctx, c, strictPolicy()); err != nil {
		return nil, err
	}
	if err := c.apply(ctx, tenantSetting); err != nil {
		return nil, err
	}
	api, err := asUser(c, "tenant")
	if err != nil {
		return nil, err
	}
	t := &Tenant{c: c, api: api}
	if err := t.startEveryday(ctx); err != nil {
		return nil, err
	}
	if err := c.waitReady(ctx, tenantNamespace, otherNamespace); err != nil {
		return nil, err
	}
	return t, t.takeAim(ctx)
}

// strictPolicy is the example that users start with, with the lab's NICs as those for
// tenants, and one more policy.
func strictPolicy() string {
	// The embedded file is always there.
	strict, _ := examples.Files.ReadFile("policies/strict.yaml")
	return strings.Replace(string(strict), "ens2f*", "pf*", 1) + slowPolicy
}

// usePolicies replaces the policies, and waits until they are in effect on all nodes. Without
// text, it takes them away.
func usePolicies(ctx context.Context, c *Cluster, text string) error {
	var err error
	if text != "" {
		err = applyConfigMap(ctx, c, policiesName, map[string]string{"strict.yaml": text})
	} else {
		_, err = c.Kubectl(ctx, "delete", "configmap", "-n", agentNamespace, policiesName, "--ignore-not-found")
	}
	if err != nil {
		return err
	}
	for _, node := range c.Lab.Nodes() {
		err := poll(ctx, stateLimit, "policies of "+node, func() error {
			out, err := c.Lab.Exec(ctx, node, "grep -c 'kind: AttachmentPolicy' /var/lib/fairlead/policies.json || true")
			if err != nil {
				return err
			}
			return want("policies in effect", strings.TrimSpace(out) != "0", text != "")
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// asUser returns a client with the rights of a user.
func asUser(c *Cluster, user string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Lab.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	config.QPS = -1 // attackers do not wait
	return kubernetes.NewForConfig(config)
}

// tenantsEveryday are the examples that the strict policy allows as they are.
func tenantsEveryday() []applied {
	return []applied{
		{"scenarios/01-second-interface.yaml", tenantNamespace, "1"},
		{"scenarios/03-static-address.yaml", tenantNamespace, "2"},
		{"scenarios/06-deployment.yaml", tenantNamespace, ""},
		{"scenarios/07-custom-names.yaml", tenantNamespace, "2"},
		{"scenarios/08-routes.yaml", tenantNamespace, "2"},
		{"pods/fallback.yaml", tenantNamespace, "1"},
	}
}

// tenantsPods are the tenant's other pods. They use things that the examples do not: VFs with a VLAN
// and a static address, a VF as it is, and a network of the administrators. Without the VF
// near the fallback, the emulated PF would receive nothing on VLAN 100.
func tenantsPods() []Pod {
	return []Pod{
		{Name: "vf-pod", Node: "2", Networks: `[{"name": "vf-net", "ips": ["10.103.0.201/24"]}]`, Resource: "fairlead.dev/fast"},
		{Name: "vf-near", Node: "1", Networks: `[{"name": "vf-net", "ips": ["10.103.0.202/24"]}]`, Resource: "fairlead.dev/fast"},
		{Name: "untagged", Node: "1", Networks: "untagged", Resource: "fairlead.dev/second"},
		{Name: "three-networks", Node: "1", Networks: "macvlan-conf, ipvlan-conf, shared/bridge-conf"},
	}
}

func (t *Tenant) startEveryday(ctx context.Context) error {
	c := t.c
	c.Say("starting the tenant's everyday pods")
	for _, a := range tenantsEveryday() {
		manifest, err := example(a.file, change{namespace: a.namespace, node: a.node})
		if err != nil {
			return fmt.Errorf("%s: %w", a.file, err)
		}
		if err := t.apply(ctx, manifest); err != nil {
			return err
		}
	}
	manifest, err := adapt(tenantOwn, change{namespace: tenantNamespace})
	if err != nil {
		return err
	}
	for _, pod := range tenantsPods() {
		manifest += pod.Manifest(tenantNamespace)
	}
	if err := c.waitStarting(ctx, 4, tenantNamespace); err != nil {
		return err
	}
	victim := Pod{Name: "victim", Node: "1", Networks: "private", Resource: "fairlead.dev/second"}
	return errors.Join(t.apply(ctx, manifest), c.apply(ctx, victim.Manifest(otherNamespace)))
}

// apply applies a manifest as the tenant.
func (t *Tenant) apply(ctx context.Context, manifest string) error {
	_, err := t.c.Lab.Kubectl(ctx, strings.NewReader(manifest), "--as", "tenant", "apply", "-f", "-")
	return err
}

// Everyday checks that the tenant's own work goes on under the strict policy.
func (t *Tenant) Everyday(ctx context.Context) Facts {
	e := &Everyday{t.c}
	eth0 := func(others ...string) []string { return append([]string{"eth0"}, others...) }
	pod := func(text, name string, links []string, addresses ...string) claim {
		return claim{text, func() (string, error) { return e.interfaces(ctx, tenantNamespace, name, links, addresses...) }}
	}
	return sideBySide(3, []claim{
		pod("macvlan with host-local", "samplepod", eth0("net1"), "192.168.1.2"),
		pod("the address that the pod asks for, inside the range", "static-address", eth0("net1"), "192.168.1.100/24"),
		pod("custom names", "custom-names", eth0("storage", "backup"), "192.168.7.", "192.168.7.1"),
		pod("routes", "routes", eth0("net1"), "192.168.8."),
		pod("macvlan, ipvlan, and a bridge of the administrators", "three-networks", eth0("net1", "net2", "net3"), "192.168.1.2", "192.168.2.", "192.168.3."),
		pod("fallback to macvlan on VLAN 100", "fallback-pod", eth0("net1"), "10.103.0."),
		{"Deployment: 3 replicas with net1", func() (string, error) { return e.replicas(ctx, tenantNamespace, "192.168.6.") }},
		{"VF with VLAN 100 and a static address of the range", func() (string, error) { return t.vfPod(ctx) }},
		{"the tenant may not read the policies", func() (string, error) {
			_, err := t.api.CoreV1().ConfigMaps(agentNamespace).Get(ctx, policiesName, metav1.GetOptions{})
			if err == nil || !strings.Contains(err.Error(), "forbidden") {
				return "", fmt.Errorf("the API server answers: %v", err)
			}
			return "forbidden", nil
		}},
	})
}

func (t *Tenant) vfPod(ctx context.Context) (string, error) {
	v, err := t.c.nodes().vfOf(ctx, tenantNamespace, "vf-pod", "net1")
	if err != nil {
		return "", err
	}
	expected := knobs{MAC: v.Knobs.MAC, VLAN: 100, SpoofCheck: true}
	if err := want("the VF at the PF", v.Knobs, expected); err != nil {
		return "", err
	}
	fallback, err := t.c.nodes().linkInPod(ctx, tenantNamespace, "fallback-pod", "net1")
	if err != nil {
		return "", err
	}
	address, _, _ := strings.Cut(fallback.ipv4(), "/")
	measured, err := t.c.nodes().reach(ctx, tenantNamespace, "vf-pod", address, 56)
	return v.Knobs.String() + ", " + measured, err
}

// DropPolicies takes the policies away after a test that has failed: other tests need none.
func DropPolicies(ctx context.Context, c *Cluster) error {
	_, err := c.Lab.Exec(ctx, "node1", removeStorage+" 2>/dev/null || true")
	return errors.Join(err, usePolicies(ctx, c, ""))
}

// Gone deletes the tenants, and takes the policies away.
func (t *Tenant) Gone(ctx context.Context) Facts {
	var f Facts
	f.check("tenants deleted: they are gone", func() (string, error) { return "", t.c.Delete(ctx, TenantNamespaces()...) })
	f.check("the policies are taken away", func() (string, error) { return "", usePolicies(ctx, t.c, "") })
	for _, node := range t.c.Lab.Nodes() {
		f.check(node+": ledger empty, pools full", func() (string, error) { return empty(ctx, t.c, node, TenantNamespaces()...) })
	}
	return f
}
