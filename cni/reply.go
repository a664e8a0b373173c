package cni

import (
	"encoding/json"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/cni/wire"
)

// errorReply is a CNI error on standard output, and exit code 1.
func errorReply(protocol int, cniVersion string, e *types.Error) wire.Message {
	if cniVersion == "" {
		cniVersion = version.Current()
	}
	raw, err := json.Marshal(struct {
		CNIVersion string `json:"cniVersion"`
		*types.Error
	}{cniVersion, e})
	if err != nil { // strings and a number: cannot be
		raw = []byte(`{"code":999,"msg":"fairlead: internal error"}`)
	}
	return wire.Message{Version: protocol, Reply: &wire.Reply{Stdout: raw, ExitCode: 1}}
}
