package config

import "fmt"

// Addresses inside the guests. Every node sits in a user-mode network of its
// own (slirp) that looks the same from within, so the API server has one
// address for all of them and the kubernetes Service needs no special case.
const (
	GuestHostIP  = "10.0.0.2"      // the host, seen from any guest
	GuestNet     = "10.0.0.0/16"   // management network
	LANPrefix    = "192.168.77"    // node to node, for the primary pod network
	PodNet       = "10.244.0.0/16" // all pod networks
	ServiceNet   = "10.96.0.0/16"
	ServiceFirst = "10.96.0.1" // the kubernetes Service
)

// PF is one physical function: an igb port with 7 VFs.
type PF struct {
	Name string // in the guest
	MAC  string
}

// Node is one virtual machine.
type Node struct {
	Name      string
	Index     int // 1, 2: part of its addresses
	MemoryMiB int
	CPUs      int
	HugePages int // 2 MiB pages reserved at boot
	PFs       []PF
}

// Nodes are the lab's machines. Two is what two cores carry.
func Nodes() []Node {
	return []Node{
		newNode(1, 2, 192),
		newNode(2, 1, 0),
	}
}

func newNode(index, ports, hugePages int) Node {
	n := Node{Name: fmt.Sprintf("node%d", index), Index: index, MemoryMiB: 2560, CPUs: 2, HugePages: hugePages}
	for p := range ports {
		n.PFs = append(n.PFs, PF{Name: fmt.Sprintf("pf%d", p), MAC: fmt.Sprintf("02:00:00:00:%02x:%02x", index, p+1)})
	}
	return n
}

// FindNode returns the node of that name.
func FindNode(name string) (Node, error) {
	for _, n := range Nodes() {
		if n.Name == name {
			return n, nil
		}
	}
	return Node{}, fmt.Errorf("no node %q in the lab; it has node1 and node2", name)
}

func (n Node) IP() string            { return fmt.Sprintf("10.0.%d.15", n.Index) }
func (n Node) LANIP() string         { return fmt.Sprintf("%s.%d", LANPrefix, n.Index) }
func (n Node) PodCIDR() string       { return fmt.Sprintf("10.244.%d.0/24", n.Index) }
func (n Node) ManagementMAC() string { return fmt.Sprintf("52:54:00:00:00:%02x", n.Index) }
func (n Node) LANMAC() string        { return fmt.Sprintf("52:54:00:00:01:%02x", n.Index) }

// HostIP returns the loopback address at which the host reaches the node.
func (n Node) HostIP() string { return fmt.Sprintf("127.0.1.%d", n.Index) }
