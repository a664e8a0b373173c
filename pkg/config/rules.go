package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
)

// Limits that every kernel has. The limits of a driver show only when a value is read back
// after writing.
const (
	minMTU      = 68    // RFC 791: the smallest MTU of an IPv4 link
	maxMTU      = 65535 // ETH_MAX_MTU of include/uapi/linux/if_ether.h
	maxVLAN     = 4094  // 4095 is reserved by IEEE 802.1Q
	maxQoS      = 7
	maxRateMbps = 10_000_000 // ten times the fastest NIC; the kernel uses 32 bits
	maxNumVFs   = 65535      // TotalVFs is a 16-bit register of the SR-IOV capability
)

var (
	resourceNameRE = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)
	// Kubernetes' rule for the name part of a qualified name: the kubelet
	// refuses a registration that breaks it.
	qualifiedRE = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?$`)
	subdomainRE = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	driverRE    = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)
	pciIDRE     = regexp.MustCompile(`^[0-9a-f]{4}$`)
)

// checkResource validates a resource's name with or without prefix.
func checkResource(name string) error {
	prefix, base, hasPrefix := strings.Cut(name, "/")
	if !hasPrefix {
		prefix, base = "", name
	}
	if hasPrefix {
		if err := checkPrefix(prefix); err != nil {
			return err
		}
	}
	if !resourceNameRE.MatchString(base) {
		return fmt.Errorf("%q is not a resource name: it may contain letters, digits, '_', '.' and '-'", name)
	}
	if !qualifiedRE.MatchString(base) {
		return fmt.Errorf("%q is not a resource name that the kubelet accepts: it must begin and end with a letter or digit and have at most 63 characters", name)
	}
	return nil
}

// checkPrefix validates the part of a resource's name before the slash.
func checkPrefix(prefix string) error {
	switch {
	case len(prefix) > 253 || !subdomainRE.MatchString(prefix):
		return fmt.Errorf("%q is not a resource prefix: it is a DNS name in lower case, such as example.com", prefix)
	case prefix == "kubernetes.io" || strings.HasSuffix(prefix, ".kubernetes.io"):
		return fmt.Errorf("the prefix %q belongs to Kubernetes, and its kubelet refuses it: use a prefix of your own", prefix)
	case strings.HasPrefix(prefix, "requests."):
		return fmt.Errorf("the prefix %q is refused by Kubernetes: quotas use names that begin with \"requests.\"", prefix)
	}
	return nil
}

func checkMTU(mtu int) error {
	if mtu < minMTU || mtu > maxMTU {
		return fmt.Errorf("%d is out of range: %d to %d bytes, or unset", mtu, minMTU, maxMTU)
	}
	return nil
}

// parseOnOff parses "on" or "off"; "" is nil. YAML reads a bare on as true, which is why the
// message has quotes.
func parseOnOff(s string) (*bool, error) {
	switch s {
	case "":
		return nil, nil
	case "on", "off":
		v := s == "on"
		return &v, nil
	}
	return nil, fmt.Errorf("%q is neither \"on\" nor \"off\"", s)
}

// checkPCIIDs validates vendor or device ids and returns them in lower case.
func checkPCIIDs(ids []string) ([]string, error) {
	var out []string
	for _, id := range ids {
		id = strings.ToLower(id)
		if !pciIDRE.MatchString(id) {
			return nil, fmt.Errorf("%q is not a PCI id of four hex digits, such as \"8086\"", id)
		}
		out = append(out, id)
	}
	return out, nil
}

func checkOneOf(values []string, allowed ...string) error {
	for _, v := range values {
		if !slices.Contains(allowed, v) {
			return fmt.Errorf("%q is not one of %s", v, strings.Join(allowed, ", "))
		}
	}
	return nil
}

func checkNotEmpty(values []string) error {
	for _, v := range values {
		if strings.TrimSpace(v) == "" {
			return fmt.Errorf("contains an empty string, which would match nothing")
		}
	}
	return nil
}

// checkDrivers validates names of kernel drivers.
func checkDrivers(names []string) error {
	for _, n := range names {
		if !driverRE.MatchString(n) {
			return fmt.Errorf("%q is not the name of a kernel driver", n)
		}
	}
	return nil
}

// overlap returns the first index that two sets of ranges share. An empty set means all
// indexes.
func overlap(a, b []device.IndexRange) (int, bool) {
	all := []device.IndexRange{{First: 0, Last: maxNumVFs}}
	if len(a) == 0 {
		a = all
	}
	if len(b) == 0 {
		b = all
	}
	for _, x := range a {
		for _, y := range b {
			if x.First <= y.Last && y.First <= x.Last {
				return max(x.First, y.First), true
			}
		}
	}
	return 0, false
}
