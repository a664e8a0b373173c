package network

import (
	"fmt"
	"strings"

	"fairlead.dev/fairlead/pkg/quote"
)

// ParseDefaultNetworks reads the agent's list of default networks: [namespace/]name of
// net-attach-defs. Those without a namespace have an empty one: see WithDefaults.
func ParseDefaultNetworks(names []string) ([]Selection, error) {
	var all []Selection
	for _, text := range names {
		s := Selection{Name: text, ByDefault: true}
		if namespace, name, ok := strings.Cut(text, "/"); ok {
			s.Namespace, s.Name = namespace, name
			if err := checkName(namespace); err != nil {
				return nil, fmt.Errorf("default network %q: namespace %w; %s", quote.Cut(text), err, nameRemedy)
			}
		}
		if err := checkName(s.Name); err != nil {
			return nil, fmt.Errorf("default network %q: %w; %s", quote.Cut(text), err, nameRemedy)
		}
		all = append(all, s)
	}
	if len(all) > MaxNetworks {
		return nil, &LimitError{Value: len(all), Limit: MaxNetworks, Unit: "default networks", Remedy: "remove some"}
	}
	return all, nil
}

// WithDefaults puts the default networks before a pod's own. A default network without a
// namespace is looked up in the given one.
func WithDefaults(defaults []Selection, namespace string, own []Selection) []Selection {
	if len(defaults) == 0 {
		return own
	}
	all := make([]Selection, 0, len(defaults)+len(own))
	for _, s := range defaults {
		if s.Namespace == "" {
			s.Namespace = namespace
		}
		all = append(all, s)
	}
	return append(all, own...)
}
