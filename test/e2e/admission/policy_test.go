//go:build lab

package admission

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// S10: the token of the agent of n1 changes the network-status annotation of pods of n1,
// and nothing else of any pod.
func TestTheAgentsTokenChangesOneAnnotation(t *testing.T) {
	s := start(t)
	s.apply(t, "../../../deployments/fairlead.yaml", "")
	s.create(t, "/api/v1/nodes", `{apiVersion: v1, kind: Node, metadata: {name: n1}}`)
	s.create(t, "/api/v1/nodes", `{apiVersion: v1, kind: Node, metadata: {name: n2}}`)
	s.pod(t, "default", "mine", "n1")
	s.pod(t, "default", "other", "n2")
	s.pod(t, "default", "pending", "")
	s.pod(t, "kube-system", "system", "n2")
	s.pod(t, "fairlead-system", "agent", "n1")
	token := s.token(t, "agent")
	unbound := s.token(t, "")

	const status = `{"metadata": {"annotations": {"k8s.v1.cni.cncf.io/network-status": "[]"}}}`
	// Policies take effect some time after they are made.
	s.until(t, "the policy is in effect", func() error {
		if err := s.patch(t, token, "default/other", status); err == nil {
			return errors.New("a pod of another node may be patched")
		}
		return nil
	})
	tests := []struct{ name, token, pod, patch, refusal string }{
		{"the network status of a pod of its node", token, "default/mine", status, ""},
		{"the same again, with another text", token, "default/mine", strings.Replace(status, "[]", "[1]", 1), ""},
		{"a pod of another node", token, "default/other", status, "the agent of node n1 may patch pods of its own node only"},
		{"a pod of kube-system", token, "kube-system/system", status, "the agent of node n1 may patch pods of its own node only"},
		{"a pod of no node", token, "default/pending", status, "the agent of node n1 may patch pods of its own node only"},
		{"a token that names no node", unbound, "default/mine", status, "the agent's token names no node"},
		{"another annotation", token, "default/mine", `{"metadata": {"annotations": {"a": "b"}}}`, "the agent may change one annotation of a pod"},
		{"an annotation's removal", token, "default/mine", `{"metadata": {"annotations": {"kept": null}}}`, "the agent may change one annotation of a pod"},
		{"an annotation's text", token, "default/mine", `{"metadata": {"annotations": {"kept": "no"}}}`, "the agent may change one annotation of a pod"},
		{"a label", token, "default/mine", `{"metadata": {"labels": {"app": "db"}}}`, "may not change labels, finalizers or owners"},
		{"a finalizer", token, "default/mine", `{"metadata": {"finalizers": ["example.com/stay"]}}`, "may not change labels, finalizers or owners"},
		{"the phase", token, "default/mine", `{"status": {"phase": "Failed"}}`, "the agent may not change the status of a pod"},
		{"the address", token, "default/mine", `{"status": {"podIP": "10.9.9.9", "podIPs": [{"ip": "10.9.9.9"}]}}`, "the agent may not change the status of a pod"},
		{"a condition", token, "default/mine", `{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}`, "the agent may not change the status of a pod"},
		{"the administrator is not concerned", adminToken, "default/other", `{"metadata": {"labels": {"app": "db"}}}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := s.patch(t, tt.token, tt.pod, tt.patch)
			if tt.refusal == "" && err != nil {
				t.Error(err)
			}
			if tt.refusal != "" && (err == nil || !strings.Contains(err.Error(), tt.refusal)) {
				t.Errorf("got %v, want a refusal: %s", err, tt.refusal)
			}
		})
	}
}

func (s *server) patch(t *testing.T, token, pod, patch string) error {
	namespace, name, _ := strings.Cut(pod, "/")
	path := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/status", namespace, name)
	return s.do(t.Context(), token, "PATCH", path, "application/merge-patch+json", []byte(patch), nil)
}

func (s *server) pod(t *testing.T, namespace, name, node string) {
	t.Helper()
	s.create(t, "/api/v1/namespaces/"+namespace+"/pods", fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, annotations: {kept: "yes"}}
spec: {nodeName: %q, serviceAccountName: fairlead-agent, containers: [{name: main, image: main}]}`, name, node))
}

// token returns one of the agent's ServiceAccount, bound to a pod if one is named: the
// kubelet requests the agent's own in the same way.
func (s *server) token(t *testing.T, pod string) string {
	t.Helper()
	spec := ""
	if pod != "" {
		var object struct {
			Metadata struct {
				UID string `json:"uid"`
			} `json:"metadata"`
		}
		if err := s.do(t.Context(), adminToken, "GET", "/api/v1/namespaces/fairlead-system/pods/"+pod, "", nil, &object); err != nil {
			t.Fatal(err)
		}
		spec = fmt.Sprintf(`"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": %q, "uid": %q}`, pod, object.Metadata.UID)
	}
	var answer struct {
		Status struct {
			Token string `json:"token"`
		} `json:"status"`
	}
	request := `{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {` + spec + `}}`
	if err := s.do(t.Context(), adminToken, "POST", "/api/v1/namespaces/fairlead-system/serviceaccounts/fairlead-agent/token", "application/json", []byte(request), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Status.Token
}

// apply creates the objects of a manifest. Those without a namespace are made in the given one.
func (s *server) apply(t *testing.T, file, namespace string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	reader := kyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		var object struct {
			Kind     string `json:"kind"`
			Metadata struct {
				Namespace string `json:"namespace"`
			} `json:"metadata"`
		}
		if err := yaml.Unmarshal(doc, &object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if object.Kind == "NetworkAttachmentDefinition" {
			continue // this server has no such kind
		}
		s.create(t, path(t, object.Kind, cmp.Or(object.Metadata.Namespace, namespace)), string(doc))
	}
}

// path returns the path of the objects of a kind.
func path(t *testing.T, kind, namespace string) string {
	t.Helper()
	paths := map[string]string{
		"Namespace": "/api/v1/namespaces", "ServiceAccount": "/api/v1/namespaces/%s/serviceaccounts", "ConfigMap": "/api/v1/namespaces/%s/configmaps",
		"DaemonSet": "/apis/apps/v1/namespaces/%s/daemonsets", "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
		"ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
		"Role":               "/apis/rbac.authorization.k8s.io/v1/namespaces/%s/roles", "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/%s/rolebindings",
		"ValidatingAdmissionPolicy":        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
		"ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
	}
	format := paths[kind]
	if format == "" {
		t.Fatalf("kind %q has no path here", kind)
	}
	if strings.Contains(format, "%s") {
		return fmt.Sprintf(format, namespace)
	}
	return format
}
