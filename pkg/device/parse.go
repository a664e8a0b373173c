package device

import (
	"fmt"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/pkg/pci"
)

// maxIndex is the highest index that a VF can have: TotalVFs is a 16-bit register.
const maxIndex = 1<<16 - 1

// ParseIndexRanges parses VF indexes as users write them: "0-3,5,7-9".
func ParseIndexRanges(text string) ([]IndexRange, error) {
	var ranges []IndexRange
	for part := range strings.SplitSeq(text, ",") {
		r, err := parseIndexRange(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("VF indexes %.60q: %w", text, err)
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

func parseIndexRange(text string) (IndexRange, error) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	r := IndexRange{}
	var err error
	if r.First, err = parseIndex(first); err != nil {
		return IndexRange{}, err
	}
	if r.Last, err = parseIndex(last); err != nil {
		return IndexRange{}, err
	}
	if r.First > r.Last {
		return IndexRange{}, fmt.Errorf("%.60q ends before it begins", text)
	}
	return r, nil
}

func parseIndex(text string) (int, error) {
	// ParseUint rejects signs and blanks, some of which Atoi would accept.
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%.60q is not an index; write numbers and ranges such as 0-3,5", text)
	}
	if n > maxIndex {
		return 0, fmt.Errorf("%d is above %d, the highest index a VF can have", n, maxIndex)
	}
	return int(n), nil
}

// ParsePFRange parses a PF with VF indexes: "ens1f0", or "ens1f0#0-3,5".
func ParsePFRange(text string) (PFRange, error) {
	name, indexes, hasIndexes := strings.Cut(text, "#")
	if name == "" {
		return PFRange{}, fmt.Errorf("%.60q names no PF; write name or name#0-3,5", text)
	}
	r := PFRange{Name: name}
	if !hasIndexes {
		return r, nil
	}
	var err error
	if r.VFs, err = ParseIndexRanges(indexes); err != nil {
		return PFRange{}, fmt.Errorf("%.60q: %w", text, err)
	}
	return r, nil
}

// ParseRootRange parses a PF's address with VF indexes: "0000:3b:00.0#0-3,5".
func ParseRootRange(text string) (RootRange, error) {
	r, err := ParsePFRange(text)
	if err != nil {
		return RootRange{}, err
	}
	pf, err := pci.ParseAddress(r.Name)
	return RootRange{PF: pf, VFs: r.VFs}, err
}

// ParseAddresses parses PCI addresses, with or without their domain.
func ParseAddresses(texts []string) (Addresses, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	out := make(Addresses, len(texts))
	for _, text := range texts {
		addr, err := pci.ParseAddress(text)
		if err != nil {
			return nil, err
		}
		out[addr] = true
	}
	return out, nil
}

// String returns the form that ParseIndexRanges parses.
func (r IndexRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// String returns the form that ParsePFRange parses.
func (r PFRange) String() string {
	if len(r.VFs) == 0 {
		return r.Name
	}
	return r.Name + "#" + FormatIndexRanges(r.VFs)
}

// FormatIndexRanges is the inverse of ParseIndexRanges.
func FormatIndexRanges(ranges []IndexRange) string {
	parts := make([]string, len(ranges))
	for i, r := range ranges {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}
