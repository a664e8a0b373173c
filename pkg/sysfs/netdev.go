package sysfs

import (
	"errors"
	"io/fs"
	"regexp"

	"golang.org/x/sys/unix"
)

// netdev is a function's netdev. If it is renamed or moved between two reads, the methods
// return its new state, and the event about it causes the next reading.
type netdev struct {
	dir
	name string
}

// Representors of VFs and subfunctions are below the PF in switchdev mode. The kernel's
// phys_port_name distinguishes them from the uplink, which has "p0" or no name.
var representorRE = regexp.MustCompile(`^(c\d+)?pf\d+(vf|sf)\d+$`)

// uplink opens the function's own netdev. ok is false if there is no such netdev in this
// namespace.
func (d dir) uplink() (n netdev, ok bool, err error) {
	names, err := d.list("net")
	if err != nil || len(names) == 0 {
		return netdev{}, false, err
	}
	name := names[0]
	for _, candidate := range names {
		if len(names) == 1 {
			break
		}
		if port, _ := d.attr("net/" + candidate + "/phys_port_name"); !representorRE.MatchString(port) {
			name = candidate
			break
		}
	}
	sub, err := d.sub("net/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return netdev{}, false, nil // moved away since the listing
	}
	return netdev{sub, name}, err == nil, err
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
