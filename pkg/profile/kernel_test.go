package profile

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// kernel is a node whose netlink side goes with the PCI side of a sysfs tree:
// links are the tree's netdevs, and a VF's knobs are gone when its PF drops it.
type kernel struct {
	*sysfstest.Tree
	t testing.TB

	mu        sync.Mutex // guards all below
	up        map[int]bool
	knobs     map[int]map[int]link.VFInfo // by PF ifindex and VF index
	masters   map[string]int
	addresses map[string]string
	changes   int         // changes so far
	failAt    map[int]int // number of a change -> errno
	lies      bool        // changes report success and do nothing
	calls     []string
}

func newKernel(t testing.TB) *kernel {
	return &kernel{
		Tree: sysfstest.New(t), t: t, up: map[int]bool{}, knobs: map[int]map[int]link.VFInfo{},
		masters: map[string]int{}, addresses: map[string]string{}, failAt: map[int]int{},
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

func (k *kernel) ByName(name string) (link.Link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	dir := filepath.Join(k.Root, "sys/class/net", name)
	index, err := number(dir + "/ifindex")
	if err != nil {
		return link.Link{}, &link.Error{Op: "look-up", Object: name, Err: unix.ENODEV}
	}
	mtu, err := number(dir + "/mtu")
	return link.Link{Name: name, Index: index, MTU: mtu, MaxMTU: 9216, Up: k.up[index], Master: k.masters[name]}, err
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
		if l, err := k.ByName(e.Name()); err == nil && l.Index == index {
			return l, nil
		}
	}
	return link.Link{}, &link.Error{Op: "look-up", Object: fmt.Sprintf("link %d", index), Err: unix.ENODEV}
}

func (k *kernel) Addresses(index int) ([]link.Address, error) {
	l, err := k.ByIndex(index)
	if err != nil {
		return nil, err
	}
	var all []link.Address
	for _, text := range strings.Fields(k.addresses[l.Name]) {
		text, expires := strings.CutSuffix(text, "~")
		ip, n, err := net.ParseCIDR(text)
		if err != nil {
			return nil, err
		}
		all = append(all, link.Address{IPNet: net.IPNet{IP: ip, Mask: n.Mask}, Expires: expires})
	}
	return all, nil
}

func (k *kernel) VF(pfIndex, vf int) (link.VFInfo, error) {
	infos, err := k.VFs(pfIndex)
	if err == nil && vf >= len(infos) {
		err = &link.Error{Op: "reading", Object: "VF", Err: unix.ENOENT}
	}
	if err != nil {
		return link.VFInfo{}, err
	}
	return infos[vf], nil
}

// VFs forgets the knobs of VFs that are no more.
func (k *kernel) VFs(pfIndex int) ([]link.VFInfo, error) {
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
	var infos []link.VFInfo
	for vf := range n {
		info, ok := k.knobs[pfIndex][vf]
		if !ok {
			info = link.VFInfo{Index: vf, VLANProto: "802.1q", Trust: ptr(false), SpoofCheck: ptr(true)}
		}
		infos = append(infos, info)
	}
	maps.DeleteFunc(k.knobs[pfIndex], func(vf int, _ link.VFInfo) bool { return vf >= n })
	return infos, nil
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

func (k *kernel) SetVFVLAN(pf, vf, vlan, qos int, proto string) error {
	return k.setVF(pf, vf, fmt.Sprintf("vlan %d %d %s", vlan, qos, proto), func(v *link.VFInfo) { v.VLAN, v.QoS, v.VLANProto = vlan, qos, proto })
}

func (k *kernel) SetVFTrust(pf, vf int, on bool) error {
	return k.setVF(pf, vf, fmt.Sprintf("trust %t", on), func(v *link.VFInfo) { v.Trust = &on })
}

func (k *kernel) SetVFSpoofCheck(pf, vf int, on bool) error {
	return k.setVF(pf, vf, fmt.Sprintf("spoofchk %t", on), func(v *link.VFInfo) { v.SpoofCheck = &on })
}

func (k *kernel) setVF(pf, vf int, what string, set func(*link.VFInfo)) error {
	info, err := k.VF(pf, vf)
	if err != nil {
		return err
	}
	return k.change(fmt.Sprintf("vf %d %s", vf, what), func() {
		set(&info)
		if k.knobs[pf] == nil {
			k.knobs[pf] = map[int]link.VFInfo{}
		}
		k.knobs[pf][vf] = info
	})
}

func (k *kernel) change(what string, do func()) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changes++
	k.calls = append(k.calls, what)
	if errno, ok := k.failAt[k.changes]; ok {
		return &link.Error{Op: what, Object: "link", Err: unix.Errno(errno)}
	}
	if !k.lies {
		do()
	}
	return nil
}

func (k *kernel) function(index int) (pci.Address, error) {
	l, err := k.ByIndex(index)
	if err != nil {
		return pci.Address{}, err
	}
	target, err := os.Readlink(filepath.Join(k.Root, "sys/class/net", l.Name))
	if err != nil {
		return pci.Address{}, err
	}
	return pci.ParseAddress(filepath.Base(filepath.Dir(filepath.Dir(target))))
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
		for _, vf := range pf.VFs {
			v, err := k.VF(pf.Ifindex, vf.Index)
			if err != nil {
				k.t.Fatal(err)
			}
			fmt.Fprintf(&b, "  %d %s %s mtu %d vlan %d/%d trust %t spoof %t\n", vf.Index, vf.Driver, vf.Netdev, vf.MTU, v.VLAN, v.QoS, *v.Trust, *v.SpoofCheck)
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
