package ipam

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// splitIPs takes a list of addresses ("IP=10.1.2.3,fd00::3") out of CNI_ARGS: a
// networks annotation may ask for several, and the stock parser knows just one.
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
	return nil, fmt.Errorf("%q is no IP address", s)
}

// parseResolvConf reads the DNS settings of a file such as /etc/resolv.conf.
func parseResolvConf(path string) (types.DNS, error) {
	file, err := os.Open(path)
	if err != nil {
		return types.DNS{}, fmt.Errorf("resolvConf: %w", err)
	}
	defer file.Close()
	var dns types.DNS
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] { // a comment's first word is none of these
		case "nameserver":
			dns.Nameservers = append(dns.Nameservers, words[1])
		case "domain":
			dns.Domain = words[1]
		case "search":
			dns.Search = append(dns.Search, words[1:]...)
		case "options":
			dns.Options = append(dns.Options, words[1:]...)
		}
	}
	if err := lines.Err(); err != nil {
		return types.DNS{}, fmt.Errorf("resolvConf: %w", err)
	}
	return dns, nil
}
