package attach

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns"
)

// Links is one network namespace, as far as attaching needs it. Each part has the calls
// about one subject; *link.Handle answers most of them.
type Links struct {
	link.Target
	closer
	linkReader
	linkSetter
	linkMaker
	addressSetter
	vfSetter
	procWriter
	shapeSetter
}

type closer interface{ Close() }

type linkReader interface {
	ByIndex(index int) (link.Link, error)
	List() ([]link.Link, error)
	DefaultLink() (link.Link, error)
	// Use reports how the namespace's own network uses a link.
	Use(index int) (link.Use, error)
	// Features lists the ethtool features of a link that are on and can be changed.
	Features(name string) ([]string, error)
}

type linkSetter interface {
	SetMTU(index, mtu int) error
	SetMAC(index int, mac string) error
	SetUp(index int) error
	SetDown(index int) error
	AddAltName(index int, name string) error
	DeleteAltNames(index int, names ...string) error
	SetAttributes(index int, a link.Attributes) error
	DetachXDP(index int) error
	SetPort(index int, hairpin, isolated bool) error
	SetFeatures(name string, on map[string]bool) error
	MoveTo(index int, target link.Target, newName string, newIndex int) error
}

type linkMaker interface {
	AddMacvlan(s link.Spec, mode string, queueLen uint32, target link.Target) (link.Link, error)
	AddIPvlan(s link.Spec, mode string, target link.Target) (link.Link, error)
	AddVLAN(s link.Spec, id int, target link.Target) (link.Link, error)
	AddIFB(s link.Spec, target link.Target) (link.Link, error)
	AddBridge(s link.Spec, target link.Target) (link.Link, error)
	AddVeth(p link.Pair, target link.Target) (near, far link.Link, err error)
	DeleteGroup(group uint32) error
}

type addressSetter interface {
	AddAddress(index int, addr link.IPAddress) error
	DeleteAddress(index int, addr net.IPNet) error
	Addresses(index int) ([]link.IPAddress, error)
	AddRoute(r link.Route) error
	ReplaceRoute(r link.Route) error
	DeleteRoute(r link.Route) error
	Routes(index int) ([]link.Route, error)
	AddRule(r link.Rule) error
	DeleteRule(r link.Rule) error
	Rules() ([]link.Rule, error)
}

type vfSetter interface {
	VFs(pfIndex int) (map[int]device.Settings, error)
	SetVF(pfIndex, vf int, s device.Settings) error
}

// shapeSetter limits rates.
type shapeSetter interface {
	SetLimit(index int, l link.Limit) error
	HasLimit(index int, l link.Limit) (bool, error)
	Redirect(index, to int) error
	ClearShaping(index int) error
}

// procWriter has the calls that need a thread inside the namespace.
type procWriter interface {
	// SetSysctls writes below /proc/sys/net. A sysctl that the kernel does not have
	// (it has no IPv6, no optimistic DAD) is left out.
	SetSysctls(list ...sysctl) error
	// Sysctls reads below /proc/sys/net.
	Sysctls(keys ...string) ([]sysctl, error)
	// Announce notifies the neighbours on a link of its addresses.
	Announce(index int, mac string, list ...announcement) error
}

// kernel opens namespaces.
type kernel interface {
	Host() (*Links, error)
	// At opens the namespace on record. If another one is at its path by now, the
	// error is one of netns.IsGone. If that is the host's own, it is ErrHostNetns.
	At(ledger.Netns) (*Links, error)
}

// linux is the real kernel.
type linux struct{}

func (linux) Host() (*Links, error) { return open(link.Open()) }

func (linux) At(ns ledger.Netns) (*Links, error) {
	h, err := link.OpenAt(ns.Path)
	if err != nil {
		return nil, err
	}
	if err := verify(h, ns); err != nil {
		h.Close()
		return nil, err
	}
	return open(h, nil)
}

func verify(h *link.Handle, ns ledger.Netns) error {
	id, err := netns.IdentifyFD(h.FD())
	if err != nil {
		return err
	}
	if !id.Same(netns.ID{Device: ns.Device, Inode: ns.Inode, Boot: ns.Boot}) {
		return netns.Replaced(ns.Path)
	}
	host, err := id.Host()
	if host {
		return hostNetnsError(ns.Path)
	}
	return err
}

func open(h *link.Handle, err error) (*Links, error) {
	if err != nil {
		return nil, err
	}
	all := handle{h, h.IP, h.Bridges, h.Shaping}
	return &Links{all, all, all, all, all, all, all, all, all}, nil
}

// handle adds calls for which netlink has no message.
type handle struct {
	*link.Handle
	link.IP
	link.Bridges
	link.Shaping
}

func (h handle) DeleteAltNames(index int, names ...string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, h.DeleteAltName(index, name))
	}
	return errors.Join(errs...)
}

type sysctl struct{ key, value string } // "ipv4/conf/net1/arp_notify", "1"

const sysctlDir = "/proc/sys/net/"

func (h handle) SetSysctls(list ...sysctl) error {
	// One visit for all: entering a namespace costs more than the writing.
	return h.Do(func() error {
		for _, s := range list {
			if err := s.write(); err != nil {
				return err
			}
		}
		return nil
	})
}

// write sets the sysctl in the namespace of the calling thread. One that the kernel does not
// have is left out.
func (s sysctl) write() error {
	err := writeFile(sysctlDir+s.key, s.value)
	if errors.Is(err, fs.ErrNotExist) {
		if older, ok := s.older(); ok {
			err = writeFile(sysctlDir+older.key, older.value)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set sysctl net.%s=%s: %w", strings.ReplaceAll(s.key, "/", "."), s.value, err)
	}
	return nil
}

func (h handle) Sysctls(keys ...string) ([]sysctl, error) {
	var list []sysctl
	err := h.Do(func() error {
		for _, key := range keys {
			raw, err := os.ReadFile(sysctlDir + key)
			if err != nil {
				return fmt.Errorf("read sysctl net.%s: %w", strings.ReplaceAll(key, "/", "."), err)
			}
			list = append(list, sysctl{key, strings.TrimSuffix(string(raw), "\n")})
		}
		return nil
	})
	return list, err
}

func (h handle) Announce(index int, mac string, list ...announcement) error {
	return h.Do(func() error { return announce(index, mac, list) })
}

// writeFile writes to a file that exists. For a sysctl the kernel picks the
// namespace by the thread that opens it.
func writeFile(path, value string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(value)
	return errors.Join(err, file.Close())
}
