package network

import (
	"fmt"
	"regexp"
	"strings"

	"fairlead.dev/fairlead/pkg/quote"
)

// DefaultCNIVersion is the version of a config without a cniVersion: that of
// most published examples, which practically every plugin speaks. (The CNI
// specification's own default, 0.1.0, has results without interfaces.)
const DefaultCNIVersion = "0.3.1"

// Definition is a net-attach-def, or another source of a CNI config, parsed.
type Definition struct {
	Namespace, Name string
	Resource        string // extended resource whose devices back it; "" for none
	List            ConfList
	// FromFile is set if the object has an empty spec: its config is the file in the
	// conf dir whose CNI name is the object's. List is empty until Load.
	FromFile bool
}

// Network is namespace/name, as users write it.
func (d Definition) Network() string { return d.Namespace + "/" + d.Name }

// ParseDefinition reads a net-attach-def: the config of its spec, a plugin's
// config or a list as JSON, and its annotations.
func ParseDefinition(namespace, name, config string, annotations map[string]string) (Definition, error) {
	d := Definition{Namespace: namespace, Name: name, Resource: strings.Clone(strings.TrimSpace(annotations[ResourceAnnotation]))} // the annotation may have 256 KiB of spaces
	if err := checkResource(d.Resource); err != nil {
		return d, fmt.Errorf("net-attach-def %s, annotation %s: %w", d.Network(), ResourceAnnotation, err)
	}
	if strings.TrimSpace(config) == "" {
		d.FromFile = true
		return d, nil
	}
	list, err := ParseConfList([]byte(config), name)
	if err != nil {
		return d, fmt.Errorf("net-attach-def %s, spec.config: %w", d.Network(), err)
	}
	d.List = list
	return d, nil
}

// Load completes a definition with an empty spec. file returns the config, in a file of the
// node, that has the given CNI name.
func (d Definition) Load(file func(name string) (ConfList, error)) (Definition, error) {
	if !d.FromFile {
		return d, nil
	}
	list, err := file(d.Name)
	if err != nil {
		return d, fmt.Errorf("net-attach-def %s has an empty spec: its config is the file in a CNI conf dir of the node with \"name\": %q: %w", d.Network(), d.Name, err)
	}
	d.List, d.FromFile = list, false
	return d, nil
}

var listNameRE = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`) // the CNI specification's rule for network names

// resourceRE and prefixRE are Kubernetes' rule for qualified names: a DNS subdomain, and a
// name of letters, digits, '-', '_' and '.'.
var (
	resourceRE = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
	prefixRE   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

// checkResource applies the form of an extended resource: prefix/name. Other texts could
// not be requested, but would be shown on administrators' terminals (security S11).
func checkResource(resource string) error {
	if resource == "" {
		return nil
	}
	prefix, name, found := strings.Cut(resource, "/")
	if !found || len(prefix) > MaxNameBytes || !prefixRE.MatchString(prefix) || !resourceRE.MatchString(name) {
		return fmt.Errorf("%q is not a resource of the form prefix/name; the prefix is a DNS name, "+
			"the name has 1 to 63 letters, digits, '-', '_' and '.', and begins and ends with a letter or digit", quote.Cut(resource))
	}
	return nil
}
