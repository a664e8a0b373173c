package attach

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"fairlead.dev/fairlead/pkg/link"
)

// Links is what attaching asks of the kernel about one network namespace;
// *link.Handle answers it.
type Links interface {
	link.Target
	Close()
	ByIndex(index int) (link.Link, error)
	List() ([]link.Link, error)
	DefaultLink() (link.Link, error)

	VF(pfIndex, vf int) (link.VFInfo, error)
	SetVFMAC(pfIndex, vf int, mac string) error
	SetVFVLAN(pfIndex, vf, vlan, qos int, proto string) error
	SetVFRate(pfIndex, vf, minMbps, maxMbps int) error
	SetVFSpoofCheck(pfIndex, vf int, on bool) error
	SetVFTrust(pfIndex, vf int, on bool) error
	SetVFLinkState(pfIndex, vf int, state string) error

	SetMTU(index, mtu int) error
	SetMAC(index int, mac string) error
	SetUp(index int) error
	SetDown(index int) error
	SetListening(index int, promisc, allMulti bool) error
	AddAltName(index int, name string) error
	DeleteAltName(index int, name string) error
	MoveTo(index int, target link.Target, newName string, newIndex int) error
	DeleteGroup(group uint32) error

	AddMacvlan(s link.Spec, mode string, queueLen uint32, target link.Target) (link.Link, error)
	AddIPvlan(s link.Spec, mode string, target link.Target) (link.Link, error)
	AddVLAN(s link.Spec, id int, target link.Target) (link.Link, error)

	AddAddress(index int, addr link.Address) error
	Addresses(index int) ([]link.Address, error)
	AddRoute(r link.Route) error
	Routes(index int) ([]link.Route, error)

	// SetSysctls writes below /proc/sys/net, as the namespace shows it. A knob that
	// the kernel does not have (it has no IPv6, no optimistic DAD) is left out.
	SetSysctls(list ...sysctl) error
	// Announce tells the neighbours on a link where addresses are now.
	Announce(index int, mac string, ips []net.IP) error
}

// kernel opens namespaces. Each call gives a handle of its own: a delete takes 20
// ms, and calls on one handle wait for each other.
type kernel interface {
	Host() (Links, error)
	At(netns string) (Links, error)
}

// linux is the real kernel.
type linux struct{}

func (linux) Host() (Links, error) { return open(link.Open()) }

func (linux) At(netns string) (Links, error) { return open(link.OpenAt(netns)) }

// open keeps a nil handle from becoming a Links that is not nil.
func open(h *link.Handle, err error) (Links, error) {
	if err != nil {
		return nil, err
	}
	return handle{h}, nil
}

// handle adds to netlink what it has no message for.
type handle struct{ *link.Handle }

type sysctl struct{ key, value string } // "ipv4/conf/net1/arp_notify", "1"

func (h handle) SetSysctls(list ...sysctl) error {
	// One visit for all: entering a namespace costs more than the writing.
	return h.Do(func() error {
		for _, s := range list {
			err := writeFile("/proc/sys/net/"+s.key, s.value)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("sysctl net.%s=%s: %w", strings.ReplaceAll(s.key, "/", "."), s.value, err)
			}
		}
		return nil
	})
}

func (h handle) Announce(index int, mac string, ips []net.IP) error {
	return h.Do(func() error { return announce(index, mac, ips) })
}

// writeFile writes to a file that is there. For a sysctl the kernel picks the
// namespace by the thread that opens it.
func writeFile(path, value string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(value)
	return errors.Join(err, file.Close())
}
