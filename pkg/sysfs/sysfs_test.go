package sysfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

var (
	pfAddr  = pci.MustParseAddress("0000:3b:00.0")
	vf0Addr = pci.MustParseAddress("0000:3b:10.0")
	vf1Addr = pci.MustParseAddress("0000:3b:10.2")
)

func igb() device.PF {
	return device.PF{
		Address: pfAddr, Vendor: "8086", Device: "10c9", Driver: "igb", Netdev: "ens1f0", MAC: "02:00:00:00:00:01",
		MTU: 1500, LinkType: "ether", OperState: "up", Carrier: true, NUMANode: 1, IOMMUGroup: 7, TotalVFs: 7,
	}
}

func igbvf(index int) device.VF {
	return device.VF{
		Address: sysfstest.VFAddress(pfAddr, 128, 2, index), PF: pfAddr, Index: index, Vendor: "8086", Device: "10ca",
		Driver: "igbvf", Netdev: fmt.Sprintf("ens1f0v%d", index), MAC: fmt.Sprintf("02:00:00:00:01:%02x", index),
		MTU: 1500, LinkType: "ether", NUMANode: 1, IOMMUGroup: 10 + index,
	}
}

func TestReadsWhatTheTreeHolds(t *testing.T) {
	tree := sysfstest.New(t)
	want := igb()
	want.RDMADevices = []string{"mlx5_0"}
	vfio := igbvf(1)
	vfio.Driver, vfio.Netdev, vfio.MAC, vfio.MTU, vfio.LinkType = "vfio-pci", "", "", 0, ""
	vfio.ACPIIndex, vfio.VFIOGroup = "101", "11"
	want.VFs = []device.VF{igbvf(0), vfio}
	tree.AddPF(want)
	// One function cannot have VFs, the other has SR-IOV switched off.
	nic := pci.MustParseAddress("0000:00:03.0")
	tree.AddVF(device.VF{Address: nic, Vendor: "8086", Device: "100e", NUMANode: -1, IOMMUGroup: -1})
	off := igb()
	off.Address, off.TotalVFs, off.Netdev = pci.MustParseAddress("0000:3b:00.1"), 0, "ens1f1"
	tree.AddPF(off)

	pfs, err := tree.FS().PFs()
	if err != nil || len(pfs) != 1 {
		t.Fatalf("PFs() = %v, %v; want one", pfs, err)
	}
	got := pfs[0]
	if got.VFs, err = tree.FS().VFs(pfAddr); err != nil {
		t.Fatal(err)
	}
	want.NumVFs, want.Ifindex = 2, 2
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("PF with VFs (-want +got):\n%s", diff)
	}
	found, err := tree.FS().Scan()
	if diff := cmp.Diff(sysfs.Functions{PFs: []pci.Address{pfAddr}, NICs: []pci.Address{nic, off.Address}}, found); err != nil || diff != "" {
		t.Errorf("Scan: %v (-want +got):\n%s", err, diff)
	}
	if got, ok := tree.FS().FunctionOf("ens1f0v0"); !ok || got != vf0Addr {
		t.Errorf("FunctionOf = %v, %v; want %v", got, ok, vf0Addr)
	}
	if got, ok := tree.FS().FunctionOf("veth0"); ok {
		t.Errorf("FunctionOf an unknown netdev = %v, want none", got)
	}
	if vf, err := tree.FS().VF(vf1Addr); err != nil || vf.Index != 1 || vf.PF != pfAddr {
		t.Errorf("VF(%s) = %+v, %v; want index 1", vf1Addr, vf, err)
	}
}

// Crypto accelerators, NVMe disks and GPUs have VFs too. A profile that selects NICs by vendor,
// or selects all, must not create theirs.
func TestOnlyNetworkFunctionsAreNICs(t *testing.T) {
	for class, nic := range map[string]bool{
		"0x020000": true, // Ethernet
		"0x020700": true, // InfiniBand
		"0x0b4000": false, "0x010802": false, "0x030200": false, "0x120000": false,
	} {
		t.Run(class, func(t *testing.T) {
			tree := sysfstest.New(t)
			tree.AddPF(igb())
			tree.SetAttr(pfAddr, "class", class)
			found, err := tree.FS().Scan()
			if err != nil || len(found.PFs) == 1 != nic || len(found.NICs) != 0 {
				t.Errorf("Scan = %v, %v", found, err)
			}
			if _, err := tree.FS().PF(pfAddr); (err == nil) != nic || !nic && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("PF: %v", err)
			}
			if _, err := tree.FS().VF(pfAddr); (err == nil) != nic || !nic && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("VF, as a function without a PF: %v", err)
			}
		})
	}
}

func TestVFsWithAGap(t *testing.T) {
	tree := sysfstest.New(t)
	pf := igb()
	pf.VFs = []device.VF{igbvf(0), igbvf(1), igbvf(2)}
	tree.AddPF(pf)
	tree.Remove(vf1Addr)
	vfs, err := tree.FS().VFs(pfAddr)
	if diff := cmp.Diff([]device.VF{igbvf(0), igbvf(2)}, vfs); err != nil || diff != "" {
		t.Errorf("while VF 1 is away: %v (-want +got):\n%s", err, diff)
	}
}

func TestVFWithoutPF(t *testing.T) { // dp#251, cni#121
	tree := sysfstest.New(t)
	want := igbvf(0)
	want.PF = pci.Address{}
	tree.AddVF(want)
	got, err := tree.FS().VF(vf0Addr)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("VF in a virtual machine: %v (-want +got):\n%s", err, diff)
	}
}

func TestGoneFunctionsAreNotExist(t *testing.T) {
	tree := sysfstest.New(t)
	tree.AddPF(igb())
	f := tree.FS()
	absent := pci.MustParseAddress("0000:ff:00.0")
	for name, call := range map[string]func() error{
		"PF":         func() error { _, err := f.PF(absent); return err },
		"VF":         func() error { _, err := f.VF(absent); return err },
		"VFs":        func() error { _, err := f.VFs(absent); return err },
		"VFAddress":  func() error { _, err := f.VFAddress(pfAddr, 3); return err },
		"Driver":     func() error { _, err := f.Driver(absent); return err },
		"SetNumVFs":  func() error { return f.SetNumVFs(absent, 1) },
		"BindDriver": func() error { return f.BindDriver(absent, "vfio-pci") },
	} {
		if err := call(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of an absent function: %v, want fs.ErrNotExist", name, err)
		}
	}
}

// devices B6: a function's own netdev among representors, on the host and on a DPU, also while
// the own one is in a pod.
func TestUplinkAmongRepresentors(t *testing.T) {
	for name, tt := range map[string]struct {
		uplinkPort string            // phys_port_name of zz0
		others     map[string]string // netdev → phys_port_name
		hidden     bool              // zz0 is in a pod
		want       string            // own netdevs
	}{
		"switchdev":              {"p0", map[string]string{"aa_vf0": "pf0vf0", "bb_sf1": "c1pf0sf1", "cc_vfr": "pf0vfr3"}, false, "zz0"},
		"no port name":           {"", map[string]string{"aa_vf0": "pf0vf0"}, false, "zz0"},
		"a DPU's uplink":         {"p0", map[string]string{"pf0hpf": "c1pf0", "pf0vf0": "c1pf0vf0", "en3f0pf0sf0": "pf0sf0"}, false, "zz0"},
		"a DPU's host PF, older": {"p0", map[string]string{"pf0hpf": "pf0"}, false, "zz0"},
		"in a pod":               {"p0", map[string]string{"aa_vf0": "pf0vf0"}, true, ""},
		"two ports":              {"", map[string]string{"aa1": ""}, false, "aa1 zz0"},
		"the port is named":      {"p0", map[string]string{"aa1": ""}, false, "zz0 aa1"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := sysfstest.New(t)
			pf := igb()
			pf.Netdev = "zz0"
			tree.AddPF(pf)
			if tt.uplinkPort != "" {
				tree.SetAttr(pfAddr, "net/zz0/phys_port_name", tt.uplinkPort)
			}
			for netdev, port := range tt.others {
				tree.ShowRepresentor(pfAddr, netdev, port)
			}
			if tt.hidden {
				tree.HideNetdev(pfAddr)
			}
			got, err := tree.FS().PF(pfAddr)
			if err != nil {
				t.Fatal(err)
			}
			all := strings.TrimSpace(got.Netdev + " " + strings.Join(got.OtherNetdevs, " "))
			names, err := tree.FS().Netdevs(pfAddr)
			if all != tt.want || err != nil || strings.Join(names, " ") != tt.want {
				t.Errorf("PF: %q, Netdevs: %q, %v; want %q", all, names, err, tt.want)
			}
		})
	}
}

// devices C8: somebody has turned the probing of new VFs off.
func TestAutoprobe(t *testing.T) {
	tree := sysfstest.New(t)
	tree.AddPF(igb())
	for value, want := range map[string]bool{"1": false, "0": true} {
		tree.SetAttr(pfAddr, "sriov_drivers_autoprobe", value)
		if pf, err := tree.FS().PF(pfAddr); err != nil || pf.NoAutoprobe != want {
			t.Errorf("%s: %v, %v", value, pf.NoAutoprobe, err)
		}
	}
}

// reports 9: the netdev of virtio is one level deeper than that of other NICs.
func TestVirtioNIC(t *testing.T) {
	tree := sysfstest.New(t)
	tree.LoadDriver("virtio-pci", "uio_pci_generic")
	fs, addr := tree.FS(), pci.MustParseAddress("0000:00:05.0")
	tree.AddNIC(device.PF{Address: addr, Vendor: "1af4", Device: "1041", Driver: "virtio-pci", Netdev: "eth3", MAC: "52:54:00:00:00:03", LinkType: "ether", NUMANode: -1, IOMMUGroup: -1})
	nic, err := fs.NIC(addr)
	if err != nil || nic.Netdev != "eth3" || nic.MAC != "52:54:00:00:00:03" || nic.Ifindex == 0 || nic.TotalVFs != 0 {
		t.Errorf("NIC: %+v, %v", nic, err)
	}
	if vf, err := fs.VF(addr); err != nil || vf.Netdev != "eth3" {
		t.Errorf("VF: netdev %q, %v", vf.Netdev, err)
	}
	if got, ok := fs.FunctionOf("eth3"); !ok || got != addr {
		t.Errorf("FunctionOf: %v, %v", got, ok)
	}
	if got := fs.NetdevParent(addr); got != "virtio0" {
		t.Errorf("NetdevParent: %q", got)
	}
	if names, err := fs.Netdevs(addr); err != nil || len(names) != 1 || names[0] != "eth3" {
		t.Errorf("Netdevs: %v, %v", names, err)
	}
	if err := fs.BindDriver(addr, "uio_pci_generic"); err != nil {
		t.Fatal(err)
	}
	tree.AddUIO(addr, "uio4")
	if nic, err = fs.NIC(addr); err != nil || nic.Netdev != "" || nic.UIO != "uio4" {
		t.Errorf("bound to uio: %+v, %v", nic, err)
	}
	if got := fs.NetdevParent(addr); got != addr.String() {
		t.Errorf("NetdevParent without virtio-pci: %q", got)
	}
}

func TestVFIOGroup(t *testing.T) {
	tree := sysfstest.New(t)
	pf := igb()
	pf.VFs = []device.VF{igbvf(0), igbvf(1), igbvf(2)}
	for i := range pf.VFs {
		pf.VFs[i].Driver, pf.VFs[i].Netdev = "vfio-pci", ""
	}
	pf.VFs[2].IOMMUGroup = -1
	tree.AddPF(pf)
	tree.SetNoIOMMU(vf1Addr)
	for i, want := range []string{"10", "noiommu-11", ""} {
		vf, err := tree.FS().VF(pf.VFs[i].Address)
		if err != nil || vf.VFIOGroup != want || vf.NoIOMMU() != (i == 1) {
			t.Errorf("VF %d: VFIO group %q, %v; want %q", i, vf.VFIOGroup, err, want)
		}
	}
}

func TestSetNumVFs(t *testing.T) {
	const probes = "0000:3b:00.0/sriov_numvfs "
	tests := map[string]struct {
		had, want int
		fail      error
		is        error
		text      string
		writes    []string
		left      int
	}{
		"created":           {want: 4, writes: []string{probes + "4"}, left: 4},
		"removed":           {had: 4, want: 0, writes: []string{probes + "0"}},
		"already":           {had: 4, want: 4, left: 4},
		"never through 0":   {had: 4, want: 2, is: sysfs.ErrBusy, text: "it has 4", left: 4},
		"too many":          {want: 8, is: sysfs.ErrRefused, text: "supports 0 to 7"},
		"negative":          {want: -1, is: sysfs.ErrRefused, text: "supports 0 to 7"},
		"busy":              {want: 4, fail: unix.EBUSY, is: sysfs.ErrBusy, text: "assigned", writes: []string{probes + "4"}},
		"no driver":         {want: 4, fail: unix.ENOENT, is: sysfs.ErrRefused, text: "driver is not loaded", writes: []string{probes + "4"}},
		"no bus numbers":    {want: 4, fail: unix.ENOMEM, is: sysfs.ErrRefused, text: "pci=realloc", writes: []string{probes + "4"}},
		"errno is not lost": {want: 4, fail: unix.EIO, is: unix.EIO, text: "kernel log", writes: []string{probes + "4"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tree := sysfstest.New(t)
			pf := igb()
			for i := range tt.had {
				pf.VFs = append(pf.VFs, igbvf(i))
			}
			tree.AddPF(pf)
			if tt.fail != nil {
				tree.FailWrite(1, tt.fail)
			}
			checkError(t, tree.FS().SetNumVFs(pfAddr, tt.want), tt.is, tt.text)
			if diff := cmp.Diff(tt.writes, tree.Writes()); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			if vfs, err := tree.FS().VFs(pfAddr); err != nil || len(vfs) != tt.left {
				t.Errorf("%d VFs left (%v), want %d", len(vfs), err, tt.left)
			}
		})
	}
}

func checkError(t *testing.T, err, is error, text string) {
	t.Helper()
	switch {
	case is == nil && err != nil:
		t.Errorf("error %v, want none", err)
	case is != nil && !errors.Is(err, is):
		t.Errorf("error %v, want one that is %v", err, is)
	case is != nil && !strings.Contains(err.Error(), text):
		t.Errorf("error %q does not say %q", err, text)
	}
}
