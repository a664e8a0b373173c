package cni

import (
	"bytes"
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

// resultJSON writes a result in the given version; nil stays nil.
func resultJSON(result types.Result, version string) (json.RawMessage, error) {
	if result == nil {
		return nil, nil
	}
	converted, err := result.GetAsVersion(version)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := converted.PrintTo(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
