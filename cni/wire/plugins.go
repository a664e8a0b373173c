package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Type of Fairlead's own plugin, name of the network in its conf, and name of the
// shim's file.
const (
	OwnType = "fairlead"
	OwnName = "fairlead"
)

// CallMarker is an environment variable that cni/run sets for every plugin that it
// runs. A shim that finds it set has been called from within a call of Fairlead.
const CallMarker = "FAIRLEAD_CALL"

// IsMeta reports whether a plugin runs other networks' plugins. Such a plugin is
// neither the primary network nor a member of another one: it would attach all
// networks twice, run Fairlead from within itself (m#1130), or run a program from a
// directory that its own config names (security S1).
func IsMeta(plugin string) bool {
	switch plugin {
	case OwnType, "multus", "multus-shim", "genie", "danm":
		return true
	}
	return false
}

// ErrForeignConf: the network config is not the one that the agent installed. The
// caller is another plugin, not the runtime.
var ErrForeignConf = errors.New("the network config is not Fairlead's own")

// CheckConf verifies that a call's standard input is Fairlead's own conf. A plugin
// that runs the shim as its IPAM plugin or delegate passes its own conf instead. The
// error is ErrForeignConf, or that the conf is not a JSON object. Keys must be spelled
// exactly: the agent and the runtime write them so.
func CheckConf(stdin []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(stdin, &fields); err != nil {
		return fmt.Errorf("parse the network config on standard input: %w", err)
	}
	for _, own := range []struct{ key, value string }{{"type", OwnType}, {"name", OwnName}} {
		if string(fields[own.key]) != strconv.Quote(own.value) {
			return fmt.Errorf("%w: its %q is not %q; Fairlead is called by the container runtime only, not as an IPAM plugin or delegate",
				ErrForeignConf, own.key, own.value)
		}
	}
	return nil
}
