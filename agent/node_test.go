package agent

import (
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
)

func pf(address, netdev string, carrier bool, vfs ...device.VF) device.PF {
	a := pci.MustParseAddress(address)
	for i := range vfs {
		vfs[i].PF = a
	}
	return device.PF{Address: a, Netdev: netdev, Carrier: carrier, MTU: 1500, Driver: "igb", NumVFs: len(vfs), VFs: vfs}
}

func vf(address, netdev string) device.VF {
	return device.VF{Address: pci.MustParseAddress(address), Netdev: netdev, Driver: "igbvf", MTU: 1500}
}

func TestUplinksOfAResource(t *testing.T) {
	model := config.Model{
		Pools: []device.Pool{{Resource: "fairlead.dev/fast", Selectors: []device.Selector{{Drivers: []string{"igbvf"}}}}},
		Profiles: []config.Profile{{
			NICs:   device.NICSelector{PFNames: []string{"pf2"}},
			Groups: []config.VFGroup{{Resource: "fairlead.dev/slow"}},
		}},
	}
	pfs := []device.PF{
		pf("0000:01:00.0", "pf0", false, vf("0000:01:10.0", "v0")),
		pf("0000:02:00.0", "pf1", true, vf("0000:02:10.0", "")),
		pf("0000:03:00.0", "pf2", true),
		pf("0000:04:00.0", "", true, vf("0000:04:10.0", "v1")),
	}
	for resource, want := range map[string]string{
		"fairlead.dev/fast": "pf1 pf0", // with a carrier first; a PF without netdev is no uplink
		"fairlead.dev/slow": "pf2",     // its VFs do not exist (yet)
		"fairlead.dev/none": "",
	} {
		t.Run(resource, func(t *testing.T) {
			inv := inventory.NewSnapshot(pfs, nil)
			if got := strings.Join(uplinks(inv, model, resource), " "); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestWhatDisturbsProfiles(t *testing.T) {
	base := func() *inventory.Snapshot {
		return inventory.NewSnapshot([]device.PF{pf("0000:01:00.0", "pf0", true, vf("0000:01:10.0", "v0"), vf("0000:01:10.2", "v1"))}, nil)
	}
	change := func(f func(*device.PF)) *inventory.Snapshot {
		s := base()
		p := s.PFs[0]
		f(&p)
		return inventory.NewSnapshot([]device.PF{p}, nil)
	}
	for _, tt := range []struct {
		name string
		new  *inventory.Snapshot
		want bool
	}{
		{"nothing", base(), false},
		{"carrier", change(func(p *device.PF) { p.Carrier = false }), false},
		{"a VF left for a pod", change(func(p *device.PF) { p.VFs[0].Netdev, p.VFs[0].MTU = "", 0 }), false},
		{"a VF's MAC", change(func(p *device.PF) { p.VFs[0].MAC = "02:00:00:00:00:01" }), false},
		{"a VF's MTU on the host", change(func(p *device.PF) { p.VFs[0].MTU = 9000 }), true},
		{"a VF's driver", change(func(p *device.PF) { p.VFs[0].Driver = "vfio-pci" }), true},
		{"a VF is gone", change(func(p *device.PF) { p.VFs = p.VFs[:1] }), true},
		{"the PF's MTU", change(func(p *device.PF) { p.MTU = 9000 }), true},
		{"the PF's name", change(func(p *device.PF) { p.Netdev = "eth9" }), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := disturbs(base(), tt.new); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestOptionsAreValidated(t *testing.T) {
	good := Defaults()
	good.NodeName = "node1"
	if err := good.Validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	for flag, change := range map[string]func(*Options){
		"--node-name":       func(o *Options) { o.NodeName = "" },
		"--resource-prefix": func(o *Options) { o.ResourcePrefix = "Fair lead" },
		"--cni-bin-dir":     func(o *Options) { o.CNIBinDir = "opt/cni/bin" },
		"--primary-conf":    func(o *Options) { o.PrimaryConf = "../10-x.conflist" },
		"--reconcile-every": func(o *Options) { o.ReconcileEvery = 0 },

		"--cni-agent-timeout": func(o *Options) { o.CNIAgentTimeout = 1500 * time.Millisecond },
		"--cni-timeout":       func(o *Options) { o.CNITimeout = 0 },
	} {
		o := good
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: error %v does not name the flag", flag, err)
		}
	}
}
