package deviceplugin

import (
	"maps"
	"slices"
	"testing"

	v1beta1 "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// devices C1: programs written for the SR-IOV device plugin find its name of the
// variable, and shells one that they can read.
func TestBothSpellingsOfTheVariable(t *testing.T) {
	for resource, want := range map[string][2]string{
		"fairlead.dev/fast":        {"PCIDEVICE_FAIRLEAD_DEV_FAST", "PCIDEVICE_FAIRLEAD_DEV_FAST"},
		"intel.com/sriov-dpdk_1.0": {"PCIDEVICE_INTEL_COM_SRIOV_DPDK_1_0", "PCIDEVICE_INTEL_COM_SRIOV-DPDK_1_0"},
		"a-b.example/x":            {"PCIDEVICE_A_B_EXAMPLE_X", "PCIDEVICE_A-B_EXAMPLE_X"},
	} {
		if got := [2]string{EnvName(resource), stockEnvName(resource)}; got != want {
			t.Errorf("%s: %q, want %q", resource, got, want)
		}
	}
}

func TestAllocateSetsBothSpellings(t *testing.T) {
	resp := &v1beta1.ContainerAllocateResponse{}
	if err := (allocator{resource: "intel.com/sriov-dpdk"}).fill(resp, nil); err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(resp.Envs))
	want := []string{"PCIDEVICE_INTEL_COM_SRIOV-DPDK", "PCIDEVICE_INTEL_COM_SRIOV-DPDK_INFO", "PCIDEVICE_INTEL_COM_SRIOV_DPDK", "PCIDEVICE_INTEL_COM_SRIOV_DPDK_INFO"}
	if !slices.Equal(got, want) {
		t.Errorf("variables %q, want %q", got, want)
	}
}
