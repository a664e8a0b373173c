package ipam

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/quote"
)

// staticConf has the fields of a plugin's conf that static reads.
type staticConf struct {
	IPAM struct {
		Routes    []*types.Route `json:"routes"`
		DNS       types.DNS      `json:"dns"`
		Addresses []struct {
			Address string `json:"address"`
			Gateway net.IP `json:"gateway"`
		} `json:"addresses"`
	} `json:"ipam"`
	RuntimeConfig struct {
		IPs []string `json:"ips"`
	} `json:"runtimeConfig"`
	Args struct {
		CNI struct {
			IPs []string `json:"ips"`
		} `json:"cni"`
	} `json:"args"`
}

// staticEnv has the keys of CNI_ARGS that static reads.
type staticEnv struct {
	types.CommonArgs
	IP      types.UnmarshallableString
	GATEWAY types.UnmarshallableString
}

// static is the built-in static. The conf has the addresses, so nothing is recorded.
type static struct {
	args Args
	conf json.RawMessage
}

func (static) del(context.Context) error   { return nil }
func (static) check(context.Context) error { return nil }

// add follows the stock plugin. The addresses of ipam.addresses and CNI_ARGS are joined. If
// there are args.cni.ips, they replace these. If there are runtimeConfig.ips, they replace
// all others.
func (s static) add(context.Context) (*types100.Result, error) {
	var conf staticConf
	if err := json.Unmarshal(s.conf, &conf); err != nil {
		return nil, err
	}
	ips, err := conf.addresses(s.args.CNIArgs)
	if err != nil {
		return nil, err
	}
	for _, r := range []struct {
		field string
		ips   []string
	}{
		{"args.cni.ips", conf.Args.CNI.IPs},
		{"runtimeConfig.ips", conf.RuntimeConfig.IPs},
	} {
		if len(r.ips) == 0 {
			continue
		}
		if ips, err = parseCIDRs(r.field, r.ips); err != nil {
			return nil, err
		}
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf(`there is no address: set ipam.addresses, or ask for "ips" in the pod's networks annotation`)
	}
	return &types100.Result{CNIVersion: types100.ImplementedSpecVersion, IPs: ips, Routes: conf.IPAM.Routes, DNS: conf.IPAM.DNS}, nil
}

func (c staticConf) addresses(cniArgs string) ([]*types100.IPConfig, error) {
	var ips []*types100.IPConfig
	for i, a := range c.IPAM.Addresses {
		parsed, err := parseCIDRs(fmt.Sprintf("ipam.addresses[%d].address", i), []string{a.Address})
		if err != nil {
			return nil, err
		}
		parsed[0].Gateway = a.Gateway
		ips = append(ips, parsed...)
	}
	if cniArgs == "" {
		return ips, nil
	}
	var env staticEnv
	if err := types.LoadArgs(cniArgs, &env); err != nil {
		return nil, fmt.Errorf("CNI_ARGS: %w", err)
	}
	if env.IP != "" {
		parsed, err := parseCIDRs("CNI_ARGS: IP", strings.Split(string(env.IP), ","))
		// If runtimeConfig replaces the list anyway, an address without a prefix length is not
		// an error: the meta-CNI writes the same request into both places.
		if err != nil && len(c.RuntimeConfig.IPs) == 0 {
			return nil, err
		}
		ips = append(ips, parsed...)
	}
	return ips, setGateways(ips, string(env.GATEWAY))
}

func parseCIDRs(field string, list []string) ([]*types100.IPConfig, error) {
	var ips []*types100.IPConfig
	for _, s := range list {
		ip, ipNet, err := net.ParseCIDR(strings.TrimSpace(s))
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not an address with a prefix length, such as 192.168.1.5/24", field, quote.Cut(s))
		}
		ips = append(ips, &types100.IPConfig{Address: net.IPNet{IP: canonical(ip), Mask: ipNet.Mask}})
	}
	return ips, nil
}

// setGateways sets the gateway of each address whose subnet contains one.
func setGateways(ips []*types100.IPConfig, list string) error {
	if list == "" {
		return nil
	}
	for _, word := range strings.Split(list, ",") {
		gw := net.ParseIP(strings.TrimSpace(word))
		if gw == nil {
			return fmt.Errorf("CNI_ARGS: GATEWAY: %q is not an IP address", quote.Cut(word))
		}
		for _, ip := range ips {
			if ip.Address.Contains(gw) {
				ip.Gateway = gw
			}
		}
	}
	return nil
}
