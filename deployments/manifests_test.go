// Package deployments_test checks the manifests: they decode without an unknown field,
// grant no more than is used, and mount the folders that the agent works in. The tests
// in the lab show that they work.
package deployments_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// decode reads every document of a manifest, strictly.
func decode(t *testing.T, file string) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme), rbacv1.AddToScheme(scheme), admissionv1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var out []runtime.Object
	for _, doc := range documents(t, file) {
		o, _, err := decoder.Decode(doc, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v\n%s", file, err, doc)
		}
		out = append(out, o)
	}
	return out
}

func documents(t *testing.T, file string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	reader := kyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, doc)
	}
}

func find[T runtime.Object](t *testing.T, objects []runtime.Object) T {
	t.Helper()
	for _, o := range objects {
		if v, ok := o.(T); ok {
			return v
		}
	}
	t.Fatalf("the manifest has no %T", *new(T))
	panic("unreachable")
}

func TestManifestDecodes(t *testing.T) {
	var kinds []string
	for _, o := range decode(t, "fairlead.yaml") {
		m, ok := o.(metav1.Object)
		if !ok {
			t.Fatalf("%T has no metadata", o)
		}
		if ns := m.GetNamespace(); ns != "" && ns != "fairlead-system" {
			t.Errorf("%s is in namespace %s", m.GetName(), ns)
		}
		kinds = append(kinds, strings.TrimPrefix(fmt.Sprintf("%T", o), "*"))
	}
	// The DaemonSet goes before its permissions when the file is deleted: the agents
	// then see that they are uninstalled, and restore their nodes (m#1527).
	if slices.Index(kinds, "v1.DaemonSet") > slices.Index(kinds, "v1.ClusterRole") {
		t.Errorf("the permissions stand before the DaemonSet: %v", kinds)
	}
}

// m#181: no more than is used, no secrets, no wildcards.
func TestPermissionsAreNarrow(t *testing.T) {
	objects := decode(t, "fairlead.yaml")
	const want = `cluster: /pods: get list watch
cluster: /pods/status: patch
cluster: /nodes: list watch
cluster: /events: create patch
cluster: k8s.cni.cncf.io/network-attachment-definitions: get list watch
fairlead-system: /configmaps [fairlead-profiles fairlead-policies fairlead-device-plugin]: list watch
fairlead-system: apps/daemonsets [fairlead-agent]: get list watch
`
	var got strings.Builder
	list := func(scope string, rules []rbacv1.PolicyRule) {
		for _, r := range rules {
			for _, s := range slices.Concat(r.APIGroups, r.Resources, r.Verbs, r.NonResourceURLs) {
				if strings.Contains(s, "*") || s == "secrets" {
					t.Errorf("%s: %q is granted", scope, s)
				}
			}
			names := ""
			if len(r.ResourceNames) > 0 {
				names = fmt.Sprint(" ", r.ResourceNames)
			}
			fmt.Fprintf(&got, "%s: %s/%s%s: %s\n", scope, strings.Join(r.APIGroups, " "), strings.Join(r.Resources, " "), names, strings.Join(r.Verbs, " "))
		}
	}
	list("cluster", find[*rbacv1.ClusterRole](t, objects).Rules)
	role := find[*rbacv1.Role](t, objects)
	list(role.Namespace, role.Rules)
	if d := cmp.Diff(want, got.String()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	account := find[*corev1.ServiceAccount](t, objects)
	for _, subjects := range [][]rbacv1.Subject{find[*rbacv1.ClusterRoleBinding](t, objects).Subjects, find[*rbacv1.RoleBinding](t, objects).Subjects} {
		want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: account.Name, Namespace: account.Namespace}}
		if d := cmp.Diff(want, subjects); d != "" {
			t.Errorf("subjects: -want +got\n%s", d)
		}
	}
}

func TestAgentPod(t *testing.T) {
	ds := find[*appsv1.DaemonSet](t, decode(t, "fairlead.yaml"))
	spec := ds.Spec.Template.Spec
	if !spec.HostNetwork || !spec.HostPID || spec.PriorityClassName != "system-node-critical" {
		t.Errorf("hostNetwork %t, hostPID %t, priority class %q", spec.HostNetwork, spec.HostPID, spec.PriorityClassName)
	}
	if d := cmp.Diff([]corev1.Toleration{{Operator: corev1.TolerationOpExists}}, spec.Tolerations); d != "" {
		t.Errorf("tolerations: -want +got\n%s", d)
	}
	// Calls under way may take 20 s to end. The rest (asking whether this is an
	// uninstall, restoring the node) must fit as well.
	if g := spec.TerminationGracePeriodSeconds; g == nil || *g < 30 {
		t.Errorf("terminationGracePeriodSeconds %v", g)
	}
	agent := spec.Containers[0]
	if agent.ImagePullPolicy != corev1.PullIfNotPresent || agent.Image != "fairlead.dev/fairlead-agent:dev" {
		t.Errorf("image %s, pulled %s", agent.Image, agent.ImagePullPolicy)
	}
	if !agent.Resources.Limits.Cpu().IsZero() {
		t.Error("the agent has a CPU limit: a burst of pods would throttle it (m#1346)")
	}
	// S7: without a memory limit, the kernel takes other tenants' pods first. That the agent's
	// own bounds stay below it, so that a burst does not kill the agent, is a test of agent.
	if agent.Resources.Limits.Memory().IsZero() || !slices.Contains(agent.Args, "--memory-limit=$(MEMORY_LIMIT)") {
		t.Error("the agent has no memory limit, or does not know it")
	}
	// A file in a place that is no mount would vanish with the container.
	const want = `/etc/cni/multus/net.d <- /etc/cni/multus/net.d read-only
/etc/cni/net.d <- /etc/cni/net.d
/etc/cni/tuning <- /etc/cni/tuning read-only
/etc/fairlead <- /etc/fairlead read-only
/opt/cni/bin <- /opt/cni/bin
/run/fairlead <- /run/fairlead
/run/k8s.cni.cncf.io <- /var/run/k8s.cni.cncf.io
/run/netns <- /run/netns HostToContainer
/var/lib/cni <- /var/lib/cni
/var/lib/fairlead <- /var/lib/fairlead
/var/lib/kubelet/device-plugins <- /var/lib/kubelet/device-plugins
/var/lib/kubelet/pod-resources <- /var/lib/kubelet/pod-resources
`
	host := map[string]string{}
	for _, v := range spec.Volumes {
		if v.HostPath == nil {
			t.Errorf("volume %s is no hostPath", v.Name)
			continue
		}
		host[v.Name] = v.HostPath.Path
	}
	var lines []string
	for _, m := range agent.VolumeMounts {
		line := m.MountPath + " <- " + host[m.Name]
		if m.ReadOnly {
			line += " read-only"
		}
		if m.MountPropagation != nil {
			line += " " + string(*m.MountPropagation)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	if d := cmp.Diff(want, strings.Join(lines, "\n")+"\n"); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if len(host) != len(agent.VolumeMounts) {
		t.Errorf("%d volumes for %d mounts", len(host), len(agent.VolumeMounts))
	}
}

// crd is the part of a CustomResourceDefinition that net-attach-defs need.
type crd struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Group string `json:"group"`
		Scope string `json:"scope"`
		Names struct {
			Kind       string   `json:"kind"`
			ListKind   string   `json:"listKind"`
			Plural     string   `json:"plural"`
			Singular   string   `json:"singular"`
			ShortNames []string `json:"shortNames"`
		} `json:"names"`
		Versions []struct {
			Name    string              `json:"name"`
			Served  bool                `json:"served"`
			Storage bool                `json:"storage"`
			Schema  map[string]schema   `json:"schema"`
			Columns []map[string]string `json:"additionalPrinterColumns"`
		} `json:"versions"`
	} `json:"spec"`
}

type schema struct {
	Type        string            `json:"type"`
	Description string            `json:"description"`
	Properties  map[string]schema `json:"properties"`
}

// Manifests and clients written for the existing kind find it under its names.
func TestNetAttachDefCRD(t *testing.T) {
	docs := documents(t, "crds/network-attachment-definitions.yaml")
	if len(docs) != 1 {
		t.Fatalf("%d documents", len(docs))
	}
	data, err := yaml.YAMLToJSONStrict(docs[0])
	if err != nil {
		t.Fatal(err)
	}
	var c crd
	if unknown, err := kjson.UnmarshalStrict(data, &c); err != nil || len(unknown) > 0 {
		t.Fatal(err, unknown)
	}
	v := c.Spec.Versions[0]
	got := fmt.Sprintln(c.APIVersion, c.Kind, c.Metadata.Name, c.Spec.Group, c.Spec.Scope, c.Spec.Names, len(c.Spec.Versions), v.Name, v.Served, v.Storage)
	const want = "apiextensions.k8s.io/v1 CustomResourceDefinition network-attachment-definitions.k8s.cni.cncf.io k8s.cni.cncf.io Namespaced " +
		"{NetworkAttachmentDefinition NetworkAttachmentDefinitionList network-attachment-definitions network-attachment-definition [net-attach-def]} 1 v1 true true\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if config := v.Schema["openAPIV3Schema"].Properties["spec"].Properties["config"]; config.Type != "string" {
		t.Errorf("spec.config is %+v", config)
	}
}
