package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// fakeKernel answers as a node does that has an igb with VFs: with that driver's
// answers as measured in the lab (docs: the igb table), not with kind ones.
type fakeKernel struct {
	t      testing.TB
	tree   *sysfstest.Tree   // nil, or kept as the kernel would keep sysfs
	spaces map[string]*space // "" is the host
	pfs    map[pci.Address]*device.PF
	vfs    map[pci.Address]*fakeVF
	virtio map[pci.Address]string // functions whose netdev belongs to a device of the virtio bus
	driver fakeDriver

	calls    []string // that changed, or tried to change, something
	count    int      // all calls, reads too
	messages int      // those that are of netlink
	dumps    int      // of all VFs of a PF
	pfReads  int      // of a whole PF, in sysfs
	opened   int      // handles
	closed   int
	failCall int // the call that fails, counted from 1; 0: none
	failErr  error
	index    int
	failAdd  unix.Errno // of making links
	failKind string     // of which the kernel knows nothing
	// deadAgent has every call fail and change nothing: the agent makes none.
	deadAgent bool

	onRead  func(op string) // before a call is answered
	looks   int
	busy    map[string]int // how often calls that begin so are answered by busyErr
	busyErr unix.Errno

	noOptimisticDAD bool
	slowCarrier     bool     // links are without one when they come up
	hidesParents    bool     // as kernels before 5.14; sysfs shows them all the same
	pending         []func() // later work of the kernel, one for each pause
}

// fakeDriver has the abilities of a PF's driver that not all have, and its faults.
type fakeDriver struct {
	linkState, minRate, tags8021ad bool
	noVFInfo                       bool // reports nothing about VFs
	mute                           bool // takes trust and spoof check, and reports neither
	deafNetdev                     bool // a netdev's MAC does not reach the PF
	ignoresTrust                   bool // says success and changes nothing
	halfMoves                      bool // a move ends before the renaming
	muteMAC                        bool // does not report the MAC at the PF
	holdsXDP                       bool // a bpf_link keeps the pod's program
	vlanCosts                      bool // a VLAN at the PF costs the VF an offload feature
	keepsFeatures                  bool // takes changes of features, and makes none
	resets                         bool // a MAC at the PF has the VF reset, which gives it a random one
	followsPF                      bool // a netdev takes no MAC but the PF's, and then by itself
}

var igb = fakeDriver{}

type space struct {
	name    string
	fd      int
	links   map[string]*fakeLink
	sysctls map[string]string
	told    []string // announcements
	rules   []link.Rule
	gone    bool
	inode   uint64
}

type fakeLink struct {
	link.Link
	addrs    []link.IPAddress
	routes   []link.Route
	vf       *fakeVF // it is a VF's netdev
	features []string
	vfs      []*fakeVF // it is a PF's
	peer     *fakeLink // it is an end of a veth
	shape    []string  // limits of its rate
}

// fakeVFInfo has the settings of a VF at its PF.
type fakeVFInfo struct {
	Index         int
	MAC           string
	VLAN, QoS     int
	VLANProto     string
	MinTxRateMbps int
	MaxTxRateMbps int
	SpoofCheck    *bool
	Trust         *bool
	LinkState     string
}

type fakeVF struct {
	addr    pci.Address
	driver  string
	pf      pci.Address
	info    fakeVFInfo
	setByPF bool // the flag that makes igb refuse the VF's own MAC
	netdev  *fakeLink
}

var (
	pfAddr  = pci.MustParseAddress("0000:01:00.0")
	vf0Addr = pci.MustParseAddress("0000:01:10.0")
	vf1Addr = pci.MustParseAddress("0000:01:10.2")
)

const (
	vf0MAC = "12:e4:44:69:48:2a"
	vf1MAC = "12:e4:44:69:48:2b"
	podNS  = "/run/netns/pod"
)

// newNode has one igb, eth1, with VF 0 (kernel, eth3) and VF 1 (vfio-pci).
func newNode(t testing.TB, d fakeDriver) *fakeKernel {
	k := &fakeKernel{t: t, spaces: map[string]*space{}, pfs: map[pci.Address]*device.PF{}, vfs: map[pci.Address]*fakeVF{}, driver: d, index: 10}
	k.addSpace("")
	k.addSpace(podNS)
	pf := k.addLink("", link.Link{Name: "eth1", Type: "ether", MAC: "52:54:00:00:00:01", MTU: 9000, Up: true, Carrier: true, OperState: "up", ParentDev: pfAddr.String()})
	k.pfs[pfAddr] = &device.PF{Address: pfAddr, Vendor: "8086", Device: "10c9", Driver: "igb", Netdev: "eth1", NumVFs: 2}
	k.addVF(pf, vf0Addr, vf0MAC, "igbvf", "eth3")
	k.addVF(pf, vf1Addr, vf1MAC, "vfio-pci", "")
	return k
}

// withSysfs puts the same node into a tree of files, which follows what happens.
func (k *fakeKernel) withSysfs() *fakeKernel {
	k.tree = sysfstest.New(k.t)
	k.tree.AddPF(device.PF{Address: pfAddr, Vendor: "8086", Device: "10c9", Driver: "igb", Netdev: "eth1", MTU: 9000, NUMANode: -1, IOMMUGroup: 6, TotalVFs: 7, NumVFs: 2,
		VFs: []device.VF{
			{Address: vf0Addr, Index: 0, Vendor: "8086", Device: "10ca", Driver: "igbvf", Netdev: "eth3", MAC: vf0MAC, NUMANode: -1, IOMMUGroup: 7},
			{Address: vf1Addr, Index: 1, Vendor: "8086", Device: "10ca", Driver: "vfio-pci", NUMANode: -1, IOMMUGroup: 8},
		}})
	return k
}

// VF, PF and Netdevs are sysfs, as it shows the kernel's state.
func (k *fakeKernel) VF(addr pci.Address) (device.VF, error) {
	vf, ok := k.vfs[addr]
	if !ok {
		if _, isPF := k.pfs[addr]; isPF {
			return device.VF{Address: addr, Driver: "igb", Netdev: "eth1"}, nil // any function looks like a VF without a PF
		}
		return device.VF{}, fmt.Errorf("read VF %s: %w", addr, fs.ErrNotExist)
	}
	names, _ := k.Netdevs(addr)
	return device.VF{Address: addr, PF: vf.pf, Index: vf.info.Index, Driver: vf.driver, Netdev: strings.Join(names, "")}, nil
}

func (k *fakeKernel) PF(addr pci.Address) (device.PF, error) {
	k.pfReads++
	pf, ok := k.pfs[addr]
	if !ok {
		return device.PF{}, fmt.Errorf("read PF %s: %w", addr, fs.ErrNotExist)
	}
	return *pf, nil
}

func (k *fakeKernel) Driver(addr pci.Address) (string, error) {
	if vf, ok := k.vfs[addr]; ok {
		return vf.driver, nil
	}
	if pf, ok := k.pfs[addr]; ok {
		return pf.Driver, nil
	}
	return "", fmt.Errorf("read the driver of %s: %w", addr, fs.ErrNotExist)
}

func (k *fakeKernel) NetdevParent(addr pci.Address) string {
	if parent := k.virtio[addr]; parent != "" {
		return parent
	}
	return addr.String()
}

func (k *fakeKernel) FunctionOf(netdev string) (pci.Address, bool) {
	for addr, parent := range k.virtio {
		if k.spaces[""].links[netdev].ParentDev == parent {
			return addr, true
		}
	}
	return pci.Address{}, false
}

func (k *fakeKernel) Netdevs(addr pci.Address) ([]string, error) {
	if pf, ok := k.pfs[addr]; ok {
		return slices.DeleteFunc([]string{pf.Netdev}, func(name string) bool { return name == "" }), nil
	}
	for name, l := range k.spaces[""].links {
		if l.ParentDev == k.NetdevParent(addr) {
			return []string{name}, nil
		}
	}
	return nil, nil
}

// set is the attachers on this node.
func (k *fakeKernel) set(hostLocalDir string) *Set {
	s := New(Deps{Sysfs: k, HostLocalDir: hostLocalDir})
	if k.tree != nil {
		s.Sysfs = k.tree.FS()
	}
	s.HostUse = func(name string) (string, error) { // from memory
		return fakeLinks{k, k.spaces[""]}.useOf(k.spaces[""].links[name]).String(), nil
	}
	s.kernel = k
	s.later = func(work func()) { work() }
	s.pause = func(ctx context.Context, _ time.Duration) error {
		k.tick()
		return context.Cause(ctx)
	}
	return s
}

func (k *fakeKernel) tick() {
	if len(k.pending) > 0 {
		k.pending[0]()
		k.pending = k.pending[1:]
	}
}

func (k *fakeKernel) addSpace(name string) {
	k.spaces[name] = &space{name: name, fd: 100 + len(k.spaces), links: map[string]*fakeLink{}, sysctls: map[string]string{}}
	k.spaces[name].links["lo"] = &fakeLink{Link: link.Link{Index: 1, Name: "lo", Type: "loopback", MTU: 65536}}
}

func (k *fakeKernel) addLink(space string, l link.Link) *fakeLink {
	k.index++
	l.Index = k.index
	f := &fakeLink{Link: l}
	k.spaces[space].links[l.Name] = f
	return f
}

func (k *fakeKernel) addVF(pf *fakeLink, addr pci.Address, mac, driver, netdev string) {
	on, off := true, false
	vf := &fakeVF{addr: addr, driver: driver, pf: pci.MustParseAddress(pf.ParentDev), info: fakeVFInfo{Index: len(pf.vfs), MAC: mac, VLANProto: "802.1q", SpoofCheck: &on, Trust: &off, LinkState: "auto"}}
	if netdev != "" {
		vf.netdev = k.addLink("", link.Link{Name: netdev, Type: "ether", MAC: mac, MTU: 1500, MaxMTU: 9216, ParentDev: addr.String(), Multicast: true, TxQLen: 1000, GSOMaxSize: 65536})
		vf.netdev.features = []string{"rx-checksum", "tx-tcp-segmentation"}
		vf.netdev.vf = vf
	}
	pf.vfs = append(pf.vfs, vf)
	k.vfs[addr] = vf
}

// rebind gives a VF to another driver, "" for none: its netdev ceases to be.
func (k *fakeKernel) rebind(addr pci.Address, driver string) {
	vf := k.vfs[addr]
	for _, s := range k.spaces {
		delete(s.links, vf.netdev.Name)
	}
	vf.driver, vf.netdev = driver, nil
}

// endNetns ends a namespace as the kernel does: virtual links die, a VF's netdev
// goes to the host some pauses later, under its name or, if that is taken, devN.
func (k *fakeKernel) endNetns(path string, pauses int) {
	s := k.spaces[path]
	s.gone = true
	home := func() {
		for _, l := range s.links {
			if l.vf == nil {
				k.dropPeer(l)
				continue
			}
			l.Up, l.addrs, l.routes = false, nil, nil
			if k.spaces[""].named(l.Name) != nil {
				l.Name = "dev0"
			}
			l.AltNames = slices.DeleteFunc(slices.Clone(l.AltNames), func(alt string) bool { return k.spaces[""].named(alt) != nil })
			k.place("", l)
		}
		s.links = nil
	}
	if pauses == 0 {
		home()
		return
	}
	for range pauses - 1 {
		k.pending = append(k.pending, func() {})
	}
	k.pending = append(k.pending, home)
}

// place puts a link into a namespace under the name it has, and lets sysfs follow.
func (k *fakeKernel) place(space string, l *fakeLink) {
	k.spaces[space].links[l.Name] = l
	if l.vf == nil || k.tree == nil {
		return
	}
	if space == "" {
		k.tree.ShowNetdev(l.vf.addr, l.Name)
	} else {
		k.tree.HideNetdev(l.vf.addr)
	}
}

// residue lists the traces that a pod may leave: attributes that a new netdev does not have.
func (l *fakeLink) residue() []string {
	var words []string
	if l.Alias != "" {
		words = append(words, fmt.Sprintf("alias %q", l.Alias))
	}
	if l.XDP {
		words = append(words, "xdp")
	}
	if l.NoARP {
		words = append(words, "noarp")
	}
	if l.vf != nil && !l.Multicast {
		words = append(words, "nomulticast")
	}
	if l.vf != nil && (l.Group != 0 || l.TxQLen != 1000 || l.GSOMaxSize != 65536) {
		words = append(words, fmt.Sprintf("group %d txqlen %d gso %d", l.Group, l.TxQLen, l.GSOMaxSize))
	}
	if l.vf != nil && !slices.Equal(l.features, []string{"rx-checksum", "tx-tcp-segmentation"}) {
		words = append(words, "features "+strings.Join(l.features, ","))
	}
	return words
}

func (k *fakeKernel) Host() (*Links, error) {
	k.opened++
	return fakeLinks{k, k.spaces[""]}.handle(), nil
}

func (k *fakeKernel) At(ns ledger.Netns) (*Links, error) {
	path := ns.Path
	s := k.spaces[path]
	if path == "/proc/1/ns/net" {
		return nil, hostNetnsError(path)
	}
	if s != nil && ns.Inode != 0 && ns.Inode != s.inode {
		return nil, netns.Replaced(path)
	}
	if path == "" || s == nil || s.gone {
		_, err := netns.Open("/does-not-exist") // the one way to have its error
		return nil, err
	}
	k.opened++
	return fakeLinks{k, s}.handle(), nil
}

// fakeLinks is the kernel as one namespace shows it.
type fakeLinks struct {
	*fakeKernel
	*space
}

func fail(op string, errno unix.Errno) error { return &link.Error{Op: op, Object: "fake", Err: errno} }

var everything = net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}

var errInjected = errors.New("injected")

func (f fakeLinks) handle() *Links { return &Links{f, f, f, f, f, f, f, f, f} }

// behind is the namespace that a target stands for.
func behind(target link.Target) fakeLinks { return target.(*Links).Target.(fakeLinks) }
