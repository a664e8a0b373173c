package sysfs_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/sysfs"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// S9: anything that a pod has left on a netdev disappears with the netdev.
func TestRebind(t *testing.T) {
	const unbind, probe = "0000:3b:10.0/driver/unbind 0000:3b:10.0", "drivers_probe 0000:3b:10.0"
	tests := map[string]struct {
		had     string
		prepare func(*sysfstest.Tree)
		is      error
		text    string
		writes  []string
		left    string
	}{
		"the kernel's driver":     {had: "igbvf", writes: []string{unbind, probe}, left: "igbvf"},
		"no driver":               {is: sysfs.ErrRefused, text: "no driver is bound"},
		"the driver refuses then": {had: "igbvf", prepare: func(tr *sysfstest.Tree) { tr.RefuseDriver(vf0Addr, "igbvf") }, is: sysfs.ErrRefused, text: "rebind 0000:3b:10.0 to igbvf", writes: []string{unbind, probe}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tree := vfTree(t, tt.had)
			if tt.prepare != nil {
				tt.prepare(tree)
			}
			checkError(t, tree.FS().Rebind(vf0Addr), tt.is, tt.text)
			if diff := cmp.Diff(tt.writes, tree.Writes()); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			if driver, err := tree.FS().Driver(vf0Addr); driver != tt.left || err != nil {
				t.Errorf("left driver %q, %v", driver, err)
			}
		})
	}
}
