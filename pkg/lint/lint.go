package lint

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/policy"
)

// Finding is one thing that Fairlead refuses, or warns of.
type Finding struct {
	File    string
	Refused bool // else it is a warning
	Text    string
}

// Report is the outcome for all files.
type Report struct {
	Findings []Finding // in the order of the files
	Objects  int       // how many of the objects are Fairlead's business
}

// Refused counts the findings that are no warnings.
func (r Report) Refused() int {
	n := 0
	for _, f := range r.Findings {
		if f.Refused {
			n++
		}
	}
	return n
}

// Options are the agent's flags that matter.
type Options struct {
	DefaultNetworkNamespace string
	ResourcePrefix          string
}

// Check reads the files, and compares every net-attach-def and pod in them with the
// policies and profiles in them.
func Check(files []File, o Options) Report {
	l := &linter{o: o, definitions: map[string]network.Definition{}}
	l.read(files)
	set, err := policy.NewSet(l.policies)
	l.refuse("", err)
	l.set = set
	for _, n := range l.networks {
		l.checkNetwork(n)
	}
	l.checkNames()
	for _, p := range l.pods {
		l.checkPod(p)
	}
	return Report{l.findings, l.objects}
}

type linter struct {
	manifests
	o           Options
	set         policy.Set
	definitions map[string]network.Definition // those that can be read
	findings    []Finding
}

// refuse records an error, each part of a joined one by itself.
func (l *linter) refuse(file string, err error) {
	if err == nil {
		return
	}
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range list.Unwrap() {
			l.refuse(file, e)
		}
		return
	}
	l.findings = append(l.findings, Finding{file, true, err.Error()})
}

func (l *linter) warn(file, format string, args ...any) {
	l.findings = append(l.findings, Finding{file, false, fmt.Sprintf(format, args...)})
}

func (l *linter) checkNetwork(o object) {
	if o.Status.Error != "" {
		l.refuse(o.file.Name, errors.New(o.Status.Error))
		return
	}
	d, err := network.ParseDefinition(o.namespace(), o.Metadata.Name, o.Spec.Config, o.Metadata.Annotations)
	if err != nil {
		l.refuse(o.file.Name, err)
		return
	}
	name := "net-attach-def " + d.Network()
	if d.FromFile {
		l.warn(o.file.Name, "%s has an empty spec: its config is a file on each node, which is not checked here", name)
		return
	}
	l.definitions[d.Network()] = d
	for _, notice := range d.List.Notices {
		l.warn(o.file.Name, "%s: %s", name, notice)
	}
	if d.NamesDevice() {
		l.warn(o.file.Name, "%s names a device: the agent refuses it without --allow-named-devices, unless the device is in no pool", name)
	}
	l.refuse(o.file.Name, policy.CheckFloors(d))
	l.refuse(o.file.Name, l.set.CheckNetwork(d))
	l.checkGroups(o.file.Name, d, "")
	if policy.UsesHostLocal(d) {
		l.warn(o.file.Name, "%s: every node hands out the range of host-local by itself, so pods on two nodes can get the same address; use it on one node, or give each node a range of its own", name)
	}
}

// checkGroups compares the settings that a network gives a VF with the groups that have its
// resource. Without a pod, their namespaces are not compared.
func (l *linter) checkGroups(file string, d network.Definition, podNamespace string) {
	if d.Resource == "" {
		return
	}
	for _, p := range l.profiles {
		for _, g := range p.Groups {
			if g.Allow == nil || config.Qualify(g.Resource, l.o.ResourcePrefix) != d.Resource {
				continue
			}
			allow, vf := *g.Allow, policy.VFRequest{Address: "of " + d.Resource, Network: d.Network(), PodNamespace: podNamespace,
				Group: fmt.Sprintf("the VF group %q of profile %s", g.Resource, p.Name)}
			if podNamespace == "" {
				allow.Namespaces, vf.Asked = nil, policy.AskedOfVF(d)
			}
			l.refuse(file, policy.CheckVF(&allow, vf))
		}
	}
}

// checkNames warns of networks that share the addresses of host-local, whose files know
// the CNI name only.
func (l *linter) checkNames() {
	first := map[string]network.Definition{}
	for _, o := range l.networks {
		d, known := l.definitions[o.namespace()+"/"+o.Metadata.Name]
		if !known || !policy.UsesHostLocal(d) {
			continue
		}
		other, taken := first[d.List.Name]
		if taken && other.Namespace != d.Namespace {
			l.warn(o.file.Name, "net-attach-def %s has the CNI name %q of %s: host-local keeps the addresses of both in one place; set another \"name\"",
				d.Network(), d.List.Name, other.Network())
		} else {
			first[d.List.Name] = d
		}
	}
}

func (l *linter) checkPod(o object) {
	annotations := o.podAnnotations()
	r := policy.Request{Namespace: o.namespace(), DefaultNetworkNamespace: l.o.DefaultNetworkNamespace}
	var err error
	if r.Selections, err = network.ParseSelections(annotations[network.NetworksAnnotation], r.Namespace); err != nil {
		l.refuse(o.file.Name, about(o, err))
		return
	}
	all := r.Selections
	primary, ok, err := network.ParseDefaultNetwork(annotations[network.DefaultNetworkAnnotation], l.o.DefaultNetworkNamespace)
	if err != nil {
		l.refuse(o.file.Name, about(o, err))
		return
	}
	if ok {
		r.Default = &primary
		all = append(slices.Clone(all), primary)
	}
	l.refuse(o.file.Name, about(o, l.set.CheckPod(r)))
	for _, s := range all {
		d, known := l.definitions[s.Network()]
		if !known {
			l.warn(o.file.Name, "%s: net-attach-def %s is not among the files, or is refused", o.name(), s.Network())
			continue
		}
		l.refuse(o.file.Name, about(o, l.set.CheckIPs(r.Namespace, s, d)))
		l.checkGroups(o.file.Name, d, r.Namespace)
	}
}

// about adds the object to each part of an error.
func about(o object, err error) error {
	if err == nil {
		return nil
	}
	list, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return fmt.Errorf("%s: %w", o.name(), err)
	}
	var all []error
	for _, e := range list.Unwrap() {
		all = append(all, about(o, e))
	}
	return errors.Join(all...)
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
