package ipam

import (
	"fmt"
	"net"
	"strings"

	"fairlead.dev/fairlead/pkg/quote"
)

// splitIPs removes a list of addresses ("IP=10.1.2.3,fd00::3") from CNI_ARGS and returns it.
// A networks annotation may ask for several addresses, but the stock parser accepts only
// one.
func splitIPs(cniArgs string) (rest string, ips []net.IP, err error) {
	var kept []string
	for _, pair := range strings.Split(cniArgs, ";") {
		key, value, _ := strings.Cut(pair, "=")
		if key != "IP" || !strings.Contains(value, ",") {
			kept = append(kept, pair)
			continue
		}
		for _, word := range strings.Split(value, ",") {
			ip, err := parseIP(strings.TrimSpace(word))
			if err != nil {
				return "", nil, fmt.Errorf("CNI_ARGS: IP: %w", err)
			}
			ips = append(ips, ip)
		}
	}
	return strings.Join(kept, ";"), ips, nil
}

// parseIP reads an address with or without a prefix length.
func parseIP(s string) (net.IP, error) {
	if ip := net.ParseIP(s); ip != nil {
		return ip, nil
	}
	if ip, _, err := net.ParseCIDR(s); err == nil {
		return ip, nil
	}
	return nil, fmt.Errorf("%q is not an IP address", quote.Cut(s))
}
