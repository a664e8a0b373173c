package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/api/v1alpha1"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/quote"
)

// Declaration is one NICProfile, validated by itself. Build decides which declarations apply to
// a node, and joins them into one Model.
type Declaration struct {
	Profile
	NodeSelector map[string]string
	Pools        []device.Pool // one for each VF group with a resource
}

const (
	profileAPIVersion = "fairlead.dev/v1alpha1"
	profileKind       = "NICProfile"
)

// ParseProfile parses the NICProfiles of one YAML stream. Each message begins with the source:
// a file, or an object and its key.
func ParseProfile(data []byte, source string) ([]Declaration, error) {
	var out []Declaration
	var errs []error
	for _, doc := range splitDocuments(data) {
		if doc.empty() {
			continue
		}
		if len(errs) >= maxProblems {
			break
		}
		place := fmt.Sprintf("%s: document %d (line %d)", source, doc.number, doc.line)
		var p v1alpha1.NICProfile
		if err := decodeYAML(doc.text, &p); err != nil {
			errs = append(errs, located(source, place, doc, err))
			continue
		}
		d, err := declare(p, source, place)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, d)
	}
	if err := quote.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

// ReadProfiles reads every .yaml, .yml and .json file of a directory, for ParseProfiles. A
// missing directory contains no profiles. Hidden entries are skipped: a ConfigMap volume's
// ..data, an editor's swap file.
func ReadProfiles(dir string) (map[string]string, error) { return readFiles(dir, "read profiles") }

func readFiles(dir, step string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", step, err)
	}
	files := map[string]string{}
	for _, e := range entries {
		if !profileFile(e.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", step, err)
		}
		files[e.Name()] = string(data)
	}
	return files, nil
}

// ParseProfiles parses NICProfiles by file name, in the order of the names. A ConfigMap's data
// has the same form, and every key counts. Each source begins with the origin: a directory or
// the ConfigMap.
func ParseProfiles(files map[string]string, origin string) ([]Declaration, error) {
	var out []Declaration
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(files)) {
		d, err := ParseProfile([]byte(files[name]), path.Join(origin, name))
		errs = append(errs, err)
		out = append(out, d...)
	}
	if err := quote.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

func profileFile(name string) bool {
	ext := filepath.Ext(name)
	return !strings.HasPrefix(name, ".") && (ext == ".yaml" || ext == ".yml" || ext == ".json")
}

// declare validates a decoded NICProfile and converts it into values of the model.
func declare(p v1alpha1.NICProfile, source, place string) (Declaration, error) {
	if p.APIVersion != profileAPIVersion || p.Kind != profileKind {
		return Declaration{}, fmt.Errorf("%s: apiVersion %q, kind %q: only %s of %s is supported",
			place, quote.Cut(p.APIVersion), quote.Cut(p.Kind), profileKind, profileAPIVersion)
	}
	if p.Name == "" {
		return Declaration{}, fmt.Errorf("%s: metadata.name: a profile needs a name", place)
	}
	problem := &problems{place: fmt.Sprintf("%s: profile %q", place, quote.Cut(p.Name))}
	if len(p.Name) > 253 || !subdomainRE.MatchString(p.Name) {
		problem.addf("metadata.name", "%q is not a name: lower-case letters, digits, '-' and '.', at most 253 characters", p.Name)
	}
	d := Declaration{
		Profile: Profile{
			Name:     p.Name,
			Priority: int(p.Spec.Priority),
			NICs:     nicSelector(p.Spec.NICs, problem),
			NumVFs:   p.Spec.PF.NumVFs,
			MTU:      p.Spec.PF.MTU,
			Source:   source,
		},
		NodeSelector: p.Spec.NodeSelector,
	}
	checkPF(p.Spec.PF, problem)
	for i, g := range p.Spec.VFGroups {
		if problem.full() {
			break
		}
		field := fmt.Sprintf("spec.vfGroups[%d]", i)
		group := vfGroup(g, p.Spec.PF, field, problem)
		for j, other := range d.Groups {
			if at, shared := overlap(group.VFs, other.VFs); shared {
				problem.addf(field+".vfs", "VF %d is in vfGroups[%d] as well: each VF is in one group", at, j)
				break
			}
		}
		d.Groups = append(d.Groups, group)
		if group.Resource != "" {
			d.Pools = append(d.Pools, groupPool(d.Profile, group, g, i))
		}
	}
	return d, problem.err()
}

func nicSelector(s v1alpha1.NICSelector, problem *problems) device.NICSelector {
	vendors, err := checkPCIIDs(s.Vendors)
	problem.add("spec.nics.vendors", err)
	devices, err := checkPCIIDs(s.Devices)
	problem.add("spec.nics.devices", err)
	problem.add("spec.nics.drivers", checkDrivers(s.Drivers))
	problem.add("spec.nics.pfNames", checkGlobs(s.PFNames))
	problem.add("spec.nics.pciAddresses", checkGlobs(s.PCIAddresses))
	problem.add("spec.nics.linkTypes", checkOneOf(s.LinkTypes, "ether", "infiniband"))
	for _, n := range s.NUMANodes {
		if n < -1 {
			problem.addf("spec.nics.numaNodes", "%d is not a NUMA node: 0 and above, or -1 for a NIC that belongs to none", n)
		}
	}
	return device.NICSelector{
		Vendors: vendors, Devices: devices, Drivers: s.Drivers, PFNames: s.PFNames,
		PCIAddresses: fullAddresses(s.PCIAddresses), LinkTypes: s.LinkTypes, NUMANodes: s.NUMANodes,
	}
}

// fullAddresses adds the domain to addresses that lack it and are not globs: matching then only
// compares text.
func fullAddresses(patterns []string) []string {
	out := slices.Clone(patterns)
	for i, p := range out {
		if addr, err := pci.ParseAddress(p); err == nil {
			out[i] = addr.String()
		}
	}
	return out
}

func checkGlobs(patterns []string) error {
	for _, p := range patterns {
		if _, err := path.Match(p, "x"); err != nil {
			return fmt.Errorf("%q is not a glob: a '[' has no ']'", p)
		}
	}
	return checkNotEmpty(patterns)
}

func checkPF(pf v1alpha1.PFSpec, problem *problems) {
	if pf.NumVFs != nil && (*pf.NumVFs < 0 || *pf.NumVFs > maxNumVFs) {
		problem.addf("spec.pf.numVFs", "%d is out of range: 0 to %d, or unset", *pf.NumVFs, maxNumVFs)
	}
	if pf.MTU != 0 {
		problem.add("spec.pf.mtu", checkMTU(pf.MTU))
	}
}

// groupPool returns the pool that a VF group declares. A VF that is not (yet) bound to the
// declared driver is in the pool too, as an unhealthy device.
func groupPool(p Profile, group VFGroup, g v1alpha1.VFGroup, i int) device.Pool {
	sel := device.Selector{NIC: &p.NICs, VFs: group.VFs, RDMA: g.RDMA, Driver: group.Settings.Driver, UnsafeDMA: group.AllowUnsafeDMA}
	return device.Pool{
		Resource:        group.Resource,
		Type:            device.NetDevice,
		Selectors:       []device.Selector{sel},
		ExcludeTopology: g.ExcludeTopology,
		NeedVhostNet:    g.NeedVhostNet,
		RDMA:            g.RDMA,
		Idle:            g.Idle,
		Source:          fmt.Sprintf("profile %q, group %d", p.Name, i),
	}
}
