package config

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"

	"fairlead.dev/fairlead/pkg/api/v1alpha1"
	"fairlead.dev/fairlead/pkg/quote"
)

// DefaultPolicy is the name of the policy for namespaces that no other policy selects.
const DefaultPolicy = "default"

// Policy is one AttachmentPolicy, validated. Every field has its value: that of an unset
// field is the default of the API's type.
type Policy struct {
	Name       string
	Namespaces []string // globs; empty: the policy "default"
	Priority   int
	Networks   NetworkRules
	Pods       PodRules
	Source     string // file or object it came from, for messages
}

// NetworkRules are for net-attach-defs.
type NetworkRules struct {
	Plugins   []string // types of built-in plugins; "program:TYPE" for their programs
	IPAM      []string
	Uplinks   []string // globs
	Modes     []string
	VLANs     VLANs
	TrustOn   bool // trust may be on
	SpoofOff  bool // the spoof check may be off
	MaxTxRate *int // Mbit/s; nil: any
	MAC       bool
	HostPaths []string
}

// PodRules are for the annotations of pods.
type PodRules struct {
	NetworksFrom   []string // globs of namespaces, and OwnNamespace
	IPs            string   // IPsNone, IPsRange or IPsAny
	MAC            bool
	DeviceID       bool
	PortMappings   bool
	DefaultNetwork bool
	CNIArgs        []string
	MaxNetworks    int
}

// OwnNamespace stands for the pod's own namespace in networksFrom.
const OwnNamespace = "own"

// The values of pods.ips.
const (
	IPsNone  = "none"
	IPsRange = "range"
	IPsAny   = "any"
)

// ProgramPrefix marks the program of a plugin whose own entry is for the built-in one only.
const ProgramPrefix = "program:"

// The types that a policy allows if it lists none, and the modes that there are. The
// entries of these types are for the built-in plugin only. The entry of any other type is
// for the plugin and its program alike, also if the plugin is built in by now: a policy
// allows neither more nor less after an upgrade of the agent.
var (
	defaultPlugins = []string{"sriov", "macvlan", "ipvlan", "tuning"}
	defaultIPAM    = []string{"host-local", "static"}
	allModes       = []string{"bridge", "private", "vepa", "passthru", "l2", "l3", "l3s"}
)

const (
	policyKind = "AttachmentPolicy"
	// maxNetworks is network.MaxNetworks, which holds in any case.
	maxNetworks = 32
)

// HasProgramEntry reports whether the program of a type has an entry of its own in a
// policy.
func HasProgramEntry(pluginType string) bool { return slices.Contains(defaultPlugins, pluginType) }

// ReadPolicies reads the files of a directory for ParsePolicies, as ReadProfiles does.
func ReadPolicies(dir string) (map[string]string, error) { return readFiles(dir, "read policies") }

// ParsePolicies reads AttachmentPolicies by file name, as ParseProfiles reads profiles.
func ParsePolicies(files map[string]string, origin string) ([]Policy, error) {
	var out []Policy
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(files)) {
		p, err := ParsePolicy([]byte(files[name]), path.Join(origin, name))
		errs = append(errs, err)
		out = append(out, p...)
	}
	if err := quote.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

// ParsePolicy reads the AttachmentPolicies of one YAML stream.
func ParsePolicy(data []byte, source string) ([]Policy, error) {
	var out []Policy
	var errs []error
	for _, doc := range splitDocuments(data) {
		if doc.empty() {
			continue
		}
		if len(errs) >= maxProblems {
			break
		}
		place := fmt.Sprintf("%s: document %d (line %d)", source, doc.number, doc.line)
		var p v1alpha1.AttachmentPolicy
		if err := decodeYAML(doc.text, &p); err != nil {
			errs = append(errs, placed(place, err))
			continue
		}
		read, err := policy(p, source, place)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, read)
	}
	if err := quote.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

// OrderPolicies returns policies in the order in which they are asked: by priority, the
// highest first, then by name. Two policies of one name are an error.
func OrderPolicies(all []Policy) ([]Policy, error) {
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b Policy) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name, b.Name))
	})
	sources := map[string]string{}
	var errs []error
	for _, p := range out {
		if other, taken := sources[p.Name]; taken {
			errs = append(errs, fmt.Errorf("%s: policy %q: declared in %s as well: give one of them another name", p.Source, p.Name, other))
		}
		sources[p.Name] = p.Source
	}
	return out, quote.Join(errs...)
}

// policy validates a decoded AttachmentPolicy.
func policy(p v1alpha1.AttachmentPolicy, source, place string) (Policy, error) {
	if p.APIVersion != profileAPIVersion || p.Kind != policyKind {
		return Policy{}, fmt.Errorf("%s: apiVersion %q, kind %q: only %s of %s is read here",
			place, quote.Cut(p.APIVersion), quote.Cut(p.Kind), policyKind, profileAPIVersion)
	}
	if p.Name == "" {
		return Policy{}, fmt.Errorf("%s: metadata.name: a policy needs a name", place)
	}
	problem := &problems{place: fmt.Sprintf("%s: policy %q", place, quote.Cut(p.Name))}
	if len(p.Name) > 253 || !subdomainRE.MatchString(p.Name) {
		problem.addf("metadata.name", "%q is not a name: lower-case letters, digits, '-' and '.', at most 253 characters", p.Name)
	}
	problem.add("spec.namespaces", checkGlobs(p.Spec.Namespaces))
	switch {
	case p.Name == DefaultPolicy && len(p.Spec.Namespaces) > 0:
		problem.addf("spec.namespaces", "the policy %q is for all namespaces that no other policy selects: leave the field out, or give the policy another name", DefaultPolicy)
	case p.Name != DefaultPolicy && len(p.Spec.Namespaces) == 0:
		problem.addf("spec.namespaces", "is empty: name namespaces, or call the policy %q to have it for all that no other policy selects", DefaultPolicy)
	}
	return Policy{
		Name: p.Name, Namespaces: p.Spec.Namespaces, Priority: int(p.Spec.Priority), Source: source,
		Networks: networkRules(p.Spec.Networks, problem), Pods: podRules(p.Spec.Pods, problem),
	}, problem.err()
}
