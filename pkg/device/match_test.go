package device

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/pci"
)

var (
	testPF = PF{
		Address: pci.MustParseAddress("0000:3b:00.0"), Vendor: "8086", Device: "10c9", Driver: "igb",
		Netdev: "ens1f0", AltNames: []string{"enp59s0f0", "uplink-a"}, LinkType: "ether", NUMANode: 1,
	}
	testVF = VF{
		Address: pci.MustParseAddress("0000:3b:10.4"), PF: testPF.Address, Index: 2, Vendor: "8086", Device: "10ca",
		Driver: "igbvf", Netdev: "ens1f0v2", LinkType: "ether", ACPIIndex: "101",
	}
)

func pfRanges(t *testing.T, texts ...string) []PFRange {
	t.Helper()
	var ranges []PFRange
	for _, text := range texts {
		r, err := ParsePFRange(text)
		if err != nil {
			t.Fatal(err)
		}
		ranges = append(ranges, r)
	}
	return ranges
}

func rootRanges(t *testing.T, texts ...string) []RootRange {
	t.Helper()
	var ranges []RootRange
	for _, text := range texts {
		r, err := ParseRootRange(text)
		if err != nil {
			t.Fatal(err)
		}
		ranges = append(ranges, r)
	}
	return ranges
}

func addresses(t *testing.T, texts ...string) Addresses {
	t.Helper()
	out, err := ParseAddresses(texts)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// devices B8: a bad address is rejected when it is parsed, not at each comparison.
func TestBadAddressesAreRefusedWhenTheyAreRead(t *testing.T) {
	if _, err := ParseAddresses([]string{"3b:10.4", "nonsense"}); err == nil {
		t.Error("ParseAddresses accepts nonsense")
	}
	for _, text := range []string{"nonsense", "ens1f0#1", "#1", "3b:00.0#x"} {
		if _, err := ParseRootRange(text); err == nil {
			t.Errorf("ParseRootRange accepts %s", text)
		}
	}
}

func TestSelectorMatch(t *testing.T) {
	inPod, vfio, rdma, alone := testVF, testVF, testVF, testVF
	inPod.Netdev, inPod.LinkType = "", ""
	vfio.Driver, vfio.Netdev, vfio.LinkType = "vfio-pci", "", ""
	rdma.RDMADevices = []string{"mlx5_4"}
	alone.PF, alone.Index = pci.Address{}, 0
	tests := map[string]struct {
		selector Selector
		pf       *PF // default testPF
		vf       *VF // default testVF
		want     bool
	}{
		"nothing set selects nothing":      {Selector{}, nil, nil, false},
		"vendor":                           {Selector{Vendors: []string{"15b3", "8086"}}, nil, nil, true},
		"other vendor":                     {Selector{Vendors: []string{"15b3"}}, nil, nil, false},
		"device, any case":                 {Selector{Devices: []string{"10CA"}}, nil, nil, true},
		"device of the PF":                 {Selector{Devices: []string{"10c9"}}, nil, nil, false},
		"fields are and-ed":                {Selector{Vendors: []string{"8086"}, Drivers: []string{"iavf"}}, nil, nil, false},
		"driver":                           {Selector{Drivers: []string{"igbvf"}}, nil, nil, true},
		"driver, bound to vfio":            {Selector{Drivers: []string{"igbvf"}}, nil, &vfio, false},
		"address":                          {Selector{PCIAddresses: addresses(t, "0000:3b:10.4")}, nil, nil, true},
		"address without domain":           {Selector{PCIAddresses: addresses(t, "3b:10.4")}, nil, nil, true},
		"address of another VF":            {Selector{PCIAddresses: addresses(t, "0000:3b:10.6")}, nil, nil, false},
		"acpi index":                       {Selector{ACPIIndexes: []string{"101"}}, nil, nil, true},
		"other acpi index":                 {Selector{ACPIIndexes: []string{"102"}}, nil, nil, false},
		"PF name":                          {Selector{PFNames: pfRanges(t, "ens1f0")}, nil, nil, true},
		"PF altname (op#967)":              {Selector{PFNames: pfRanges(t, "uplink-a#2")}, nil, nil, true},
		"PF name is no glob":               {Selector{PFNames: pfRanges(t, "ens*")}, nil, nil, false},
		"index in range":                   {Selector{PFNames: pfRanges(t, "ens1f0#0-2")}, nil, nil, true},
		"index out of range":               {Selector{PFNames: pfRanges(t, "ens1f0#0-1,3")}, nil, nil, false},
		"all entries for one PF count":     {Selector{PFNames: pfRanges(t, "ens1f0#0", "ens1f0#2")}, nil, nil, true},
		"root device":                      {Selector{RootDevices: rootRanges(t, "0000:3b:00.0#2-3")}, nil, nil, true},
		"root device out of range":         {Selector{RootDevices: rootRanges(t, "0000:3b:00.0#3")}, nil, nil, false},
		"root device, other PF":            {Selector{RootDevices: rootRanges(t, "0000:3b:00.1")}, nil, nil, false},
		"link type":                        {Selector{LinkTypes: []string{"ether"}}, nil, nil, true},
		"other link type":                  {Selector{LinkTypes: []string{"infiniband"}}, nil, nil, false},
		"link type with netdev in a pod":   {Selector{LinkTypes: []string{"ether"}}, nil, &inPod, true},
		"link type bound to vfio":          {Selector{LinkTypes: []string{"ether"}}, nil, &vfio, true},
		"rdma":                             {Selector{RDMA: true}, nil, &rdma, true},
		"rdma, has none":                   {Selector{RDMA: true}, nil, nil, false},
		"nic and range":                    {Selector{NIC: &NICSelector{PFNames: []string{"ens*"}}, VFs: []IndexRange{{2, 6}}}, nil, nil, true},
		"nic, range elsewhere":             {Selector{NIC: &NICSelector{}, VFs: []IndexRange{{0, 1}}}, nil, nil, false},
		"other nic":                        {Selector{NIC: &NICSelector{Drivers: []string{"ice"}}}, nil, nil, false},
		"every nic":                        {Selector{NIC: &NICSelector{}}, nil, nil, true},
		"no PF visible, by address":        {Selector{PCIAddresses: addresses(t, "0000:3b:10.4")}, &PF{}, &alone, true},
		"no PF visible, by ids and driver": {Selector{Vendors: []string{"8086"}, Devices: []string{"10ca"}, Drivers: []string{"igbvf"}}, &PF{}, &alone, true},
		"no PF visible, by PF name":        {Selector{Vendors: []string{"8086"}, PFNames: pfRanges(t, "ens1f0")}, &PF{}, &alone, false},
		"no PF visible, by root device":    {Selector{RootDevices: rootRanges(t, "3b:00.0")}, &PF{}, &alone, false},
		"no PF visible, by every nic":      {Selector{NIC: &NICSelector{}}, &PF{}, &alone, false},
		"no PF visible, nameless PF name":  {Selector{PFNames: []PFRange{{}}, PCIAddresses: addresses(t, "3b:10.4")}, &PF{}, &alone, false},
		"no PF visible, zero root device":  {Selector{RootDevices: rootRanges(t, "0000:00:00.0"), PCIAddresses: addresses(t, "3b:10.4")}, &PF{}, &alone, false},
		"what cannot be told is not met":   {Selector{Vendors: []string{"8086"}, DDPProfiles: []string{"gtp"}}, nil, nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pf, vf := testPF, testVF
			if tt.pf != nil {
				pf = *tt.pf
			}
			if tt.vf != nil {
				vf = *tt.vf
			}
			if got := tt.selector.Match(pf, vf); got != tt.want {
				t.Errorf("Match = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestNICSelectorMatch(t *testing.T) {
	tests := map[string]struct {
		selector NICSelector
		want     bool
	}{
		"nothing set selects every PF": {NICSelector{}, true},
		"all fields": {NICSelector{
			Vendors: []string{"8086"}, Devices: []string{"10C9"}, Drivers: []string{"igb"}, PFNames: []string{"ens1f0"},
			PCIAddresses: []string{"0000:3b:00.0"}, LinkTypes: []string{"ether"}, NUMANodes: []int{0, 1},
		}, true},
		"one field differs":  {NICSelector{Vendors: []string{"8086"}, NUMANodes: []int{0}}, false},
		"name glob":          {NICSelector{PFNames: []string{"ens?f[01]"}}, true},
		"altname glob":       {NICSelector{PFNames: []string{"eth*", "uplink-*"}}, true},
		"other name":         {NICSelector{PFNames: []string{"ens1f0np0"}}, false},
		"address glob":       {NICSelector{PCIAddresses: []string{"0000:3b:*"}}, true},
		"address":            {NICSelector{PCIAddresses: []string{"0000:3b:00.0"}}, true},
		"other address glob": {NICSelector{PCIAddresses: []string{"0000:5e:*"}}, false},
		"malformed glob":     {NICSelector{PFNames: []string{"ens["}}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.selector.Match(testPF); got != tt.want {
				t.Errorf("Match = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestPFWithoutNetdevHasNoName(t *testing.T) {
	pf := testPF
	pf.Netdev, pf.AltNames = "", nil
	if (NICSelector{PFNames: []string{"*"}}).Match(pf) {
		t.Error("a PF without netdev matches the name *")
	}
}

func TestFirstPoolClaims(t *testing.T) {
	byVendor := Selector{Vendors: []string{"8086"}}
	byDriver := Selector{Drivers: []string{"igbvf"}}
	other := Selector{Vendors: []string{"15b3"}}
	pool := func(typ Type, selectors ...Selector) Pool { return Pool{Type: typ, Selectors: selectors} }
	tests := map[string]struct {
		pools []Pool
		want  int
	}{
		"first of two":             {[]Pool{pool(NetDevice, byVendor), pool(NetDevice, byDriver)}, 0},
		"second":                   {[]Pool{pool(NetDevice, other), pool(NetDevice, byDriver)}, 1},
		"any selector of a pool":   {[]Pool{pool(NetDevice, other, byVendor)}, 0},
		"type left out":            {[]Pool{pool("", byVendor)}, 0},
		"other types hold no VFs":  {[]Pool{pool(Accelerator, byVendor), pool(AuxNet, byVendor)}, -1},
		"pool without selectors":   {[]Pool{pool(NetDevice)}, -1},
		"no pool":                  {nil, -1},
		"pool with empty selector": {[]Pool{pool(NetDevice, Selector{})}, -1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Claim(tt.pools, testPF, testVF); got != tt.want {
				t.Errorf("Claim = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestUnsupportedNamesTheFields(t *testing.T) {
	s := Selector{DDPProfiles: []string{"gtp"}, PKeys: []string{"0x1"}, VDPAType: "virtio", AuxTypes: []string{"sf"}}
	if diff := cmp.Diff("ddpProfiles pKeys vdpaType auxTypes", strings.Join(s.Unsupported(), " ")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := (&Selector{Vendors: []string{"8086"}, RDMA: true}).Unsupported(); got != nil {
		t.Errorf("Unsupported() = %v, want none", got)
	}
}
