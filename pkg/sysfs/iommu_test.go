package sysfs_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/sysfs"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// devices A7, security S13: the functions that VFIO hands out together.
func TestGroupMembers(t *testing.T) {
	tree := sysfstest.New(t)
	pf := igb()
	pf.VFs = append(pf.VFs, igbvf(0), igbvf(1))
	pf.VFs[0].IOMMUGroup, pf.VFs[1].IOMMUGroup = 12, 12
	pf.VFs[1].Driver, pf.VFs[1].Netdev = "vfio-pci", ""
	tree.AddPF(pf)
	fs := tree.FS()

	for group, want := range map[int][]sysfs.GroupMember{
		12: {{vf0Addr, "igbvf"}, {vf1Addr, "vfio-pci"}},
		7:  {{pfAddr, "igb"}},
		99: nil,
	} {
		got, err := fs.GroupMembers(group)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("members of group %d: %v (-want +got):\n%s", group, err, diff)
		}
	}
	tree.Remove(vf1Addr)
	if got, err := fs.GroupMembers(12); err != nil || len(got) != 1 {
		t.Errorf("after a VF is gone: %v, %v; want the other", got, err)
	}
}
