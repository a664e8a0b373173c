package attach

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// program is the Plugin of every type that is not built in: a program in CNI_PATH.
type program struct{ set *Set }

// Prepare asks custody for the functions and host netdevs that the program will use,
// as far as its config names them.
func (b program) Prepare(_ context.Context, c Call, conf Conf) (ledger.Member, error) {
	m := ledger.Member{Plugin: PluginBinary}
	uses, err := readHostUses(conf)
	if err != nil {
		return m, err
	}
	if err := b.checkForcedAddress(c, conf); err != nil {
		return m, err
	}
	if uses.none() {
		return m, nil
	}
	at, err := b.set.enterHost(c)
	if err != nil {
		return m, err
	}
	defer at.close()
	if uses.moves != "" {
		uses.functions = append(uses.functions, at.functionOf(uses.moves)...)
	}
	for _, addr := range uses.functions {
		if err := at.mayAttach(addr); err != nil {
			return m, err
		}
		if err := at.mayHaveVF(addr, conf); err != nil {
			return m, err
		}
		if conf.Type == PluginHostDevice {
			if err := at.mayMoveFunction(addr); err != nil {
				return m, err
			}
		}
	}
	if len(uses.functions) > 0 {
		m.Device = uses.functions[0]
	}
	if err := at.checkMoved(uses); err != nil {
		return m, err
	}
	return m, at.checkMaster(uses)
}

// checkForcedAddress holds the floor of a bridge for its program.
func (b program) checkForcedAddress(c Call, conf Conf) error {
	if conf.Type != PluginBridge || len(conf.Fields.Only("forceAddress")) == 0 {
		return nil
	}
	parsed, err := parseBridge(conf.Raw, c.CNIArgs)
	if err != nil {
		return err
	}
	at, err := b.set.enterHost(c)
	if err != nil {
		return err
	}
	defer at.close()
	return parsed.check(at)
}

// hostUses lists the parts of the host that a program's config names, in the fields
// that programs have in common.
type hostUses struct {
	functions []pci.Address
	master    string // below the link that the program makes
	passthru  bool   // the link gets everything that arrives at the master

	mastersDefault bool // without a master, the program takes the default route's netdev

	// The netdev that a host-device moves into the pod: by its name, its MAC, or the
	// directory of its device.
	moves, movesMAC, movesPath string
}

func (u hostUses) none() bool {
	return len(u.functions) == 0 && u.master == "" && !u.mastersDefault && u.moves == "" && u.movesMAC == "" && u.movesPath == ""
}

// deviceIDRE is the form of ids of devices that are no PCI functions: subfunctions
// (mlx5_core.sf.4), mediated devices.
var deviceIDRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_:-]*(\.[A-Za-z0-9_:-]+)*$`)

// readHostUses reads those fields and no others. Their values may be of any kind: only
// the program knows its config.
func readHostUses(conf Conf) (hostUses, error) {
	var raw struct {
		DeviceID  any `json:"deviceID"`
		PCIBusID  any `json:"pciBusID"`
		Device    any `json:"device"`
		Master    any `json:"master"`
		Mode      any `json:"mode"`
		HWAddr    any `json:"hwaddr"`
		Path      any `json:"kernelpath"`
		InPod     any `json:"linkInContainer"`
		RuntimeCf any `json:"runtimeConfig"`
	}
	named := conf.Fields.Only("deviceID", "pciBusID", "device", "master", "mode", "hwaddr", "kernelpath", "linkInContainer", "runtimeConfig")
	takesDefault := conf.Type == PluginMacvlan || conf.Type == PluginIPvlan
	if len(named) == 0 && !takesDefault {
		return hostUses{}, nil
	}
	if err := decode(named.JSON(), &raw); err != nil {
		return hostUses{}, err
	}
	ids := []any{raw.DeviceID, raw.PCIBusID}
	if runtime, ok := raw.RuntimeCf.(map[string]any); ok {
		ids = append(ids, runtime["deviceID"])
	}
	functions, err := readFunctions(ids)
	if err != nil {
		return hostUses{}, err
	}
	uses := hostUses{functions: functions}
	if inPod, _ := raw.InPod.(bool); !inPod {
		uses.master, _ = raw.Master.(string)
		uses.mastersDefault = uses.master == "" && takesDefault
		uses.passthru = conf.Type == PluginMacvlan && raw.Mode == any("passthru")
	}
	if conf.Type == "host-device" {
		uses.moves, _ = raw.Device.(string)
		uses.movesMAC, _ = raw.HWAddr.(string)
		uses.movesPath, _ = raw.Path.(string)
	}
	return uses, nil
}

// readFunctions returns the PCI functions among ids of devices.
func readFunctions(ids []any) ([]pci.Address, error) {
	var functions []pci.Address
	for _, id := range ids {
		text, _ := id.(string)
		if text == "" {
			continue
		}
		addr, err := pci.ParseAddress(text)
		switch {
		case err == nil:
			functions = append(functions, addr)
		case !deviceIDRE.MatchString(text):
			return nil, fmt.Errorf("field \"deviceID\": %w", err)
		}
	}
	return functions, nil
}

// Add runs the program. It waits for the networks before this one: a program, such as
// bond, expects complete interfaces.
func (b program) Add(ctx context.Context, c Call, m *ledger.Member) (*types100.Result, error) {
	if c.Prev == nil { // the first of its chain
		if err := c.Order.last(ctx); err != nil {
			return nil, err
		}
	}
	file, err := b.find(c, *m)
	if err != nil {
		return nil, err
	}
	prev, err := resultJSON(c.Prev, c.version)
	if err != nil {
		return nil, err
	}
	result, err := invoke.ExecPluginWithResult(ctx, file, withPrevResult(m.Config, prev), b.args("ADD", c), c.Exec)
	if err != nil {
		return nil, b.undo(ctx, c, m, err)
	}
	if c.Prev == nil {
		c.Order.made()
	}
	return types100.NewResultFromResult(result)
}

// undo runs DEL after an ADD that failed, as the specification asks.
func (b program) undo(ctx context.Context, c Call, m *ledger.Member, cause error) error {
	ctx, cancel := undoContext(ctx)
	defer cancel()
	c.Prev = nil
	if err := b.Del(ctx, c, m); err != nil {
		return &undoError{cause, err}
	}
	return cause
}

// Check runs the program's CHECK.
func (b program) Check(ctx context.Context, c Call, m ledger.Member) error {
	file, err := b.find(c, m)
	if err != nil {
		return err
	}
	prev, err := resultJSON(c.Prev, c.version)
	if err != nil {
		return err
	}
	return invoke.ExecPluginWithoutResult(ctx, file, withPrevResult(m.Config, prev), b.args("CHECK", c), c.Exec)
}

// Del runs the program's DEL. If the chain was never complete, and the program is not
// installed, it never ran: there is nothing to undo.
func (b program) Del(ctx context.Context, c Call, m *ledger.Member) error {
	file, err := b.find(c, *m)
	if errors.Is(err, fs.ErrNotExist) && c.Prev == nil {
		return nil
	}
	if err != nil {
		return err
	}
	stdin := m.Config
	if hasPrevResult, err := version.GreaterThanOrEqualTo(c.version, "0.4.0"); err == nil && hasPrevResult {
		prev, err := resultJSON(c.Prev, c.version)
		if err != nil {
			b.set.Log.Warn("running DEL without the previous result", "plugin", m.Type, "pod", c.Pod.String(), "error", err)
		}
		stdin = withPrevResult(stdin, prev)
	}
	args := b.args("DEL", c)
	if !b.set.isThere(c) {
		args.NetNS = ""
	}
	return invoke.ExecPluginWithoutResult(ctx, file, stdin, args, c.Exec)
}

func (b program) find(c Call, m ledger.Member) (string, error) {
	if c.Exec == nil {
		return "", fmt.Errorf("run plugin %s: there is no host to run programs on", m.Type)
	}
	return c.Exec.FindInPath(m.Type, strings.Split(c.Path, ":"))
}

func (b program) args(command string, c Call) *invoke.Args {
	return &invoke.Args{Command: command, ContainerID: c.SandboxID, NetNS: c.Netns.Path, PluginArgsStr: c.CNIArgs, IfName: c.IfName, Path: c.Path}
}

func isSet(raw json.RawMessage) bool {
	switch string(bytes.TrimSpace(raw)) {
	case "", "null", "[]", `""`:
		return false
	}
	return true
}
