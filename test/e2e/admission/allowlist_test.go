//go:build lab

package admission

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// S22: the list of scenario 9 is the administrators'. Who has the role edit in a namespace
// cannot change it, and a ConfigMap of the same name in the own namespace has no effect.
func TestTheAllowListIsNotTheTenants(t *testing.T) {
	s := start(t)
	s.create(t, "/api/v1/namespaces", `{apiVersion: v1, kind: Namespace, metadata: {name: unlisted, labels: {networks-restricted: "true"}}}`)
	s.apply(t, "../../../deployments/examples/scenarios/09-rbac.yaml", "default")
	// The rules of the role edit: no controller aggregates them here.
	for _, namespace := range []string{"default", "unlisted"} {
		s.create(t, "/apis/rbac.authorization.k8s.io/v1/namespaces/"+namespace+"/rolebindings", `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: jane-edits}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:aggregate-to-edit"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}]`)
	}
	label := []byte(`{"metadata": {"labels": {"networks-restricted": "true"}}}`)
	if err := s.do(t.Context(), adminToken, "PATCH", "/api/v1/namespaces/default", "application/merge-patch+json", label, nil); err != nil {
		t.Fatal(err)
	}
	s.until(t, "the policy is in effect", func() error {
		if err := s.janesPod(t, "default", "bridge-conf"); err == nil || !strings.Contains(err.Error(), "may use the networks macvlan-conf") {
			return errors.New("bridge-conf is not refused")
		}
		return nil
	})

	list := []byte(`{"data": {"default": "bridge-conf", "unlisted": "bridge-conf", "networks": "bridge-conf"}}`)
	own := []byte(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "allowed-networks"}, ` + string(list[1:]))
	if err := s.do(t.Context(), janesToken, "POST", "/api/v1/namespaces/default/configmaps", "application/json", own, nil); err != nil {
		t.Errorf("jane may edit, and cannot make a ConfigMap: %v", err)
	}
	err := s.do(t.Context(), janesToken, "PATCH", "/api/v1/namespaces/network-admins/configmaps/allowed-networks", "application/merge-patch+json", list, nil)
	if err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("jane changes the administrators' list: %v", err)
	}
	for _, tt := range []struct{ namespace, networks, refusal string }{
		{"default", "macvlan-conf", ""},
		{"default", "macvlan-conf@net7", ""},
		{"default", "", ""},
		{"default", "bridge-conf", "may use the networks macvlan-conf "},
		{"default", "macvlan-conf,bridge-conf", "may use the networks macvlan-conf "},
		{"default", `[{"name": "macvlan-conf"}]`, "may use the networks macvlan-conf "},
		{"default", "other/macvlan-conf", "may use the networks macvlan-conf "},
		{"unlisted", "", ""},
		{"unlisted", "macvlan-conf", "may use the networks  "},
	} {
		err := s.janesPod(t, tt.namespace, tt.networks)
		if tt.refusal == "" && err != nil || tt.refusal != "" && (err == nil || !strings.Contains(err.Error(), tt.refusal)) {
			t.Errorf("%s, %q: got %v, want a refusal %q", tt.namespace, tt.networks, err, tt.refusal)
		}
	}
}

// janesPod asks whether jane may create a pod.
func (s *server) janesPod(t *testing.T, namespace, networks string) error {
	t.Helper()
	pod := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "janes", "annotations": {"k8s.v1.cni.cncf.io/networks": %q}},
"spec": {"containers": [{"name": "main", "image": "main"}]}}`, networks)
	return s.do(t.Context(), janesToken, "POST", "/api/v1/namespaces/"+namespace+"/pods?dryRun=All", "application/json", []byte(pod), nil)
}
