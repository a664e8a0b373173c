package deployments_test

import (
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/pkg/network"
)

// S10: the policy is about the agent's ServiceAccount, covers all of a pod, denies, and
// fails closed. test/e2e/admission shows on an API server that it works.
func TestAdmissionPolicy(t *testing.T) {
	objects := decode(t, "fairlead.yaml")
	policy, binding := find[*admissionv1.ValidatingAdmissionPolicy](t, objects), find[*admissionv1.ValidatingAdmissionPolicyBinding](t, objects)
	account := find[*corev1.ServiceAccount](t, objects)
	if binding.Spec.PolicyName != policy.Name || !slices.Equal(binding.Spec.ValidationActions, []admissionv1.ValidationAction{admissionv1.Deny}) {
		t.Errorf("the binding has policy %q and actions %v", binding.Spec.PolicyName, binding.Spec.ValidationActions)
	}
	if binding.Spec.MatchResources != nil || binding.Spec.ParamRef != nil {
		t.Error("the binding leaves something out")
	}
	if p := policy.Spec.FailurePolicy; p == nil || *p != admissionv1.Fail {
		t.Errorf("failure policy %v", p)
	}
	user := `request.userInfo.username == "system:serviceaccount:` + account.Namespace + ":" + account.Name + `"`
	if c := policy.Spec.MatchConditions; len(c) != 1 || c[0].Expression != user {
		t.Errorf("match conditions %+v, want %s", c, user)
	}
	rule := policy.Spec.MatchConstraints.ResourceRules[0]
	if !slices.Equal(rule.Resources, []string{"pods", "pods/*"}) || !slices.Contains(rule.Operations, admissionv1.Update) {
		t.Errorf("rule %+v", rule)
	}
	var all strings.Builder
	for _, v := range policy.Spec.Variables {
		all.WriteString(v.Expression)
	}
	for _, v := range policy.Spec.Validations {
		all.WriteString(v.Expression)
	}
	for _, part := range []string{network.StatusAnnotation, "authentication.kubernetes.io/node-name", "nodeName", "labels", "finalizers", "ownerReferences", "oldObject.?status"} {
		if !strings.Contains(all.String(), part) {
			t.Errorf("the policy says nothing about %s", part)
		}
	}
}
