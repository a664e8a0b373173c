package network

import (
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/nearest"
	"fairlead.dev/fairlead/pkg/quote"
)

// selectionKeys returns the keys of an element of the networks annotation.
func selectionKeys() []string {
	return []string{"name", "namespace", "interface", "interfaceRequest", "ips", "mac", "infiniband-guid", "bandwidth",
		"portMappings", "cni-args", "default-route", "deviceID", "ipam-claim-reference"}
}

func knownKey(key string) bool {
	return slices.ContainsFunc(selectionKeys(), func(k string) bool { return strings.EqualFold(k, key) })
}

// UnknownKeys says which keys of the elements have no meaning; empty: each one has. They
// are ignored, as they always were: the pod starts, and lacks what its author wanted.
func UnknownKeys(selections []Selection) string {
	var all []string
	for _, s := range selections {
		for _, key := range s.UnknownKeys {
			text := fmt.Sprintf("network %d (%s): the key %q is unknown and ignored", s.Position, s.Network(), quote.Cut(key))
			if known := nearest.Name(key, selectionKeys()); known != "" {
				text += fmt.Sprintf("; the nearest known one is %q", known)
			}
			all = append(all, text)
		}
	}
	return strings.Join(all, ". ")
}
