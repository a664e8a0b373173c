package agent

import (
	"strings"
	"testing"
)

// reports 17, 18, 19: the options for networks from elsewhere.
func TestOptionsOfNetworks(t *testing.T) {
	for _, tt := range []struct {
		change func(*Options)
		want   string // in the error; empty: valid
	}{
		{func(o *Options) { o.PrimaryConf = "10-flannel.conflist" }, ""},
		{func(o *Options) { o.PrimaryConf = "/run/multus/cni/net.d/10-ovn-kubernetes.conf" }, ""},
		{func(o *Options) { o.PrimaryConf = "kube-system/calico" }, ""},
		{func(o *Options) { o.PrimaryConf = "../x.conf" }, "neither the name of a file"},
		{func(o *Options) { o.PrimaryConf = "a/b/c" }, "nor namespace/name of a net-attach-def"},
		{func(o *Options) { o.PrimaryConf = "/run/../x.conf" }, "nor an absolute path"},
		{func(o *Options) { o.NetAttachDefConfDir = "" }, ""},
		{func(o *Options) { o.NetAttachDefConfDir = "net.d" }, "--net-attach-def-conf-dir"},
		{func(o *Options) { o.DefaultNetworks = []string{"storage", "infra/storage"} }, ""},
		{func(o *Options) { o.DefaultNetworks = []string{"storage@net1"} }, "--default-networks"},
	} {
		o := Defaults()
		o.NodeName = "node1"
		tt.change(&o)
		if err := o.Validate(); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", o, err, tt.want)
		}
	}
}
