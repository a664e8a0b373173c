package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// reports 8, devices B5: a pool of the ConfigMap has PFs without VFs and NICs without SR-IOV. A
// profile keeps its PF from that pool. A NIC that is selected by name stays in its pool while
// its netdev is in a pod.
func TestNodeAdvertisesWholeFunctions(t *testing.T) {
	tree := sysfstest.New(t)
	tree.LoadDriver("mlx5_core", "e1000e")
	for i, netdev := range []string{"ens1f0", "ens2f0"} {
		tree.AddPF(device.PF{Address: pci.Address{Bus: uint8(i + 1)}, Vendor: "15b3", Device: "1017", Driver: "mlx5_core", Netdev: netdev, LinkType: "ether", NUMANode: -1, IOMMUGroup: -1, TotalVFs: 8})
	}
	nic := pci.Address{Bus: 3}
	tree.AddNIC(device.PF{Address: nic, Vendor: "8086", Device: "10d3", Driver: "e1000e", Netdev: "eno1", LinkType: "ether", NUMANode: -1, IOMMUGroup: -1})
	n := testNode(t, tree.Root)
	n.model = model(t, `{"resourceList":[{"resourceName":"hostdev","resourcePrefix":"nvidia.com","selectors":[{"vendors":["15b3"]},{"pfNames":["eno1"]}]}]}`,
		"apiVersion: fairlead.dev/v1alpha1\nkind: NICProfile\nmetadata: {name: lab}\nspec: {nics: {pfNames: [ens2f0]}, pf: {numVFs: 2}, vfGroups: [{resourceName: fast}]}\n")
	wantDevices(t, n, "01:00.0 ok\n02:00.0 profile \"lab\" governs this PF and hands out its VFs\n03:00.0 ok\n")

	tree.HideNetdev(nic)
	wantDevices(t, n, "01:00.0 ok\n02:00.0 profile \"lab\" governs this PF and hands out its VFs\n03:00.0 its driver e1000e is bound, but its netdev is not on the host, and no pod is on record\n")

	if err := tree.FS().SetNumVFs(pci.Address{Bus: 1}, 1); err != nil {
		t.Fatal(err)
	}
	tree.ShowNetdev(nic, "eno1")
	vf := strings.TrimPrefix(sysfstest.VFAddress(pci.Address{Bus: 1}, 128, 2, 0).String(), "0000:")
	wantDevices(t, n, vf+" ok\n02:00.0 profile \"lab\" governs this PF and hands out its VFs\n03:00.0 ok\n")
}

func model(t *testing.T, configMap, profiles string) config.Model {
	t.Helper()
	pools, err := config.ParseDevicePluginConfig([]byte(configMap), "cm", "intel.com")
	if err != nil {
		t.Fatal(err)
	}
	declared, err := config.ParseProfile([]byte(profiles), "test")
	if err != nil {
		t.Fatal(err)
	}
	m, err := config.Build(declared, pools, nil, config.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// wantDevices waits until the node advertises the devices of nvidia.com/hostdev, which are given
// as lines with the health.
func wantDevices(t *testing.T, n *node, want string) {
	t.Helper()
	var got strings.Builder
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, err := n.inv.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.advertise()
		got.Reset()
		for _, p := range n.plugin.State().Pools {
			for _, d := range p.Devices {
				if p.Resource == "nvidia.com/hostdev" {
					reason, _, _ := strings.Cut(d.Reason, ":")
					if d.Healthy() {
						reason = "ok"
					}
					fmt.Fprintf(&got, "%s %s\n", strings.TrimPrefix(d.VF.Address.String(), "0000:"), reason)
				}
			}
		}
		if got.String() == want {
			return
		}
	}
	t.Errorf("devices\n%s\nwant\n%s", got.String(), want)
}
