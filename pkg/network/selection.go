package network

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"unicode"

	"fairlead.dev/fairlead/pkg/quote"
)

// Selection is one element of the networks annotation, validated.
type Selection struct {
	Namespace, Name string
	Position        int    // position in the annotation, from 1; 0: not from an annotation
	ByDefault       bool   // a default network: the agent's option chose it, not the pod
	Interface       string // empty: net<position>
	IPs             []string
	MAC             string
	InfinibandGUID  string
	Bandwidth       *Bandwidth
	PortMappings    []PortMapping
	CNIArgs         map[string]any
	DefaultRoute    []netip.Addr // gateways, at most one per family
	DeviceID        string       // used only if no allocated device is found
	IPAMClaim       string
	UnknownKeys     []string // of the element, which are ignored
}

// Network returns namespace/name of the net-attach-def.
func (s Selection) Network() string { return s.Namespace + "/" + s.Name }

// Bandwidth is the bandwidth capability; rates in bit/s, bursts in bits.
type Bandwidth struct {
	IngressRate  int64 `json:"ingressRate"`
	IngressBurst int64 `json:"ingressBurst"`
	EgressRate   int64 `json:"egressRate"`
	EgressBurst  int64 `json:"egressBurst"`
}

// PortMapping is one element of the portMappings capability.
type PortMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol,omitempty"`
	HostIP        string `json:"hostIP,omitempty"`
}

// SelectionError is a fault in a networks annotation: its place, the reason and the
// remedy. The pod's name is added by the caller, who knows it.
type SelectionError struct {
	Annotation string
	Position   int    // of the network in the list, from 1; 0: the annotation as a whole
	Field      string // "" if the fault is not in one field
	Reason     string
	Remedy     string
}

func (e *SelectionError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "annotation %s", e.Annotation)
	if e.Position > 0 {
		fmt.Fprintf(&b, ", network %d", e.Position)
	}
	if e.Field != "" {
		fmt.Fprintf(&b, ", field %s", e.Field)
	}
	fmt.Fprintf(&b, ": %s", e.Reason)
	if e.Remedy != "" {
		fmt.Fprintf(&b, "; %s", e.Remedy)
	}
	return b.String()
}

var nameRE = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

const (
	nameRemedy      = "names consist of a-z, 0-9 and '-', and begin and end with a letter or digit"
	interfaceRemedy = "an interface name has 1 to 15 bytes of printable ASCII, without white space, '/', ':' or '%'"
	maxInterface    = 15 // IFNAMSIZ less the terminating zero
)

// checkName validates names and namespaces, in the short and the JSON form.
func checkName(s string) error {
	if !nameRE.MatchString(s) {
		return fmt.Errorf("%q is not a valid name", quote.Cut(s))
	}
	return nil
}

// checkInterface applies the kernel's dev_valid_name, which also refuses ':'. In a
// new link's name the kernel replaces %d by a number. Anything but printable ASCII is
// refused too: administrators see the name on their terminals (security S11).
func checkInterface(s string) error {
	switch {
	case s == "" || len(s) > maxInterface:
		return fmt.Errorf("%q has %d bytes", quote.Cut(s), len(s))
	case s == "." || s == "..":
		return fmt.Errorf("%q is reserved", s)
	case strings.ContainsAny(s, "/:\x00"):
		return fmt.Errorf("%q contains a character that the kernel refuses", s)
	case strings.Contains(s, "%"):
		return fmt.Errorf("%q contains '%%', which the kernel takes for a pattern", s)
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return fmt.Errorf("%q contains white space or a control character", s)
	case strings.ContainsFunc(s, notPrintable):
		return fmt.Errorf("%+q contains a character that is not printable ASCII", s)
	}
	return nil
}

// checkIP accepts an address or an address with a prefix length. A pod has no use
// for a zone, which could be any text, such as another pod's name for CNI_ARGS.
func checkIP(s string) error {
	if checkAddress(s) == nil {
		return nil
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		return nil
	}
	return fmt.Errorf("%q is neither an IP address nor address/prefix", quote.Cut(s))
}

func checkAddress(s string) error {
	if addr, err := netip.ParseAddr(s); err != nil || addr.Zone() != "" {
		return fmt.Errorf("%q is not an IP address", quote.Cut(s))
	}
	return nil
}

func checkMAC(s string) error {
	mac, err := net.ParseMAC(s)
	switch {
	case err != nil || len(mac) != 6:
		return fmt.Errorf("%q is not a MAC address of six bytes", quote.Cut(s))
	case mac[0]&1 != 0:
		return fmt.Errorf("%q has the group bit set: it is a multicast address", quote.Cut(s))
	case mac.String() == "00:00:00:00:00:00":
		return fmt.Errorf("%q is all zero", quote.Cut(s))
	}
	return nil
}

func checkGUID(s string) error {
	guid, err := net.ParseMAC(s)
	if err != nil || len(guid) != 8 {
		return fmt.Errorf("%q is not a GUID of eight bytes", quote.Cut(s))
	}
	return nil
}
