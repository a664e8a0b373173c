package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/quote"
)

// devicePluginConfig is config.json of the device plugin's ConfigMap.
type devicePluginConfig struct {
	ResourceList json.RawMessage `json:"resourceList"` // a list; null: an empty one
}

type resourceEntry struct {
	ResourceName    string                       `json:"resourceName"`
	ResourcePrefix  string                       `json:"resourcePrefix"`
	DeviceType      device.Type                  `json:"deviceType"`
	ExcludeTopology bool                         `json:"excludeTopology"`
	AdditionalInfo  map[string]map[string]string `json:"additionalInfo"`
	Selectors       json.RawMessage              `json:"selectors"` // one object or a list of objects
}

type selectorEntry struct {
	Vendors      []string `json:"vendors"`
	Devices      []string `json:"devices"`
	Drivers      []string `json:"drivers"`
	PCIAddresses []string `json:"pciAddresses"`
	ACPIIndexes  []string `json:"acpiIndexes"`
	PFNames      []string `json:"pfNames"`
	RootDevices  []string `json:"rootDevices"`
	LinkTypes    []string `json:"linkTypes"`
	DDPProfiles  []string `json:"ddpProfiles"`
	PKeys        []string `json:"pKeys"`
	IsRDMA       bool     `json:"isRdma"`
	NeedVhostNet bool     `json:"needVhostNet"`
	VDPAType     string   `json:"vdpaType"`
	AuxTypes     []string `json:"auxTypes"`
}

// ParseDevicePluginConfig parses the device plugin's config.json into pools, in match order.
// Resources without resourcePrefix get the given one; if it is empty,
// Build adds the default one.
func ParseDevicePluginConfig(data []byte, source, prefix string) ([]device.Pool, error) {
	list, err := resourceList(data)
	if err != nil {
		return nil, quote.Join(placed(source, err))
	}
	var pools []device.Pool
	var errs []error
	for i, raw := range list {
		if len(errs) >= maxProblems {
			break
		}
		pool, err := resourcePool(raw, source, i)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if prefix != "" {
			pool.Resource = qualify(pool.Resource, prefix)
		}
		if j := slices.IndexFunc(pools, func(p device.Pool) bool { return p.Resource == pool.Resource }); j >= 0 {
			errs = append(errs, fmt.Errorf("%s: the resource is declared by %s as well: give one of them another name, or make their selectors one list", pool.Source, pools[j].Source))
			continue
		}
		pools = append(pools, pool)
	}
	if err := quote.Join(errs...); err != nil {
		return nil, err
	}
	return pools, nil
}

// resourceList returns the entries. A node without resources has a null list in the
// ConfigMaps of the SR-IOV operator.
func resourceList(data []byte) ([]json.RawMessage, error) {
	if err := checkSyntax(data); err != nil {
		return nil, err
	}
	var c devicePluginConfig
	if err := decodeAnyCase(data, &c); err != nil {
		return nil, err
	}
	if len(c.ResourceList) == 0 {
		return nil, errors.New("resourceList is missing: it lists the resources to advertise, and may be empty")
	}
	var list []json.RawMessage
	if json.Unmarshal(c.ResourceList, &list) != nil {
		return nil, errors.New("resourceList: something else instead of a list")
	}
	return list, nil
}

// resourcePool parses one entry of resourceList.
func resourcePool(raw json.RawMessage, source string, i int) (device.Pool, error) {
	place := fmt.Sprintf("%s: resourceList[%d]", source, i)
	var e resourceEntry
	// The lenient pass reads only the name, so that a message about an unknown field names the
	// entry too.
	_ = json.Unmarshal(raw, &e)
	if e.ResourceName != "" {
		place += fmt.Sprintf(" (%q)", quote.Cut(e.ResourceName))
	}
	e = resourceEntry{}
	if err := decodeAnyCase(raw, &e, "SelectorObj", "SelectorObjs"); err != nil { // of the operator's own type
		return device.Pool{}, placed(place, err)
	}
	problem := &problems{place: place}
	pool := device.Pool{
		Resource:        e.ResourceName,
		Type:            e.DeviceType,
		ExcludeTopology: e.ExcludeTopology,
		Source:          place,
	}
	switch {
	case e.ResourceName == "":
		problem.addf("resourceName", "is missing")
	case strings.Contains(e.ResourceName, "/"):
		problem.addf("resourceName", "%q holds a '/': the part before it goes into resourcePrefix", e.ResourceName)
	default:
		problem.add("resourceName", checkResource(e.ResourceName))
	}
	if e.ResourcePrefix != "" {
		problem.add("resourcePrefix", checkPrefix(e.ResourcePrefix))
		pool.Resource = e.ResourcePrefix + "/" + e.ResourceName
	}
	if e.DeviceType == "" {
		pool.Type = device.NetDevice
	}
	problem.add("deviceType", checkOneOf([]string{string(pool.Type)},
		string(device.NetDevice), string(device.Accelerator), string(device.AuxNet)))
	pool.AdditionalInfo = additionalInfo(e.AdditionalInfo, problem)
	selectors, err := splitSelectors(e.Selectors)
	problem.add("selectors", err)
	addSelectors(&pool, selectors, problem)
	return pool, problem.err()
}

func addSelectors(pool *device.Pool, selectors []json.RawMessage, problem *problems) {
	for j, raw := range selectors {
		if problem.full() {
			return
		}
		field := "selectors"
		if len(selectors) > 1 {
			field = fmt.Sprintf("selectors[%d]", j)
		}
		addSelector(pool, raw, field, problem)
	}
}

// placed puts the place in front of each line of a decoder's message.
func placed(place string, err error) error {
	var errs []error
	for line := range strings.SplitSeq(err.Error(), "\n") {
		errs = append(errs, errors.New(place+": "+line))
	}
	return errors.Join(errs...)
}

func additionalInfo(info map[string]map[string]string, problem *problems) map[string]map[string]string {
	if len(info) == 0 {
		return nil
	}
	out := make(map[string]map[string]string, len(info))
	for key, values := range info {
		if key != "*" {
			addr, err := pci.ParseAddress(key)
			if err != nil {
				problem.addf("additionalInfo", "%v, nor \"*\" for every device", err)
				continue
			}
			key = addr.String()
		}
		out[key] = values
	}
	return out
}

// splitSelectors accepts selectors in either form.
func splitSelectors(raw json.RawMessage) ([]json.RawMessage, error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil, fmt.Errorf("are missing: they say which devices are in the pool")
	case raw[0] == '{':
		return []json.RawMessage{raw}, nil
	case raw[0] != '[':
		return nil, fmt.Errorf("are neither an object nor a list of objects")
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("are an empty list: they say which devices are in the pool")
	}
	return list, nil
}

// addSelector validates one selector object and adds it to its pool.
func addSelector(pool *device.Pool, raw json.RawMessage, field string, problem *problems) {
	var e selectorEntry
	if err := decodeAnyCase(raw, &e); err != nil {
		for line := range strings.Lines(err.Error()) {
			problem.add(field, errors.New(strings.TrimSpace(line)))
		}
		return
	}
	if name := misplaced(e, pool.Type); name != "" {
		problem.addf(field+"."+name, "has no meaning for deviceType %s", pool.Type)
	}
	sel, err := e.selector(field, problem)
	if err != nil {
		return
	}
	if !sel.selects() && !e.NeedVhostNet {
		problem.addf(field, "have no fields, and would put every VF of the node into the pool: set at least one field")
	} else if !sel.selects() {
		problem.addf(field, "needVhostNet does not select devices: set another field as well")
	}
	// The vhost files belong to no device: if one selector asks for them, the whole pool has
	// them.
	pool.RDMA = pool.RDMA || e.IsRDMA
	pool.NeedVhostNet = pool.NeedVhostNet || e.NeedVhostNet
	pool.Selectors = append(pool.Selectors, sel.Selector)
}

// misplaced returns the name of a field that is set but has no meaning for the device type.
func misplaced(e selectorEntry, t device.Type) string {
	fields := []struct {
		name string
		set  bool
		ok   []device.Type
	}{
		{"pciAddresses", e.PCIAddresses != nil, []device.Type{device.NetDevice, device.Accelerator}},
		{"acpiIndexes", e.ACPIIndexes != nil, []device.Type{device.NetDevice, device.Accelerator}},
		{"pfNames", e.PFNames != nil, []device.Type{device.NetDevice, device.AuxNet}},
		{"rootDevices", e.RootDevices != nil, []device.Type{device.NetDevice, device.AuxNet}},
		{"linkTypes", e.LinkTypes != nil, []device.Type{device.NetDevice, device.AuxNet}},
		{"isRdma", e.IsRDMA, []device.Type{device.NetDevice, device.AuxNet}},
		{"ddpProfiles", e.DDPProfiles != nil, []device.Type{device.NetDevice}},
		{"pKeys", e.PKeys != nil, []device.Type{device.NetDevice}},
		{"needVhostNet", e.NeedVhostNet, []device.Type{device.NetDevice}},
		{"vdpaType", e.VDPAType != "", []device.Type{device.NetDevice}},
		{"auxTypes", e.AuxTypes != nil, []device.Type{device.AuxNet}},
	}
	for _, f := range fields {
		if f.set && !slices.Contains(f.ok, t) {
			return f.name
		}
	}
	return ""
}

// parsedSelector is a device.Selector that reports whether it is empty.
type parsedSelector struct{ device.Selector }

func (s parsedSelector) selects() bool {
	return len(s.Vendors)+len(s.Devices)+len(s.Drivers)+len(s.PCIAddresses)+len(s.ACPIIndexes)+len(s.PFNames)+
		len(s.RootDevices)+len(s.LinkTypes)+len(s.DDPProfiles)+len(s.PKeys)+len(s.AuxTypes) > 0 || s.VDPAType != "" || s.RDMA
}

// selector validates the fields. If it returns an error, the errors have been added to problem.
func (e selectorEntry) selector(field string, problem *problems) (parsedSelector, error) {
	earlierErrors := len(problem.errs)
	vendors, err := checkPCIIDs(e.Vendors)
	problem.add(field+".vendors", err)
	devices, err := checkPCIIDs(e.Devices)
	problem.add(field+".devices", err)
	problem.add(field+".drivers", checkDrivers(e.Drivers))
	addresses, err := device.ParseAddresses(e.PCIAddresses)
	problem.add(field+".pciAddresses", err)
	problem.add(field+".acpiIndexes", checkNotEmpty(e.ACPIIndexes))
	pfNames, err := pfRanges(e.PFNames)
	problem.add(field+".pfNames", err)
	rootDevices, err := rootRanges(e.RootDevices)
	problem.add(field+".rootDevices", err)
	problem.add(field+".linkTypes", checkOneOf(e.LinkTypes, "ether", "infiniband"))
	problem.add(field+".ddpProfiles", checkNotEmpty(e.DDPProfiles))
	problem.add(field+".pKeys", checkNotEmpty(e.PKeys))
	problem.add(field+".auxTypes", checkNotEmpty(e.AuxTypes))
	if e.VDPAType != "" {
		problem.add(field+".vdpaType", checkOneOf([]string{e.VDPAType}, "vhost", "virtio"))
	}
	return parsedSelector{device.Selector{
		Vendors: vendors, Devices: devices, Drivers: e.Drivers, PCIAddresses: addresses,
		ACPIIndexes: e.ACPIIndexes, PFNames: pfNames, RootDevices: rootDevices, LinkTypes: e.LinkTypes,
		DDPProfiles: e.DDPProfiles, PKeys: e.PKeys, VDPAType: e.VDPAType, AuxTypes: e.AuxTypes, RDMA: e.IsRDMA,
	}}, errors.Join(problem.errs[earlierErrors:]...)
}

// pfRanges parses `ens1f0#0-3,5`. Several entries for the same PF add up.
func pfRanges(entries []string) ([]device.PFRange, error) {
	var out []device.PFRange
	for _, s := range entries {
		r, err := device.ParsePFRange(s)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// rootRanges is pfRanges for PFs by address.
func rootRanges(entries []string) ([]device.RootRange, error) {
	var out []device.RootRange
	for _, s := range entries {
		r, err := device.ParseRootRange(s)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}
