package config

import (
	"strings"
	"testing"
)

const policyHead = "apiVersion: fairlead.dev/v1alpha1\nkind: AttachmentPolicy\nmetadata: {name: tenants}\n"

// Reading is strict: a field that is not understood would be a rule that is not kept.
func TestPoliciesAreReadStrictly(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{policyHead + "spec: {namespaces: [a], network: {}}", `unknown field "spec.network"`},
		{policyHead + "spec: {networks: {}}", "spec.namespaces: is empty"},
		{strings.Replace(policyHead, "tenants", "default", 1) + "spec: {namespaces: [a]}", `the policy "default" is for all namespaces`},
		{policyHead + "spec: {namespaces: [\"[\"]}", "is not a glob"},
		{policyHead + "spec: {namespaces: [a], networks: {vlans: 100-5000}}", "is not a range of VLANs"},
		{policyHead + "spec: {namespaces: [a], networks: {vlans: 9-5}}", "is not a range of VLANs"},
		{policyHead + "spec: {namespaces: [a], networks: {trust: yes}}", "put it in quotes"},
		{policyHead + "spec: {namespaces: [a], networks: {modes: [bridged]}}", `"bridged" is not one of`},
		{policyHead + "spec: {namespaces: [a], networks: {plugins: [../x]}}", "is not the type of a plugin"},
		{policyHead + "spec: {namespaces: [a], networks: {plugins: [\"program:bridge\"]}}", "is for the plugin bridge and for its program alike"},
		{policyHead + "spec: {namespaces: [a], networks: {hostPaths: [/var/../etc]}}", "in its shortest form"},
		{policyHead + "spec: {namespaces: [a], networks: {maxTxRate: 0}}", "out of range"},
		{policyHead + "spec: {namespaces: [a], pods: {ips: some}}", `"some" is not one of none, range, any`},
		{policyHead + "spec: {namespaces: [a], pods: {deviceID: any}}", `"any" is not one of never, allow`},
		{policyHead + "spec: {namespaces: [a], pods: {maxNetworks: 33}}", "out of range: 0 to 32"},
		{strings.Replace(policyHead, "v1alpha1", "v1", 1) + "spec: {namespaces: [a]}", "only AttachmentPolicy of fairlead.dev/v1alpha1 is read here"},
		{head + "spec: {vfGroups: [{allow: {trust: [yes]}}]}", "put it in quotes"},
	} {
		_, err := ParsePolicy([]byte(tt.text), "p.yaml")
		if strings.HasPrefix(tt.text, head) {
			_, err = ParseProfile([]byte(tt.text), "p.yaml")
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "p.yaml: document 1 (line 1): ") {
			t.Errorf("%s\n%v, want %q", tt.text, err, tt.want)
		}
	}
}

func TestAllowOfAVFGroup(t *testing.T) {
	_, err := ParseProfile([]byte(head+`spec: {vfGroups: [{allow: {namespaces: ["["], vlans: x, trust: ["maybe"], spoofCheck: [""], mac: some}}]}`), "p.yaml")
	for _, field := range []string{"namespaces", "vlans", "trust", "spoofCheck", "mac"} {
		if err == nil || !strings.Contains(err.Error(), "spec.vfGroups[0].allow."+field+": ") {
			t.Errorf("%s is accepted: %v", field, err)
		}
	}
}
