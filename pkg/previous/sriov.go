package previous

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// vfFile is a file of SRIOVDir: the config of an ADD, and the VF's state before it.
// Releases of sriov-cni differ in the fields that they write.
type vfFile struct {
	DeviceID  string  `json:"deviceID"`
	Master    string  `json:"Master"` // the PF's netdev
	Index     int     `json:"VFID"`
	DPDKMode  bool    `json:"DPDKMode"`
	MAC       string  `json:"MAC"` // asked for, like all that follow
	VLAN      *int    `json:"vlan"`
	MTU       *int    `json:"mtu"`
	MinTxRate *int    `json:"min_tx_rate"`
	MaxTxRate *int    `json:"max_tx_rate"`
	SpoofChk  string  `json:"spoofchk"`
	Trust     string  `json:"trust"`
	LinkState string  `json:"link_state"`
	Before    vfState `json:"OrigVfState"`
	IPAM      struct {
		Type string `json:"type"`
	} `json:"ipam"`
}

type vfState struct {
	Netdev       string `json:"HostIFName"`
	SpoofChk     bool   `json:"SpoofChk"`
	Trust        bool   `json:"Trust"`
	AdminMAC     string `json:"AdminMAC"`
	EffectiveMAC string `json:"EffectiveMAC"`
	VLAN         int    `json:"Vlan"`
	QoS          int    `json:"VlanQoS"`
	Proto        int    `json:"VlanProto"` // EtherType; 0: 802.1q
	MinTxRate    int    `json:"MinTxRate"`
	MaxTxRate    int    `json:"MaxTxRate"`
	LinkState    uint32 `json:"LinkState"` // as the kernel counts: 0 auto, 1 enable, 2 disable
	MTU          int    `json:"MTU"`
}

func (f Files) vfPath(id, ifName string) string { return filepath.Join(f.SRIOVDir, id+"-"+ifName) }

func (f Files) readVF(id, ifName string) (conf vfFile, found bool, err error) {
	path := f.vfPath(id, ifName)
	raw, err := read(path)
	if err != nil || raw == nil {
		return conf, false, err
	}
	if err := json.Unmarshal(raw, &conf); err != nil {
		return conf, false, fmt.Errorf("read the VF's state in %s: %w", path, err)
	}
	return conf, true, nil
}

// fillVF makes the member a VF that the agent itself restores: sriov-cni may be gone from
// the node by then. Without a file, sriov-cni's DEL does nothing either.
func (f Files) fillVF(m *ledger.Member, id, ifName string) error {
	conf, found, err := f.readVF(id, ifName)
	if err != nil || !found {
		return err
	}
	address, err := pci.ParseAddress(conf.DeviceID)
	if err != nil {
		return fmt.Errorf("read the VF's state in %s: field \"deviceID\": %w", f.vfPath(id, ifName), err)
	}
	m.Plugin, m.Device, m.IPAM = "sriov", address, conf.IPAM.Type
	if conf.DPDKMode {
		m.Plugin = "vfio"
	}
	m.VF = &ledger.VFMember{Original: conf.original(), Asked: conf.asked()}
	vf, err := f.VF(address)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it took its state with it
	}
	m.VF.Original.PF, m.VF.Original.Index = vf.PF, vf.Index
	return err
}

// asked has the settings that the ADD has changed.
func (c vfFile) asked() device.Settings {
	s := device.Settings{VLAN: c.VLAN, MTU: c.MTU, MinTxRate: c.MinTxRate, MaxTxRate: c.MaxTxRate,
		SpoofCheck: onOff(c.SpoofChk), Trust: onOff(c.Trust)}
	if c.LinkState != "" {
		s.LinkState = &c.LinkState
	}
	if c.MAC != "" {
		mac := strings.ToLower(c.MAC)
		s.MAC, s.AdminMAC = mac, &mac
	}
	return s
}

func onOff(s string) *bool {
	if s == "" {
		return nil
	}
	on := s == "on"
	return &on
}

// original is the state before the ADD. The netdev's other attributes were not recorded,
// and get the values of a new netdev.
func (c vfFile) original() ledger.VFState {
	before := c.Before
	state := ledger.VFState{PFName: c.Master, Index: c.Index}
	state.SpoofCheck, state.Trust = &before.SpoofChk, &before.Trust
	state.MinTxRate, state.MaxTxRate = &before.MinTxRate, &before.MaxTxRate
	state.VLAN, state.QoS, state.VLANProto = &before.VLAN, &before.QoS, vlanProto(before.Proto)
	state.LinkState = linkState(before.LinkState)
	if before.AdminMAC != "" {
		admin := strings.ToLower(before.AdminMAC)
		state.AdminMAC = &admin
	}
	if before.Netdev == "" {
		return state
	}
	state.MAC = strings.ToLower(before.EffectiveMAC)
	if before.MTU != 0 {
		state.MTU = &before.MTU
	}
	state.Netdev = &ledger.NetdevState{Name: before.Netdev, Multicast: true}
	return state
}

func vlanProto(etherType int) *string {
	proto := device.Proto8021Q
	if etherType == unix.ETH_P_8021AD {
		proto = device.Proto8021AD
	}
	return &proto
}

// linkState returns nil for a value that has no name.
func linkState(n uint32) *string {
	names := []string{"auto", "enable", "disable"}
	if int(n) >= len(names) {
		return nil
	}
	return &names[n]
}

// forgetVF removes the state of an interface's VF, and the mark by which sriov-cni knows
// that the VF is in use.
func (f Files) forgetVF(id, ifName string) error {
	conf, found, err := f.readVF(id, ifName)
	if err != nil || !found {
		return err
	}
	if address, err := pci.ParseAddress(conf.DeviceID); err == nil {
		if err := remove(filepath.Join(f.SRIOVDir, "pci", address.String())); err != nil {
			return err
		}
	}
	return remove(f.vfPath(id, ifName))
}
