package attach

import (
	"context"
	"testing"

	"fairlead.dev/fairlead/pkg/ledger"
)

// meta-cni D5: a router on a secondary network does not become the pod's, unless the agent is
// told so. The interface of a primary network is left alone.
func TestAdvertisedDefaultRoutesComeBehind(t *testing.T) {
	for _, tt := range []struct {
		name           string
		primary, stock bool
		want           string
	}{
		{"secondary", false, false, "2048"},
		{"secondary, the stock way", false, true, ""},
		{"primary", true, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, igb)
			s := k.set(t.TempDir())
			s.SecondaryDefaultRoutes = tt.stock
			att := prepared(t, s, "macvlan", request(`{"type": "macvlan", "master": "eth1"}`, vf0Addr))
			c := Call{SandboxID: "s1", Netns: ledger.Netns{Path: podNS}, Primary: tt.primary}
			if _, err := s.Add(context.Background(), c, &att); err != nil {
				t.Fatal(err)
			}
			if got := k.spaces[podNS].sysctls["ipv6/conf/net1/ra_defrtr_metric"]; got != tt.want {
				t.Errorf("the metric is %q, want %q", got, tt.want)
			}
		})
	}
	older, ok := advertisedBehind("net1").older()
	if want := (sysctl{"ipv6/conf/net1/accept_ra_defrtr", "0"}); !ok || older != want {
		t.Errorf("kernels before 5.12 get %v", older)
	}
	if _, ok := (sysctl{"ipv4/conf/net1/arp_notify", "1"}).older(); ok {
		t.Error("another sysctl has a stand-in")
	}
}

// meta-cni C2: the dns of the plugin's own config takes precedence over the ipam's.
func TestDNSOfTheConfig(t *testing.T) {
	for conf, want := range map[string]string{
		`{"type": "macvlan", "master": "eth1", "DNS": {"nameservers": ["10.0.0.53"]}, "ipam": {"type": "static", "addresses": [{"address": "10.1.0.2/24"}], "dns": {"domain": "ipam"}}}`: `{"nameservers":["10.0.0.53"]}`,
		`{"type": "macvlan", "master": "eth1", "ipam": {"type": "static", "addresses": [{"address": "10.1.0.2/24"}], "dns": {"domain": "ipam"}}}`:                                        `{"domain":"ipam"}`,
	} {
		k := newNode(t, igb)
		s := k.set(t.TempDir())
		att := prepared(t, s, "macvlan", request(conf, vf0Addr))
		got, err := attacherOf(t, s, "macvlan").Bind(context.Background(), env, &att, podNS)
		if err != nil {
			t.Fatal(err)
		}
		if asJSON(t, got.DNS) != want {
			t.Errorf("%s: dns %s, want %s", conf, asJSON(t, got.DNS), want)
		}
	}
}
