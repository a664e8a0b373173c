// Package pci holds PCI addresses and ids: how they are parsed, compared and printed. It does
// no I/O; pkg/sysfs reads them from a node.
package pci

import (
	"fmt"
	"regexp"
	"strconv"
)

// Address is the address of one PCI function. The zero value is 0000:00:00.0: a host bridge on
// every PC, so never an SR-IOV function. See IsZero.
type Address struct {
	Domain   uint32 // 16 bits on most machines; VMD domains are larger
	Bus      uint8
	Device   uint8 // 5 bits
	Function uint8 // 3 bits
}

var addressRE = regexp.MustCompile(`^(?:([0-9a-fA-F]{4,8}):)?([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.([0-7])$`)

// ParseAddress parses "0000:3b:02.1", or "3b:02.1" for domain 0.
func ParseAddress(s string) (Address, error) {
	m := addressRE.FindStringSubmatch(s)
	if m == nil {
		return Address{}, fmt.Errorf("%.60q is not a PCI address of the form 0000:3b:02.1", s)
	}
	// The expression matches nothing that ParseUint rejects.
	domain, _ := strconv.ParseUint("0"+m[1], 16, 64)
	bus, _ := strconv.ParseUint(m[2], 16, 8)
	dev, _ := strconv.ParseUint(m[3], 16, 8)
	fn, _ := strconv.ParseUint(m[4], 8, 8)
	if dev > 0x1f || domain > 0xffffffff {
		return Address{}, fmt.Errorf("%.60q is not a PCI address: a device number is at most 1f", s)
	}
	return Address{Domain: uint32(domain), Bus: uint8(bus), Device: uint8(dev), Function: uint8(fn)}, nil
}

// MustParseAddress is ParseAddress for constants in tests; it panics on an error.
func MustParseAddress(s string) Address {
	a, err := ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// String returns the form that sysfs uses as a directory name.
func (a Address) String() string {
	return fmt.Sprintf("%04x:%02x:%02x.%d", a.Domain, a.Bus, a.Device, a.Function)
}

// IsZero reports whether the address was never set.
func (a Address) IsZero() bool { return a == Address{} }

// Compare orders addresses as lspci does: domain, bus, device, function.
func (a Address) Compare(b Address) int {
	ka, kb := a.key(), b.key()
	switch {
	case ka < kb:
		return -1
	case ka > kb:
		return 1
	}
	return 0
}

func (a Address) key() uint64 {
	return uint64(a.Domain)<<16 | uint64(a.Bus)<<8 | uint64(a.Device)<<3 | uint64(a.Function)
}

// MarshalText makes an Address a JSON string and a JSON object key.
func (a Address) MarshalText() ([]byte, error) {
	if a.IsZero() {
		return nil, nil
	}
	return []byte(a.String()), nil
}

// UnmarshalText is the inverse of MarshalText; an empty text is the zero value.
func (a *Address) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*a = Address{}
		return nil
	}
	v, err := ParseAddress(string(text))
	if err != nil {
		return err
	}
	*a = v
	return nil
}
