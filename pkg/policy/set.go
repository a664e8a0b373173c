package policy

import (
	"errors"
	"path"
	"slices"

	"fairlead.dev/fairlead/pkg/config"
)

// Set has the policies in effect, in the order in which they are asked. The zero Set
// has no policy: everything is allowed that no floor forbids.
type Set struct {
	policies []config.Policy
}

// NewSet returns a Set of policies.
func NewSet(all []config.Policy) (Set, error) {
	ordered, err := config.OrderPolicies(all)
	return Set{ordered}, err
}

// For returns the policy of a namespace; nil: it has no policy.
func (s Set) For(namespace string) *config.Policy {
	var fallback *config.Policy
	for i := range s.policies {
		p := &s.policies[i]
		if p.Name == config.DefaultPolicy {
			fallback = p
			continue
		}
		if matches(p.Namespaces, namespace) {
			return p
		}
	}
	return fallback
}

// matches reports whether a value is one of a list of globs. The globs have been
// validated.
func matches(globs []string, value string) bool {
	return slices.ContainsFunc(globs, func(glob string) bool {
		ok, err := path.Match(glob, value)
		return ok && err == nil
	})
}

// Violations returns the violations that an error is made of.
func Violations(err error) []*Violation {
	var one *Violation
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*Violation
		for _, e := range list.Unwrap() {
			all = append(all, Violations(e)...)
		}
		return all
	}
	if errors.As(err, &one) {
		return []*Violation{one}
	}
	return nil
}
