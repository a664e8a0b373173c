package ledger

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// The types of format 1. An attachment had one kind and the whole config list.

type sandbox1 struct {
	ID          string          `json:"id"`
	IfName      string          `json:"ifName"`
	Pod         PodRef          `json:"pod"`
	Netns       string          `json:"netns"`
	Path        string          `json:"path"`
	Created     time.Time       `json:"created"`
	Attachments []attachment1   `json:"attachments"`
	Releasing   bool            `json:"releasing"`
	EarlierBoot bool            `json:"earlierBoot"`
	Failure     string          `json:"failure"`
	Attempts    int             `json:"attempts"`
	RetryAt     time.Time       `json:"retryAt"`
	Status      json.RawMessage `json:"status"`
}

type attachment1 struct {
	Network        string          `json:"network"`
	IfName         string          `json:"ifName"`
	Kind           string          `json:"kind"` // sriov, vfio, macvlan, ipvlan, exec
	Phase          Phase           `json:"phase"`
	FallbackFrom   string          `json:"fallbackFrom"` // the kind that was asked for
	FallbackReason string          `json:"fallbackReason"`
	Config         json.RawMessage `json:"config"`
	CNIArgs        string          `json:"cniArgs"`
	Resource       string          `json:"resource"`
	Device         pci.Address     `json:"device"`
	DeviceBack     bool            `json:"deviceBack"`
	DeviceInfo     string          `json:"deviceInfo"`
	Link           *link1          `json:"link"`
	VF             *vf1State       `json:"vf"`      // before ADD
	Applied        *vf1State       `json:"applied"` // asked for
	IPAM           string          `json:"ipam"`
	Result         json.RawMessage `json:"result"`
}

type link1 struct {
	Uplink   string `json:"uplink"`
	VLANLink string `json:"vlanLink"`
	VLAN     int    `json:"vlan"`
	MAC      string `json:"mac"`
	Ifindex  int    `json:"ifindex"`
	MTU      int    `json:"mtu"`
}

type vf1State struct {
	PF     pci.Address `json:"pf"`
	PFName string      `json:"pfName"`
	Index  int         `json:"index"`
	device.Settings
	Netdev   string   `json:"netdev"`
	AltNames []string `json:"altNames"`
	Up       *bool    `json:"up"`
	Promisc  *bool    `json:"promisc"`
	AllMulti *bool    `json:"allMulti"`
}

// convert returns the sandbox in today's format.
func (s sandbox1) convert() (Sandbox, error) {
	out := Sandbox{
		ID: s.ID, IfName: s.IfName, Pod: s.Pod, Netns: Netns{Path: s.Netns}, Path: s.Path, Created: s.Created,
		Releasing: s.Releasing, EarlierBoot: s.EarlierBoot,
		Failure: s.Failure, Attempts: s.Attempts, RetryAt: s.RetryAt, Status: s.Status,
	}
	for _, a := range s.Attachments {
		converted, err := a.convert()
		if err != nil {
			return Sandbox{}, fmt.Errorf("network %s, interface %s: %w", a.Network, a.IfName, err)
		}
		out.Attachments = append(out.Attachments, converted)
	}
	return out, nil
}

func (a attachment1) convert() (Attachment, error) {
	list, err := parseList1(a.Config)
	if err != nil {
		return Attachment{}, err
	}
	out := Attachment{
		Network: a.Network, IfName: a.IfName, Phase: a.Phase, CNIVersion: list.CNIVersion, DisableCheck: list.DisableCheck,
		CNIArgs: a.CNIArgs, Resource: a.Resource, DeviceInfo: a.DeviceInfo, Result: a.Result,
	}
	if a.FallbackFrom != "" {
		out.Fallback = &Fallback{From: a.FallbackFrom, Reason: a.FallbackReason}
	}
	if out.Members, err = list.members(); err != nil {
		return Attachment{}, err
	}
	for i := range out.Members {
		out.Members[i].Released = a.Phase == Released
	}
	first := &out.Members[0]
	first.Device, first.DeviceReturned, first.IPAM = a.Device, a.DeviceBack, a.IPAM
	switch a.Kind {
	case "exec":
	case "sriov", "vfio":
		first.Plugin, first.VF = a.Kind, a.vfMember()
	case "macvlan", "ipvlan":
		first.Plugin = a.Kind
		first.Child, err = a.childMember(first.Config)
	default:
		err = fmt.Errorf("kind %q is unknown", a.Kind)
	}
	return out, err
}

func (a attachment1) vfMember() *VFMember {
	m := &VFMember{}
	if a.VF != nil {
		m.Original = a.VF.convert()
	}
	if a.Applied != nil {
		m.Asked = a.Applied.Settings
	}
	if a.Link != nil {
		m.Ifindex = a.Link.Ifindex
	}
	return m
}

// convert fills fields that format 1 did not have with the values of a new netdev.
// Values that differ from driver to driver stay 0.
func (s vf1State) convert() VFState {
	out := VFState{PF: s.PF, PFName: s.PFName, Index: s.Index, Settings: s.Settings}
	if s.Netdev != "" {
		out.Netdev = &NetdevState{
			Name: s.Netdev, AltNames: s.AltNames, Multicast: true,
			Up: isSet(s.Up), Promisc: isSet(s.Promisc), AllMulti: isSet(s.AllMulti),
		}
	}
	return out
}

func isSet(b *bool) bool { return b != nil && *b }

// childMember reads the mode, which format 1 did not record, from the config. A fallback
// had the default mode: its config is that of an sriov network.
func (a attachment1) childMember(config json.RawMessage) (*ChildMember, error) {
	if a.Link == nil {
		return nil, errors.New("the record names no uplink")
	}
	m := &ChildMember{Uplink: a.Link.Uplink, VLANLink: a.Link.VLANLink, VLAN: a.Link.VLAN, MAC: a.Link.MAC, MTU: a.Link.MTU, Ifindex: a.Link.Ifindex}
	var conf struct {
		Mode       string `json:"mode"`
		BcQueueLen uint32 `json:"bcqueuelen"`
	}
	if a.FallbackFrom != "" {
		m.Fallback = &Fallback{From: a.FallbackFrom, Reason: a.FallbackReason}
	} else if err := json.Unmarshal(config, &conf); err != nil {
		return nil, fmt.Errorf("read the config: %w", err)
	}
	if a.Kind == "ipvlan" {
		m.Mode = cmp.Or(conf.Mode, "l2")
		m.MAC = "" // an ipvlan has the uplink's MAC
	} else {
		m.Mode, m.QueueLen = cmp.Or(conf.Mode, "bridge"), conf.BcQueueLen
	}
	return m, nil
}

// list1 is a CNI config list.
type list1 struct {
	CNIVersion   string            `json:"cniVersion"`
	Name         string            `json:"name"`
	DisableCheck bool              `json:"disableCheck"`
	Plugins      []json.RawMessage `json:"plugins"`
}

func parseList1(raw json.RawMessage) (list1, error) {
	var list list1
	if err := json.Unmarshal(raw, &list); err != nil {
		return list, fmt.Errorf("read the config list: %w", err)
	}
	if len(list.Plugins) == 0 {
		return list, errors.New("the config list has no plugins")
	}
	return list, nil
}

// members returns a member for each plugin of the list, as a binary.
func (l list1) members() ([]Member, error) {
	members := make([]Member, len(l.Plugins))
	for i, plugin := range l.Plugins {
		var conf map[string]json.RawMessage
		if err := json.Unmarshal(plugin, &conf); err != nil {
			return nil, fmt.Errorf("read plugin %d of the config list: %w", i+1, err)
		}
		m := Member{Plugin: pluginBinary}
		if err := json.Unmarshal(conf["type"], &m.Type); err != nil {
			return nil, fmt.Errorf("read the type of plugin %d of the config list: %w", i+1, err)
		}
		conf["name"], _ = json.Marshal(l.Name) // a string never fails
		conf["cniVersion"], _ = json.Marshal(l.CNIVersion)
		raw, err := json.Marshal(conf)
		if err != nil {
			return nil, err
		}
		m.Config = raw
		members[i] = m
	}
	return members, nil
}
