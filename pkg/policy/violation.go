package policy

import (
	"errors"
	"fmt"
	"strings"
)

// Violation is one thing that a policy refuses.
type Violation struct {
	Policy string // with its kind: "policy tenants", "VF group 0 of profile fast"
	Object string // "net-attach-def team-a/data", "annotation …, network 2 (team-a/data)"
	Member string // "plugin 1 (macvlan)"; empty: the whole object
	Field  string
	Value  string // as the user wrote it; empty if it is not set
	Rule   string // field of the policy and its value: `spec.networks.uplinks: ens2f*`
	Remedy string
}

func (v *Violation) Error() string {
	var b strings.Builder
	b.WriteString(v.Object)
	if v.Member != "" {
		b.WriteString(", " + v.Member)
	}
	fmt.Fprintf(&b, ", field %s: %s refuses ", v.Field, v.Policy)
	if v.Value == "" {
		b.WriteString("that it is not set")
	} else {
		fmt.Fprintf(&b, "%q", cut(v.Value))
	}
	fmt.Fprintf(&b, " (%s); %s", v.Rule, v.Remedy)
	return b.String()
}

// violations collects the refusals of one policy, all of them: a user corrects them at
// once.
type violations struct {
	policy, object, member string
	errs                   []error
}

func (v *violations) add(field, value, rule, remedy string) {
	v.errs = append(v.errs, &Violation{Policy: v.policy, Object: v.object, Member: v.member,
		Field: field, Value: value, Rule: rule, Remedy: remedy})
}

func (v *violations) err() error { return errors.Join(v.errs...) }

// listed writes a rule that is a list.
func listed(field string, values []string) string {
	if len(values) == 0 {
		return field + " allows nothing"
	}
	return field + ": " + strings.Join(values, ", ")
}

// cut bounds a user's text.
func cut(s string) string {
	const limit = 60
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
