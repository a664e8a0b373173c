package profile

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// oracle is a Custody of fixed answers.
type oracle map[pci.Address][]custody.Use

func (o oracle) ToChange(fn pci.Address) []custody.Use {
	uses := slices.Clone(o[fn])
	for i := range uses {
		uses[i].Function = fn
	}
	return uses
}
func (o oracle) Known() Uses { return o }
func (o oracle) Change(context.Context, ...pci.Address) (end func(), err error) {
	return func() {}, nil
}
func (o oracle) Recheck(context.Context, ...pci.Address) (Uses, error) { return o, nil }

// pod is a use by a pod's sandbox.
func pod(who string) []custody.Use { return []custody.Use{{Kind: custody.Sandbox, Who: who}} }

// host is a use by the node's own network.
func host(how string) []custody.Use {
	return []custody.Use{{Kind: custody.Host, Netdev: "ens1f0v1", Who: "the host", How: how}}
}

// kernel is a node whose netlink side goes with the PCI side of a sysfs tree:
// links are the tree's netdevs, and a VF's knobs are gone when its PF drops it.
type kernel struct {
	*sysfstest.Tree
	t testing.TB

	functions sync.Map // ifindex → pci.Address

	mu       sync.Mutex // guards all below
	up       map[int]bool
	knobs    map[int]map[int]device.Settings // at the PF, by its ifindex and VF index
	fail     map[string]unix.Errno           // errno of a change, by its text in calls
	lies     bool                            // changes report success and do nothing
	calls    []string
	dumps    map[int]int // readings of all VFs, by PF ifindex
	messages int         // messages about VFs
}

func newKernel(t testing.TB) *kernel {
	return &kernel{
		Tree: sysfstest.New(t), t: t, up: map[int]bool{}, knobs: map[int]map[int]device.Settings{},
		fail: map[string]unix.Errno{}, dumps: map[int]int{},
	}
}

// read is the PFs as an inventory would show them.
func (k *kernel) read(context.Context) ([]device.PF, map[pci.Address]error, error) {
	pfs, err := k.FS().PFs()
	if err != nil {
		return nil, nil, err
	}
	for i := range pfs {
		if pfs[i].VFs, err = k.FS().VFs(pfs[i].Address); err != nil {
			return nil, nil, err
		}
	}
	return pfs, nil, nil
}

// gather is what Plan gets while nobody uses anything.
func (k *kernel) gather(profiles []config.Profile) []NIC {
	pfs, _, err := k.read(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	nics := make([]NIC, len(pfs))
	for i := range pfs {
		nics[i].PF = pfs[i]
	}
	return Gather(profiles, nics, nobody, k)
}

func (k *kernel) ByName(name string) (link.Link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	dir := filepath.Join(k.Root, "sys/class/net", name)
	index, err := number(dir + "/ifindex")
	if err != nil {
		return link.Link{}, &link.Error{Op: "look-up", Object: name, Err: unix.ENODEV}
	}
	mtu, err := number(dir + "/mtu")
	return link.Link{Name: name, Index: index, MTU: mtu, MaxMTU: 9216, Up: k.up[index]}, err
}

func (k *kernel) index(name string) int {
	l, err := k.ByName(name)
	if err != nil {
		k.t.Fatal(err)
	}
	return l.Index
}

func (k *kernel) ByIndex(index int) (link.Link, error) {
	entries, err := os.ReadDir(filepath.Join(k.Root, "sys/class/net"))
	if err != nil {
		return link.Link{}, err
	}
	for _, e := range entries {
		if n, err := number(filepath.Join(k.Root, "sys/class/net", e.Name(), "ifindex")); err == nil && n == index {
			return k.ByName(e.Name())
		}
	}
	return link.Link{}, &link.Error{Op: "look-up", Object: fmt.Sprintf("link %d", index), Err: unix.ENODEV}
}

// defaults are the settings of a new VF.
func defaults() device.Settings {
	return device.Settings{
		AdminMAC: ptr(device.NoMAC), VLAN: ptr(0), QoS: ptr(0), VLANProto: ptr("802.1q"), MinTxRate: ptr(0), MaxTxRate: ptr(0),
		Trust: ptr(false), SpoofCheck: ptr(true), LinkState: ptr("auto"),
	}
}

func (k *kernel) VFs(pfIndex int) (map[int]device.Settings, error) {
	k.mu.Lock()
	k.dumps[pfIndex]++
	k.mu.Unlock()
	return k.settings(pfIndex)
}

// settings forgets the knobs of VFs that are no more.
func (k *kernel) settings(pfIndex int) (map[int]device.Settings, error) {
	pf, err := k.function(pfIndex)
	if err != nil {
		return nil, err
	}
	n, err := number(filepath.Join(k.Root, "sys/bus/pci/devices", pf.String(), "sriov_numvfs"))
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	all := map[int]device.Settings{}
	for vf := range n {
		s, ok := k.knobs[pfIndex][vf]
		if !ok {
			s = defaults()
		}
		all[vf] = s
	}
	maps.DeleteFunc(k.knobs[pfIndex], func(vf int, _ device.Settings) bool { return vf >= n })
	return all, nil
}

func (k *kernel) SetUp(index int) error {
	return k.change(fmt.Sprintf("up %d", index), func() { k.up[index] = true })
}

func (k *kernel) SetMTU(index, mtu int) error {
	addr, err := k.function(index)
	if err != nil {
		return err
	}
	l, err := k.ByIndex(index)
	if err != nil {
		return err
	}
	return k.change(fmt.Sprintf("mtu %s %d", l.Name, mtu), func() { k.SetAttr(addr, "net/"+l.Name+"/mtu", strconv.Itoa(mtu)) })
}

// SetVF goes through the knobs as the kernel does: it stops at the first that fails.
func (k *kernel) SetVF(pf, vf int, want device.Settings) error {
	all, err := k.settings(pf)
	if err != nil {
		return err
	}
	have, ok := all[vf]
	if !ok {
		return &link.Error{Op: "set", Object: "VF", Err: unix.EINVAL}
	}
	k.mu.Lock()
	k.messages++
	k.mu.Unlock()
	for _, knob := range device.KnobsAt(device.AtPF) {
		if !knob.Has(want) {
			continue
		}
		err := k.change(fmt.Sprintf("%d vf %d %s %s", pf, vf, knob.Name, knob.Text(want)), func() {
			knob.Copy(&have, want)
			have.QoS, have.VLANProto = cmp.Or(have.QoS, ptr(0)), cmp.Or(have.VLANProto, ptr("802.1q"))
			if k.knobs[pf] == nil {
				k.knobs[pf] = map[int]device.Settings{}
			}
			k.knobs[pf][vf] = have
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *kernel) change(what string, do func()) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls = append(k.calls, what)
	if errno, ok := k.fail[what]; ok {
		return &link.Error{Op: "set " + what, Object: "link", Err: errno}
	}
	if !k.lies {
		do()
	}
	return nil
}

// function finds the PCI function of a netdev, once: indexes are never used again.
func (k *kernel) function(index int) (pci.Address, error) {
	if addr, ok := k.functions.Load(index); ok {
		return addr.(pci.Address), nil
	}
	l, err := k.ByIndex(index)
	if err != nil {
		return pci.Address{}, err
	}
	target, err := os.Readlink(filepath.Join(k.Root, "sys/class/net", l.Name))
	if err != nil {
		return pci.Address{}, err
	}
	addr, err := pci.ParseAddress(filepath.Base(filepath.Dir(filepath.Dir(target))))
	if err == nil {
		k.functions.Store(index, addr)
	}
	return addr, err
}

// state is what profiles can change, as text.
func (k *kernel) state() string {
	var b strings.Builder
	pfs, _, err := k.read(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	for _, pf := range pfs {
		l, err := k.ByIndex(pf.Ifindex)
		if err != nil {
			k.t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s mtu %d up %t\n", pf.Netdev, pf.MTU, l.Up)
		settings, err := k.settings(pf.Ifindex)
		if err != nil {
			k.t.Fatal(err)
		}
		for _, vf := range pf.VFs {
			v := settings[vf.Index]
			fmt.Fprintf(&b, "  %d %s %s mtu %d vlan %d/%d trust %t spoof %t\n", vf.Index, vf.Driver, vf.Netdev, vf.MTU, *v.VLAN, *v.QoS, *v.Trust, *v.SpoofCheck)
		}
	}
	return b.String()
}

func number(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}
