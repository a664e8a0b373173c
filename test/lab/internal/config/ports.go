package config

import "fmt"

// Ports on the host's loopback. All move together by an offset.
type Ports struct {
	EtcdClient        int `json:"etcdClient"`
	EtcdPeer          int `json:"etcdPeer"`
	APIServer         int `json:"apiServer"`
	ControllerManager int `json:"controllerManager"`
	Scheduler         int `json:"scheduler"`
	Agent             int `json:"agent"`   // on each node's loopback address
	Kubelet           int `json:"kubelet"` // on each node's loopback address
	Data              int `json:"data"`    // UDP, first of two: the wire between the igb ports
	LAN               int `json:"lan"`     // UDP, first of two: the wire of the primary network
}

// NewPorts returns the usual ports, each raised by offset.
func NewPorts(offset int) (Ports, error) {
	if offset < 0 || offset > 40000 {
		return Ports{}, fmt.Errorf("port offset %d: must be 0 to 40000", offset)
	}
	return Ports{
		EtcdClient:        2379 + offset,
		EtcdPeer:          2380 + offset,
		APIServer:         6443 + offset,
		ControllerManager: 10257 + offset,
		Scheduler:         10259 + offset,
		Agent:             7000 + offset,
		Kubelet:           10250 + offset,
		Data:              17400 + offset,
		LAN:               17410 + offset,
	}, nil
}
