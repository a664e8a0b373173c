package lint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/lint"
)

const nads = `# networks of a tenant
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: ok, namespace: team-a}
spec:
  config: '{"type": "ipvlan", "master": "ens2f0", "ipam": {"type": "static", "addresses": [{"address": "10.0.0.1/24"}]}}'
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: steal, namespace: team-a}
spec:
  config: '{"type": "host-device", "device": "mgmt"}'
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: take-all, namespace: other}
spec:
  config: '{"type": "macvlan", "mode": "passthru", "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}}'
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: torn, namespace: team-a}
spec:
  config: '{"type": '
---
apiVersion: v1
kind: Service
metadata: {name: none-of-our-business}
`

const pods = `
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: p, namespace: team-a, annotations: {k8s.v1.cni.cncf.io/networks: '[{"name": "ok", "mac": "02:00:00:00:00:01", "ips": ["10.0.1.9/24"]}]'}}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: d, namespace: team-a}
  spec: {template: {metadata: {annotations: {k8s.v1.cni.cncf.io/networks: team-b/other}}}}
- apiVersion: batch/v1
  kind: CronJob
  metadata: {name: c, namespace: team-a}
  spec: {jobTemplate: {spec: {template: {metadata: {annotations: {v1.multus-cni.io/default-network: open}}}}}}
`

// strict is the example that the documentation ships.
func strict(t *testing.T) lint.File {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash("../../deployments/examples/policies/strict.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return lint.File{Name: "strict.yaml", Text: text}
}

func report(files ...lint.File) string {
	var out strings.Builder
	for _, f := range lint.Check(files, lint.Options{DefaultNetworkNamespace: "kube-system", ResourcePrefix: "fairlead.dev"}).Findings {
		word := "warning"
		if f.Refused {
			word = "refused"
		}
		out.WriteString(f.File + ": " + word + ": " + f.Text + "\n")
	}
	return out.String()
}

// expect wants each line's beginning in the report, and no other line.
func expect(t *testing.T, got string, want ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(got), "\n")
	if got == "" {
		lines = nil
	}
	if len(lines) != len(want) {
		t.Errorf("%d findings, want %d:\n%s", len(lines), len(want), got)
		return
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w) {
			t.Errorf("finding %d is %q, want %q", i, lines[i], w)
		}
	}
}

func TestLintShowsWhatAPolicyWouldRefuse(t *testing.T) {
	expect(t, report(strict(t), lint.File{Name: "nads.yaml", Text: []byte(nads)}, lint.File{Name: "pods.yaml", Text: []byte(pods)}),
		`nads.yaml: refused: net-attach-def team-a/steal, plugin "host-device", field type: policy tenants refuses "host-device"`,
		`nads.yaml: refused: net-attach-def team-a/steal, plugin "host-device", field device: policy tenants refuses "mgmt"`,
		`nads.yaml: refused: net-attach-def other/take-all, plugin "macvlan", field mode: every node refuses "passthru"`,
		`nads.yaml: refused: net-attach-def other/take-all, plugin "macvlan", field mode: policy default refuses "passthru"`,
		`nads.yaml: warning: net-attach-def other/take-all: every node hands out the range of host-local`,
		`nads.yaml: refused: net-attach-def team-a/torn, spec.config: is not a JSON object`,
		`pods.yaml: refused: Pod team-a/p: annotation k8s.v1.cni.cncf.io/networks, network 1 (team-a/ok), field mac: policy tenants refuses`,
		`pods.yaml: refused: Pod team-a/p: annotation k8s.v1.cni.cncf.io/networks, network 1 (team-a/ok), field ips: policy tenants refuses "10.0.1.9/24"`,
		`pods.yaml: refused: Deployment team-a/d: annotation k8s.v1.cni.cncf.io/networks, network 1 (team-b/other), field namespace: policy tenants`,
		`pods.yaml: warning: Deployment team-a/d: net-attach-def team-b/other is not among the files`,
		`pods.yaml: refused: CronJob team-a/c: annotation v1.multus-cni.io/default-network, network 1 (kube-system/open), field name: policy tenants`,
		`pods.yaml: warning: CronJob team-a/c: net-attach-def kube-system/open is not among the files`,
	)
}

// Without a policy the floors hold, and nothing else is refused.
func TestLintWithoutAPolicy(t *testing.T) {
	expect(t, report(lint.File{Name: "nads.yaml", Text: []byte(nads)}),
		`nads.yaml: refused: net-attach-def other/take-all, plugin "macvlan", field mode: every node refuses "passthru"`,
		`nads.yaml: warning: net-attach-def other/take-all`,
		`nads.yaml: refused: net-attach-def team-a/torn`,
	)
}

// An invalid policy has its document and line.
func TestLintOfPoliciesAndProfiles(t *testing.T) {
	const text = `apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: fairlead.dev/v1alpha1
kind: AttachmentPolicy
metadata: {name: tenants}
spec: {namespaces: [x], network: {}}
---
apiVersion: fairlead.dev/v1alpha1
kind: NICProfile
metadata: {name: fast}
spec: {pf: {numVFs: -1}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: fairlead-policies}
data: {a: "kind: What"}
---
no manifest
`
	expect(t, report(lint.File{Name: "x.yaml", Text: []byte(text)}),
		`x.yaml: refused: x.yaml: document 2 (line 4): unknown field "spec.network"`,
		`x.yaml: refused: x.yaml: document 3 (line 9): profile "fast": spec.pf.numVFs: -1 is out of range`,
		`x.yaml: ConfigMap fairlead-policies/a: refused: x.yaml: ConfigMap fairlead-policies/a: document 1 (line 1): apiVersion "", kind "What"`,
		`x.yaml: refused: document 5: `,
	)
}

// A VF group says who may have its VFs.
func TestLintOfVFGroups(t *testing.T) {
	const text = `apiVersion: fairlead.dev/v1alpha1
kind: NICProfile
metadata: {name: fast}
spec: {vfGroups: [{resourceName: fast, allow: {namespaces: ["nfv-*"], vlans: "100-199"}}]}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: fast, annotations: {k8s.v1.cni.cncf.io/resourceName: fairlead.dev/fast}}
spec: {config: '{"type": "sriov", "vlan": 666}'}
---
apiVersion: v1
kind: Pod
metadata: {name: p, annotations: {k8s.v1.cni.cncf.io/networks: fast}}
`
	expect(t, report(lint.File{Name: "x.yaml", Text: []byte(text)}),
		`x.yaml: refused: network default/fast, VF of fairlead.dev/fast, field vlan: the VF group "fast" of profile fast refuses "666"`,
		`x.yaml: refused: network default/fast, VF of fairlead.dev/fast, field namespace: the VF group "fast" of profile fast refuses "default"`,
	)
}

// host-local's files know the CNI name only.
func TestLintWarnsOfSharedAddresses(t *testing.T) {
	one := func(namespace string) string {
		return "---\napiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\nmetadata: {name: lan, namespace: " + namespace +
			"}\nspec: {config: '{\"type\": \"sriov\", \"ipam\": {\"type\": \"host-local\", \"subnet\": \"10.0.0.0/24\"}}'}\n"
	}
	got := report(lint.File{Name: "x.yaml", Text: []byte(one("a") + one("b"))})
	if !strings.Contains(got, `net-attach-def b/lan has the CNI name "lan" of a/lan`) {
		t.Error(got)
	}
}
