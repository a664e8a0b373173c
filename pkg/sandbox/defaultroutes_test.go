package sandbox

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"
)

func defaultVia(gw string) *types.Route {
	_, dst, _ := net.ParseCIDR("0.0.0.0/0")
	return &types.Route{Dst: *dst, GW: net.ParseIP(gw)}
}

// meta-cni C4: the kernel is asked if a secondary network's ipam gives a default route, or if
// a program may have made one. Then record and status say which route comes first.
func TestDefaultRoutesOfSecondaryNetworks(t *testing.T) {
	for _, tt := range []struct {
		name, networks string
		routes         bool
		stock          bool
		want           []string // KeepDefaultRoutes
	}{
		{name: "no default route", networks: "macvlan-conf"},
		{name: "only the primary", networks: "", routes: true},
		{name: "of a built-in network", networks: "macvlan-conf", routes: true, want: []string{"[eth0 eth0] []"}},
		{name: "of a program, perhaps", networks: "macvlan-conf, bridge-conf", want: []string{"[eth0 eth0] [net2]"}},
		{name: "of a program in a chain, perhaps", networks: "tuned", want: []string{"[eth0 eth0] [net1]"}},
		{name: "the stock way", networks: "macvlan-conf, bridge-conf", routes: true, stock: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.restart(func(o *Options) { o.SecondaryDefaultRoutes = tt.stock })
			n.pod("p", tt.networks)
			n.world.Result = func(ifName string, r *types100.Result) {
				if tt.routes {
					r.Routes = []*types.Route{defaultVia("10.1.2.1")}
				}
			}
			n.mustAdd("c1", "p")
			if diff := cmp.Diff(tt.want, n.keptFor); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// meta-cni C4: the metric of a route that was moved is on record, so that it is made again as
// it was, and its gateway is not the pod's.
func TestRoutesBehindThePrimarysAreOnRecord(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf")
	n.moved = []MovedRoute{{IfName: "net1", IPv4: true, Metric: 7}, {IfName: "net9", Metric: 8}}
	n.world.Result = func(ifName string, r *types100.Result) { r.Routes = []*types.Route{defaultVia("10.1.2.1")} }
	n.mustAdd("c1", "p")
	all := n.sandbox("c1").Attachments
	if !strings.Contains(string(all[1].Result), `"priority":7`) || !slices.Equal(all[1].Behind, []string{"IPv4"}) {
		t.Errorf("net1: %v, %s", all[1].Behind, all[1].Result)
	}
	if strings.Contains(string(all[0].Result), "priority") || all[0].Behind != nil {
		t.Errorf("eth0: %v, %s", all[0].Behind, all[0].Result)
	}
	if status := n.cluster.Status["default/p"]; strings.Count(status, `"10.1.2.1"`) != 1 {
		t.Errorf("the status has not eth0's gateway only: %s", status)
	}
}
