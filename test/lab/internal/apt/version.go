package apt

import (
	"fmt"
)

// MinQEMU is the first major version that has the igb network card.
const MinQEMU = 8

// QEMUSuite returns the suite that has a QEMU new enough on a Debian release,
// empty for the release itself.
func QEMUSuite(version, codename string) (string, error) {
	switch version {
	case "12":
		return codename + "-backports", nil // 7.2 in the release, 10 in its backports
	case "13":
		return "", nil
	}
	return "", fmt.Errorf("the lab sets itself up on Debian 12 and 13; this is Debian %s", version)
}
