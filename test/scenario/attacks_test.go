package scenario

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/deployments/examples"
	"fairlead.dev/fairlead/pkg/lint"
)

var someAims = aims{freeVF: "0000:02:10.1", victimVF: "0000:02:10.3", victimVeth: "veth0a1b2c3d", storage: "pf1", vfNetdev: "eth4"}

// security S1 to S7, S11, S12, S20, section 2: fairleadctl lint refuses each manifest before
// it is applied. The end-to-end test applies the same ones.
func TestLintRefusesTheAttacks(t *testing.T) {
	names := map[string]bool{}
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			if names[a.name] {
				t.Error("there are two attacks of this name")
			}
			names[a.name] = true
			a = a.aimed(someAims)
			lines := findings(t, a.manifest())
			if (a.lint == "") == (a.nodeOnly == "") {
				t.Fatal("the attack says neither what lint finds, nor why it finds nothing; or both")
			}
			if !strings.Contains(lines, a.lint) {
				t.Errorf("no line says %q:\n%s", a.lint, lines)
			}
			if a.nodeOnly != "" && strings.Contains(lines, "refused") {
				t.Errorf("it is said that %s, but lint knows too:\n%s", a.nodeOnly, lines)
			}
		})
	}
}

// The tenant's everyday manifests pass the same policies.
func TestLintAcceptsTheTenantsEverydayWork(t *testing.T) {
	text, err := adapt(tenantOwn, change{namespace: tenantNamespace})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range tenantsEveryday() {
		more, err := example(a.file, change{namespace: a.namespace})
		if err != nil {
			t.Fatal(err)
		}
		text += more
	}
	for _, pod := range tenantsPods() {
		text += pod.Manifest(tenantNamespace)
	}
	if lines := findings(t, text); strings.Contains(lines, "refused") {
		t.Error(lines)
	}
}

// findings runs lint over a manifest, with the policies and the networks that the attacks use.
func findings(t *testing.T, manifest string) string {
	t.Helper()
	files := []lint.File{{Name: "policy", Text: []byte(strictPolicy())}, {Name: "setting", Text: []byte(tenantSetting)}, {Name: "attack", Text: []byte(manifest)}}
	for _, name := range []string{"scenarios/01-second-interface.yaml", "scenarios/03-static-address.yaml"} {
		text, err := example(name, change{namespace: tenantNamespace})
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, lint.File{Name: name, Text: []byte(text)})
	}
	own, err := adapt(tenantOwn, change{namespace: tenantNamespace})
	if err != nil {
		t.Fatal(err)
	}
	if manifest != own && !strings.HasPrefix(manifest, own) {
		files = append(files, lint.File{Name: "own", Text: []byte(own)})
	}
	var lines strings.Builder
	for _, f := range lint.Check(files, lint.Options{DefaultNetworkNamespace: "kube-system", ResourcePrefix: "fairlead.dev"}).Findings {
		word := "warning: "
		if f.Refused {
			word = "refused: "
		}
		if f.File == "attack" || f.Refused {
			lines.WriteString(f.File + ": " + word + f.Text + "\n")
		}
	}
	return lines.String()
}

// A policy that cannot be read would refuse everything, and the attacks would prove nothing.
func TestTheStrictPolicyIsTheExample(t *testing.T) {
	strict, err := examples.Files.ReadFile("policies/strict.yaml")
	if err != nil || !strings.Contains(string(strict), `"ens2f*"`) || strings.Contains(strictPolicy(), `"ens2f*"`) {
		t.Errorf("%v; the lab's policy:\n%s", err, strictPolicy())
	}
	if lines := findings(t, ""); lines != "" {
		t.Error(lines)
	}
}
