package wire

import "strings"

// ValidContainerID applies the CNI specification's rule: letters, digits, '_',
// '.' and '-', beginning with a letter or digit. Such an id is also a safe file
// name. (By hand: package regexp would be a tenth of the shim.)
func ValidContainerID(id string) bool {
	for i := range len(id) {
		if !alphanumeric(id[i]) && (i == 0 || !strings.ContainsRune("_.-", rune(id[i]))) {
			return false
		}
	}
	return id != "" && len(id) <= maxContainerID
}

// maxContainerID keeps a tombstone's file name below the 255 bytes of NAME_MAX.
// Runtimes use 64 hexadecimal digits.
const maxContainerID = 200

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// ValidIfName applies the specification's rule for CNI_IFNAME, and takes printable ASCII
// only: the name is shown on administrators' terminals (security S11).
func ValidIfName(name string) bool {
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return false
		}
	}
	return name != "" && len(name) <= 15 && name != "." && name != ".." && !strings.ContainsAny(name, "/:")
}
