package main

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/state"
)

const (
	lintPolicy = "apiVersion: fairlead.dev/v1alpha1\nkind: AttachmentPolicy\nmetadata: {name: default}\nspec: {networks: {plugins: [sriov]}}\n"
	lintNAD    = "apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\nmetadata: {name: lan}\nspec: {config: '{\"type\": \"sriov\"}'}\n"
)

// The exit code is another one for refusals than for files that cannot be read.
func TestLintExitCodes(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte(lintPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := fairleadctl(t, lintNAD, "lint", policy, "-")
	if err != nil || out != "2 objects: 0 refused, 0 warnings\n" {
		t.Errorf("a network that is allowed: %v\n%s", err, out)
	}
	out, err = fairleadctl(t, strings.Replace(lintNAD, "sriov", "host-device", 1), "lint", policy, "-")
	if !errors.Is(err, errProblems) || !strings.Contains(out, `-: refused: net-attach-def default/lan, plugin "host-device", field type: policy default refuses`) {
		t.Errorf("a network that is refused: %v\n%s", err, out)
	}
	for _, args := range [][]string{{"lint", "--socket", filepath.Join(t.TempDir(), "none")}, {"lint", "/no/such/file"}} {
		if _, err := fairleadctl(t, "", args...); err == nil || errors.Is(err, errProblems) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// security S11: manifests are tenants' texts.
func TestLintEscapesWhatDoesNotPrint(t *testing.T) {
	out, _ := fairleadctl(t, strings.Replace(lintNAD, `"sriov"`, `"x","master":"\u001b[31m"`, 1)+"---\n"+lintPolicy, "lint", "-")
	if strings.Contains(out, "\x1b") || !strings.Contains(out, "refused") {
		t.Errorf("%q", out)
	}
}

// On a node, the objects that the agent has cached are compared with a policy before it is
// in effect. Without a file, they are compared with the ConfigMap.
func TestLintOfANode(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	list := `{"apiVersion": "v1", "kind": "List", "items": [
		{"kind": "NetworkAttachmentDefinition", "metadata": {"name": "lan", "namespace": "a"}, "spec": {"config": "{\"type\": \"macvlan\", \"master\": \"eth1\"}"}},
		{"kind": "ConfigMap", "metadata": {"name": "fairlead-policies"}, "data": {"x": "{apiVersion: fairlead.dev/v1alpha1, kind: AttachmentPolicy, metadata: {name: default}, spec: {networks: {uplinks: [eth1]}}}"}}]}`
	handler := state.WithManifests(http.NotFoundHandler(), func() ([]byte, error) { return []byte(list), nil })
	server := &http.Server{Handler: handler}
	go server.Serve(listener) // ends with Close
	t.Cleanup(func() { server.Close() })

	if out, err := fairleadctl(t, "", "--socket", socket, "lint"); err != nil || out != "2 objects: 0 refused, 0 warnings\n" {
		t.Errorf("with the policy in effect: %v\n%s", err, out)
	}
	out, err := fairleadctl(t, lintPolicy, "--socket", socket, "lint", "--node", "-")
	if !errors.Is(err, errProblems) || !strings.Contains(out, `node: refused: net-attach-def a/lan, plugin "macvlan", field type: policy default refuses "macvlan"`) {
		t.Errorf("with another policy: %v\n%s", err, out)
	}
}
