package kubelet

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"fairlead.dev/fairlead/test/fuzz"
)

// A reply of the kubelet, in the bytes of the wire: the devices of a pod are sorted, and
// none is there twice.
func FuzzPodResources(f *testing.F) {
	for _, pod := range []*podresources.PodResources{
		{Name: "p", Namespace: "ns", Containers: []*podresources.ContainerResources{
			{Name: "a", Devices: []*podresources.ContainerDevices{{ResourceName: "x/y", DeviceIds: []string{"0000:01:10.1", "0000:01:10.0"}}, {ResourceName: "x/y", DeviceIds: []string{"0000:01:10.0"}}}},
			{Name: "b", CpuIds: []int64{1, 2}, Devices: []*podresources.ContainerDevices{{DeviceIds: []string{""}}, nil}}}},
		{},
	} {
		raw, err := proto.Marshal(pod)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		var pod podresources.PodResources
		if proto.Unmarshal(reply, &pod) != nil {
			return
		}
		var all map[string][]string
		fuzz.Allocates(t, len(reply), func() { all = devices(&pod) })
		for resource, ids := range all {
			if unique := slices.Clone(ids); len(ids) == 0 || len(slices.Compact(slices.Sorted(slices.Values(unique)))) != len(ids) {
				t.Errorf("%s: %q", resource, ids)
			}
		}
	})
}
