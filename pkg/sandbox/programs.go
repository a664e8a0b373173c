package sandbox

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

// ProgramNetwork is a network on record that has programs among its plugins, and all
// interfaces that it has on this node.
type ProgramNetwork struct {
	Name       string // the CNI name, by which programs keep their state
	Programs   []Program
	Interfaces []Valid
}

// Program is a plugin's binary, with the network's config without the parts that belong to
// one pod.
type Program struct {
	Type   string
	Config network.Object
}

// noteProgramNetwork adds an attachment. Several networks may share a CNI name, and so
// their programs' state: all their interfaces are valid. The primary has programs too, but
// its own garbage collection.
func noteProgramNetwork(byName map[string]*ProgramNetwork, id string, a ledger.Attachment, primary bool) error {
	if len(a.Members) == 0 {
		return nil
	}
	var conf struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(a.Members[0].Config, &conf); err != nil {
		return err
	}
	n := byName[conf.Name]
	if n == nil {
		n = &ProgramNetwork{Name: conf.Name}
		byName[conf.Name] = n
	}
	n.Interfaces = append(n.Interfaces, Valid{ID: id, IfName: a.IfName})
	collects, err := version.GreaterThanOrEqualTo(cmp.Or(a.CNIVersion, "0.1.0"), "1.1.0")
	if err != nil || primary || a.DisableGC || !collects {
		return err
	}
	for _, m := range a.Members {
		if m.Plugin != attach.PluginBinary || slices.ContainsFunc(n.Programs, func(p Program) bool { return p.Type == m.Type }) {
			continue
		}
		fields, err := network.ParseObject(m.Config)
		if err != nil {
			return err
		}
		n.Programs = append(n.Programs, Program{m.Type, fields.Without("runtimeConfig", "args", "deviceID", "pciBusID")})
	}
	return nil
}
