package sysfs

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// netdev is a function's netdev. If it is renamed or moved between two reads, the methods
// return its new state, and the event about it causes the next reading.
type netdev struct {
	dir
	name string
}

// Representors of VFs, subfunctions and a DPU's host PFs are below the PF in switchdev mode. The
// kernel's phys_port_name distinguishes them from the uplink, which has "p0" or no name.
var (
	representorRE = regexp.MustCompile(`^(c\d+)?pf\d+((vfr?|sf)\d+)?$`)
	uplinkRE      = regexp.MustCompile(`^p\d+$`)
)

// netdevPaths lists the paths of a function's netdevs below its directory, in the order of their
// names. The netdevs of virtio are one level deeper, below the device on the virtio bus.
func (d dir) netdevPaths() ([]string, error) {
	parent := "net"
	if virtio := d.virtioDevice(); virtio != "" {
		parent = virtio + "/net"
	}
	names, err := d.list(parent)
	for i, name := range names {
		names[i] = parent + "/" + name
	}
	return names, err
}

// virtioDevice returns the name of the device that virtio-pci has put on the virtio bus,
// "virtio0"; empty for functions of other drivers.
func (d dir) virtioDevice() string {
	if d.linkBase("driver") != "virtio-pci" {
		return ""
	}
	entries, err := d.list(".")
	if err != nil {
		return ""
	}
	for _, name := range entries {
		if _, err := strconv.Atoi(strings.TrimPrefix(name, "virtio")); err == nil && strings.HasPrefix(name, "virtio") {
			return name
		}
	}
	return ""
}

// ownNetdevs lists the paths of the netdevs that are the function's own, the uplink first. Even
// a single netdev may be a representor, if the uplink is in a pod. VFs have no representors.
func (d dir) ownNetdevs() ([]string, error) {
	paths, err := d.netdevPaths()
	if err != nil || len(paths) == 0 || len(paths) == 1 && d.linkBase("physfn") != "" {
		return paths, err
	}
	own := paths[:0]
	uplinks := map[string]bool{}
	ports := map[string]int{}
	for _, path := range paths {
		port, _ := d.attr(path + "/phys_port_name") // EOPNOTSUPP from most drivers
		if representorRE.MatchString(port) {
			continue
		}
		uplinks[path] = uplinkRE.MatchString(port)
		ports[path], _ = d.int(path + "/dev_port") // of NICs with two ports in one function
		own = append(own, path)
	}
	slices.SortStableFunc(own, func(a, b string) int {
		if uplinks[a] != uplinks[b] {
			if uplinks[a] {
				return -1
			}
			return 1
		}
		return cmp.Compare(ports[a], ports[b])
	})
	return own, nil
}

// uplink opens the function's own netdev, and names its others. ok is false if there is no such
// netdev in this namespace.
func (d dir) uplink() (n netdev, others []string, ok bool, err error) {
	own, err := d.ownNetdevs()
	if err != nil || len(own) == 0 {
		return netdev{}, nil, false, err
	}
	for _, other := range own[1:] {
		others = append(others, path.Base(other))
	}
	sub, err := d.sub(own[0])
	if errors.Is(err, fs.ErrNotExist) {
		return netdev{}, others, false, nil // moved away since the listing
	}
	return netdev{sub, path.Base(own[0])}, others, err == nil, err
}

func (n netdev) mac() string {
	mac, _ := n.attr("address")
	return mac
}

func (n netdev) mtu() int {
	mtu, _ := n.int("mtu")
	return mtu
}

func (n netdev) ifindex() int {
	index, _ := n.int("ifindex")
	return index
}

func (n netdev) operState() string {
	state, _ := n.attr("operstate")
	return state
}

// carrier is also false if the netdev is down: the kernel then returns EINVAL.
func (n netdev) carrier() bool {
	c, _ := n.attr("carrier")
	return c == "1"
}

func (n netdev) linkType() string {
	switch kind, _ := n.int("type"); kind {
	case unix.ARPHRD_ETHER:
		return "ether"
	case unix.ARPHRD_INFINIBAND:
		return "infiniband"
	}
	return ""
}
