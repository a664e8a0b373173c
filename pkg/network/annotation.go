package network

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/quote"
)

// ParseSelections reads the networks annotation: `[namespace/]name[@interface]`
// separated by commas, or, if it contains '[', '{' or '"', a JSON list of objects.
// Blank means no network. Interface names are not assigned here: Resolve does, which
// knows the primary's.
func ParseSelections(annotation, podNamespace string) ([]Selection, error) {
	return parseList(NetworksAnnotation, annotation, podNamespace)
}

// ParseDefaultNetwork reads the annotation that replaces the primary network of
// a pod. It names exactly one network, in the given namespace unless it names another. ok
// is false if the annotation is blank.
func ParseDefaultNetwork(annotation, namespace string) (s Selection, ok bool, err error) {
	if strings.TrimSpace(annotation) == "" {
		return Selection{}, false, nil
	}
	list, err := parseList(DefaultNetworkAnnotation, annotation, namespace)
	if err != nil {
		return Selection{}, false, err
	}
	if len(list) != 1 {
		return Selection{}, false, &SelectionError{Annotation: DefaultNetworkAnnotation,
			Reason: fmt.Sprintf("names %d networks", len(list)), Remedy: "name exactly one"}
	}
	if list[0].Interface != "" {
		return Selection{}, false, &SelectionError{Annotation: DefaultNetworkAnnotation, Position: 1, Field: "interface",
			Reason: "the primary's interface name is the runtime's choice", Remedy: "remove the field"}
	}
	return list[0], true, nil
}

func parseList(annotation, text, podNamespace string) ([]Selection, error) {
	p := parser{annotation: annotation, podNamespace: podNamespace}
	if n := size(text); n > MaxAnnotationBytes {
		return nil, p.tooMuch(0, "", LimitError{Value: n, Limit: MaxAnnotationBytes, Unit: "bytes", Remedy: "ask for fewer networks"})
	}
	var (
		list []Selection
		err  error
	)
	if strings.ContainsAny(text, `[{"`) {
		list, err = p.parseJSON(text)
	} else {
		list, err = p.parseShort(text)
	}
	if err != nil {
		return nil, err
	}
	return list, p.checkWhole(list)
}

// parser has the values for error texts and defaults.
type parser struct{ annotation, podNamespace string }

func (p parser) fault(position int, field string, reason error, remedy string) error {
	return &SelectionError{Annotation: p.annotation, Position: position, Field: field, Reason: reason.Error(), Remedy: remedy}
}

func (p parser) tooMuch(position int, field string, e LimitError) error {
	return &SelectionError{Annotation: p.annotation, Position: position, Field: field, Reason: e.reason(), Remedy: e.Remedy}
}

// checkCount bounds the number of networks before they are parsed.
func (p parser) checkCount(networks int) error {
	if networks <= MaxNetworks {
		return nil
	}
	return p.tooMuch(0, "", LimitError{Value: networks, Limit: MaxNetworks, Unit: "networks", Remedy: "ask for fewer networks in one pod"})
}

func (p parser) parseShort(text string) ([]Selection, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if err := p.checkCount(strings.Count(text, ",") + 1); err != nil {
		return nil, err
	}
	var list []Selection
	for i, item := range strings.Split(text, ",") {
		s, err := p.parseShortItem(i+1, strings.TrimSpace(item))
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// parseShortItem parses `[namespace/]name[@interface]`.
func (p parser) parseShortItem(position int, item string) (Selection, error) {
	s := Selection{Position: position, Namespace: p.podNamespace, Name: item}
	if item == "" {
		return s, p.fault(position, "", fmt.Errorf("is empty"), "remove the extra comma")
	}
	if name, ifName, found := strings.Cut(s.Name, "@"); found {
		s.Name, s.Interface = strings.TrimSpace(name), strings.TrimSpace(ifName)
		if err := checkInterface(s.Interface); err != nil {
			return s, p.fault(position, "interface", err, interfaceRemedy)
		}
	}
	if namespace, name, found := strings.Cut(s.Name, "/"); found {
		s.Namespace, s.Name = strings.TrimSpace(namespace), strings.TrimSpace(name)
	}
	return s, p.checkNames(s)
}

func (p parser) checkNames(s Selection) error {
	for _, n := range []struct{ field, value string }{{"namespace", s.Namespace}, {"name", s.Name}} {
		if len(n.value) > MaxNameBytes {
			return p.tooMuch(s.Position, n.field, LimitError{Value: len(n.value), Limit: MaxNameBytes, Unit: "bytes", Remedy: nameRemedy})
		}
		if err := checkName(n.value); err != nil {
			return p.fault(s.Position, n.field, err, nameRemedy)
		}
	}
	return nil
}

func (p parser) parseJSON(text string) ([]Selection, error) {
	var items []json.RawMessage
	if err := json.Unmarshal([]byte(text), &items); err != nil {
		return nil, p.noList(text, err)
	}
	if err := p.checkCount(len(items)); err != nil {
		return nil, err
	}
	if err := p.inspect(text); err != nil {
		return nil, err
	}
	var list []Selection
	for i, item := range items {
		s, err := p.parseObject(i+1, item)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// noList says in JSON's words why a text is no list of objects.
func (p parser) noList(text string, err error) error {
	fault := &SelectionError{Annotation: p.annotation, Reason: "is not a JSON list of objects: " + jsonFault(text, err), Remedy: `write [{"name": "…"}] or name[,name…]`}
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType) && wrongType.Value == "object":
		fault.Reason, fault.Remedy = "is a single object, not a list of objects", `write [ … ] around it`
	case errors.As(err, &wrongType):
		fault.Reason = "is a " + quote.Plain(wrongType.Value) + " in JSON, not a list of objects"
	}
	return fault
}

// inspect checks the depth and the keys of the list.
func (p parser) inspect(text string) error {
	err := inspectAnnotation([]byte(text))
	var at *inspectError
	if errors.As(err, &at) {
		return p.fault(at.element, at.field, errors.New(at.reason), at.remedy)
	}
	return err
}

// jsonFault adds line and column to an error of encoding/json: annotations are
// often YAML blocks of many lines, in which a byte offset helps nobody.
func jsonFault(text string, err error) string {
	var offset int64 = -1
	switch e := err.(type) {
	case *json.SyntaxError:
		offset = e.Offset
	case *json.UnmarshalTypeError:
		offset = e.Offset
	}
	if offset < 0 || offset > int64(len(text)) {
		return quote.Message(err)
	}
	before := text[:offset]
	line := strings.Count(before, "\n") + 1
	column := len(before) - strings.LastIndex(before, "\n") - 1
	return fmt.Sprintf("%s (line %d, column %d)", quote.Message(err), line, max(column, 1))
}

// parseObject parses one object. Keys match in any letter case and unknown keys are ignored, as
// this annotation has always been read; UnknownKeys has their names.
func (p parser) parseObject(position int, item json.RawMessage) (Selection, error) {
	s := Selection{Position: position, Namespace: p.podNamespace}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(item, &fields); err != nil || fields == nil {
		return s, p.fault(position, "", fmt.Errorf("is not an object: %s", short(item)), `write {"name": "…"}`)
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) { // sorted, so that the first of several faults is always the same
		raw := fields[key]
		if bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
			continue
		}
		if !knownKey(key) {
			s.UnknownKeys = append(s.UnknownKeys, key)
			continue
		}
		if err := s.setField(strings.ToLower(key), raw); err != nil {
			return s, p.fault(position, key, err.reason, err.remedy)
		}
	}
	if s.Name == "" {
		return s, p.fault(position, "name", fmt.Errorf("is missing"), "name the net-attach-def")
	}
	return s, p.checkNames(s)
}

// fieldError is a fault in one field. The position is added later.
type fieldError struct {
	reason error
	remedy string
}

// setField decodes and validates one field of an object; key is in lower case.
func (s *Selection) setField(key string, raw json.RawMessage) *fieldError {
	switch key {
	case "name":
		return decodeString(raw, &s.Name, nil, "")
	case "namespace":
		own := s.Namespace
		fault := decodeString(raw, &s.Namespace, nil, "")
		s.Namespace = cmp.Or(s.Namespace, own)
		return fault
	case "interface":
		return decodeString(raw, &s.Interface, checkInterface, interfaceRemedy)
	case "interfacerequest": // the former key; it comes later in the order of keys and wins
		var old string
		fault := decodeString(raw, &old, checkInterface, interfaceRemedy)
		s.Interface = cmp.Or(s.Interface, old)
		return fault
	case "mac":
		return decodeString(raw, &s.MAC, checkMAC, "write a unicast address such as 02:00:00:00:00:01")
	case "infiniband-guid":
		return decodeString(raw, &s.InfinibandGUID, checkGUID, "write eight bytes such as c2:11:22:33:44:55:66:77")
	case "deviceid":
		return s.setDeviceID(raw)
	case "ipam-claim-reference":
		return decodeString(raw, &s.IPAMClaim, nil, "")
	case "ips":
		return s.setIPs(raw)
	case "default-route":
		return s.setDefaultRoute(raw)
	case "bandwidth":
		return s.setBandwidth(raw)
	case "portmappings":
		return s.setPortMappings(raw)
	case "cni-args":
		if err := json.Unmarshal(raw, &s.CNIArgs); err != nil {
			return &fieldError{fmt.Errorf("is not an object: %s", short(raw)), `write {"key": value}`}
		}
	}
	return nil
}

func decodeString(raw json.RawMessage, to *string, check func(string) error, remedy string) *fieldError {
	if err := json.Unmarshal(raw, to); err != nil {
		return &fieldError{fmt.Errorf("is not a string: %s", short(raw)), "quote the value"}
	}
	if check != nil && *to != "" {
		if err := check(*to); err != nil {
			return &fieldError{err, remedy}
		}
	}
	return nil
}

// setDeviceID stores the canonical form, so that a device has the same name wherever it is
// locked, recorded or compared.
func (s *Selection) setDeviceID(raw json.RawMessage) *fieldError {
	fault := decodeString(raw, &s.DeviceID, checkDeviceID, "write a PCI address such as 0000:3b:02.1")
	if fault == nil {
		s.DeviceID = canonicalDevice(s.DeviceID)
	}
	return fault
}

func checkDeviceID(id string) error {
	_, err := pci.ParseAddress(quote.Cut(id))
	return err
}

func (s *Selection) setIPs(raw json.RawMessage) *fieldError {
	if err := json.Unmarshal(raw, &s.IPs); err != nil {
		return &fieldError{fmt.Errorf("is not a list of strings: %s", short(raw)), `write ["192.0.2.1/24"]`}
	}
	if len(s.IPs) > MaxIPs {
		e := LimitError{Value: len(s.IPs), Limit: MaxIPs, Unit: "addresses", Remedy: "ask for fewer"}
		return &fieldError{errors.New(e.reason()), e.Remedy}
	}
	for _, ip := range s.IPs {
		if err := checkIP(ip); err != nil {
			return &fieldError{err, `write "192.0.2.1/24" or "2001:db8::1/64"`}
		}
	}
	return nil
}

func (s *Selection) setDefaultRoute(raw json.RawMessage) *fieldError {
	var gateways []string
	if err := json.Unmarshal(raw, &gateways); err != nil {
		return &fieldError{fmt.Errorf("is not a list of strings: %s", short(raw)), `write ["192.0.2.254"]`}
	}
	for _, g := range gateways {
		addr, err := netip.ParseAddr(g)
		if err != nil || addr.IsUnspecified() || addr.Zone() != "" {
			return &fieldError{fmt.Errorf("%q is not the address of a gateway", quote.Cut(g)), `write ["192.0.2.254"], without a prefix length`}
		}
		s.DefaultRoute = append(s.DefaultRoute, addr.Unmap())
	}
	return nil
}

func (s *Selection) setBandwidth(raw json.RawMessage) *fieldError {
	s.Bandwidth = &Bandwidth{}
	if err := json.Unmarshal(raw, s.Bandwidth); err != nil {
		return &fieldError{fmt.Errorf("does not hold whole numbers: %s", short(raw)), "rates are bit/s, bursts are bits"}
	}
	b := *s.Bandwidth
	if min(b.IngressRate, b.IngressBurst, b.EgressRate, b.EgressBurst) < 0 {
		return &fieldError{fmt.Errorf("has a negative value: %s", short(raw)), "rates are bit/s, bursts are bits"}
	}
	return nil
}

func (s *Selection) setPortMappings(raw json.RawMessage) *fieldError {
	const remedy = `write [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]`
	if err := json.Unmarshal(raw, &s.PortMappings); err != nil {
		return &fieldError{fmt.Errorf("is not a list of port mappings: %s", short(raw)), remedy}
	}
	for i := range s.PortMappings {
		m := &s.PortMappings[i]
		m.Protocol = strings.ToLower(m.Protocol)
		switch {
		case m.HostPort < 1 || m.HostPort > 65535:
			return &fieldError{fmt.Errorf("hostPort %d is not between 1 and 65535", m.HostPort), remedy}
		case m.ContainerPort < 1 || m.ContainerPort > 65535:
			return &fieldError{fmt.Errorf("containerPort %d is not between 1 and 65535", m.ContainerPort), remedy}
		case m.Protocol != "" && m.Protocol != "tcp" && m.Protocol != "udp" && m.Protocol != "sctp":
			return &fieldError{fmt.Errorf("protocol %q is not tcp, udp or sctp", quote.Cut(m.Protocol)), remedy}
		}
		if m.HostIP != "" {
			if err := checkAddress(m.HostIP); err != nil {
				return &fieldError{fmt.Errorf("hostIP %w", err), remedy}
			}
		}
	}
	return nil
}

// checkWhole applies the rules across elements: explicit interface names are unique, and each
// address family has at most one default route in the pod.
func (p parser) checkWhole(list []Selection) error {
	interfaces := map[string]int{}
	families := map[bool]int{} // is IPv4 → position
	for _, s := range list {
		if s.Interface != "" {
			if first, taken := interfaces[s.Interface]; taken {
				return p.fault(s.Position, "interface", fmt.Errorf("%q is already the interface of network %d", s.Interface, first), "choose another name")
			}
			interfaces[s.Interface] = s.Position
		}
		for _, gw := range s.DefaultRoute {
			if first, taken := families[gw.Is4()]; taken {
				return p.fault(s.Position, "default-route", fmt.Errorf("%s: network %d already has the default route of that family", gw, first),
					"keep one gateway per address family in the whole pod")
			}
			families[gw.Is4()] = s.Position
		}
	}
	return nil
}

// short quotes a piece of a user's JSON for an error text.
func short(raw json.RawMessage) string {
	return quote.Plain(strings.Join(strings.Fields(string(raw)), " "))
}
