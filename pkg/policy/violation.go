package policy

import (
	"fmt"
	"strings"

	"fairlead.dev/fairlead/pkg/quote"
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
		fmt.Fprintf(&b, "%q", quote.Cut(v.Value))
	}
	fmt.Fprintf(&b, " (%s); %s", v.Rule, v.Remedy)
	return b.String()
}

// violations collects the refusals of one policy: a user corrects them at once.
type violations struct {
	policy, object, member string
	errs                   []error
}

func (v *violations) add(field, value, rule, remedy string) {
	v.errs = append(v.errs, &Violation{Policy: v.policy, Object: v.object, Member: v.member,
		Field: field, Value: value, Rule: rule, Remedy: remedy})
}

func (v *violations) err() error { return quote.Join(v.errs...) }

// listed writes a rule that is a list.
func listed(field string, values []string) string {
	if len(values) == 0 {
		return field + " allows nothing"
	}
	text := field + ": "
	for i, value := range values {
		switch {
		case i == maxListed:
			return text + fmt.Sprintf(" and %d more", len(values)-i)
		case i > 0:
			text += ", "
		}
		text += quote.Plain(value)
	}
	return text
}

// maxListed bounds the values of a policy's list in a message.
const maxListed = 12
