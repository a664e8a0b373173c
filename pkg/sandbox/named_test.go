package sandbox

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sandbox/sandboxtest"
)

const nic = "0000:03:00.0" // in no pool

// pools has vf1 and vf2 in fairlead.dev/fast, and nothing else.
func pools(address pci.Address) string {
	if s := address.String(); s == vf1 || s == vf2 {
		return "fairlead.dev/fast"
	}
	return ""
}

// S3, S4, S5, S12: the ways of naming a device, and their outcomes.
func TestNamedDevices(t *testing.T) {
	const slow = "fairlead.dev/slow"
	tests := []struct {
		name, resource, config string
		networks               string // default: nad
		allow                  bool
		refused                string // empty: attached
	}{
		{name: "S3: a pod names a VF of the pool", resource: "fairlead.dev/fast", config: `{"type":"sriov"}`, networks: `[{"name":"nad","deviceID":"` + vf1 + `"}]`,
			refused: "deviceID of the pod's annotation is " + vf1 + ": the kubelet has not given this device to pod default/p; request fairlead.dev/fast"},
		{name: "S3: in another spelling", resource: "fairlead.dev/fast", config: `{"type":"sriov"}`, networks: `[{"name":"nad","deviceID":"3B:02.1"}]`,
			refused: "is " + vf1 + ": the kubelet has not given"},
		{name: "S3: a net-attach-def names it", config: `{"type":"sriov","deviceID":"` + vf1 + `"}`,
			refused: "deviceID of plugin sriov in the net-attach-def is " + vf1 + ": the kubelet has not given"},
		{name: "S3: where plugins look for what a pod asks for", config: `{"type":"sriov","runtimeConfig":{"deviceID":"` + vf1 + `"}}`,
			refused: "runtimeConfig.deviceID of plugin sriov"},
		{name: "S12: a program is told a VF of a pool", config: `{"type":"host-device","pciBusID":"` + vf1 + `"}`,
			refused: "pciBusID of plugin host-device in the net-attach-def is " + vf1},
		{name: "S12: as a later member", config: `{"plugins":[{"type":"macvlan"},{"type":"rdma","deviceID":"` + vf2 + `"}]}`,
			refused: "deviceID of plugin rdma in the net-attach-def is " + vf2},
		{name: "an administrator's NIC that no pool has", config: `{"type":"host-device","pciBusID":"` + nic + `"}`},
		{name: "permitted", resource: "fairlead.dev/fast", config: `{"type":"sriov"}`, networks: `[{"name":"nad","deviceID":"` + vf1 + `"}]`, allow: true},
		{name: "S4: permitted, but of another pool", resource: slow, config: `{"type":"sriov"}`, networks: `[{"name":"nad","deviceID":"` + vf1 + `"}]`, allow: true,
			refused: "it is not one of the network's resource " + slow + "; request " + slow},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.restart(func(o *Options) { o.AllowNamedDevices, o.Pool = tt.allow, pools })
			n.nad("nad", tt.resource, tt.config)
			if tt.networks == "" {
				tt.networks = "nad"
			}
			n.pod("p", tt.networks)
			_, err := n.call("ADD", "c1", "p")
			switch {
			case tt.refused == "" && err != nil:
				t.Fatal(err)
			case tt.refused == "":
				wantNamedHolder(t, n)
				return
			case err == nil || KindOf(err) != Invalid || !strings.Contains(err.Error(), tt.refused) || !strings.Contains(err.Error(), "network default/nad (interface net1)"):
				t.Errorf("got %v\nwant %q", err, tt.refused)
			}
			n.wantClean()
		})
	}
}

// wantNamedHolder checks that the device is on record as one that was named.
func wantNamedHolder(t *testing.T, n *node) {
	t.Helper()
	for _, h := range n.sandbox("c1").Holdings() {
		if !h.Device.IsZero() && h.Named {
			return
		}
	}
	t.Errorf("no named device in %+v", n.sandbox("c1").Holdings())
}

// meta-cni A6, S3: the kubelet cannot give a named device to another pod.
func TestTheKubeletDoesNotGetANamedDevice(t *testing.T) {
	n := newNode(t)
	n.restart(func(o *Options) { o.AllowNamedDevices, o.Pool = true, pools })
	n.pod("p", `[{"name":"fast","deviceID":"`+vf1+`"}]`)
	n.mustAdd("c1", "p")
	err := n.ledger.PutAllocations([]ledger.Allocation{{Resource: "fairlead.dev/fast", Device: pci.MustParseAddress(vf1), At: n.now}})
	if err == nil {
		t.Error("the kubelet was given a device that a pod has by its name")
	}
}

// S12: two pods whose programs are told the same NIC.
func TestAProgramsDeviceIsHeld(t *testing.T) {
	n := newNode(t)
	n.nad("nad", "", `{"cniVersion":"1.0.0","type":"host-device","pciBusID":"`+nic+`"}`)
	n.pod("p", "nad")
	n.pod("q", "nad")
	n.mustAdd("c1", "p")
	if _, err := n.call("ADD", "c2", "q"); err == nil || KindOf(err) != TryAgain || !strings.Contains(err.Error(), nic) {
		t.Errorf("got %v", err)
	}
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	n.mustAdd("c2", "q")
	if got := sandboxtest.Describe(n.sandbox("c2")); !strings.Contains(got, "net1=exec/bound") {
		t.Error(got)
	}
}

// meta-cni A6: from the look at a device until it is on record, nobody else gets it: no
// Allocate, no profile.
func TestDevicesAreGuardedUntilTheyAreOnRecord(t *testing.T) {
	n := newNode(t)
	n.restart(func(o *Options) {
		o.Guard = func(_ context.Context, devices ...pci.Address) (func(), error) {
			err := n.world.Step("guard", fmt.Sprint("guard ", devices))
			return func() { _ = n.world.Step("unguard", "unguard") }, err
		}
	})
	n.pod("p", "fast, fast", vf2, vf1)
	n.mustAdd("c1", "p")
	want := "guard [" + vf1 + " " + vf2 + "]\nprepare net1 sriov\nprepare net2 sriov\nput c1 eth0=exec/intent net1=sriov/intent net2=sriov/intent\nunguard\n"
	if !strings.HasPrefix(n.world.Trace(), want) {
		t.Errorf("got:\n%s\nwant:\n%s", n.world.Trace(), want)
	}
	n.world.Failing("guard")
	n.pod("q", "fast", vf1)
	if _, err := n.call("ADD", "c2", "q"); err == nil {
		t.Error("a device that a profile changes was attached")
	}
}

// A device that the kubelet gave the pod may be named by it: that is no other's.
func TestAGivenDeviceMayBeNamed(t *testing.T) {
	n := newNode(t)
	n.restart(func(o *Options) { o.Pool = pools })
	n.nad("nad", "", `{"cniVersion":"1.0.0","type":"sriov"}`)
	n.pod("p", `[{"name":"nad","deviceID":"`+vf1+`"}]`, vf1)
	n.mustAdd("c1", "p")
}
