package cni

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/ledger"
)

// call is one request, parsed.
type call struct {
	wire.Request
	pod  ledger.PodRef // empty where the runtime names none
	conf callConf
	exec invoke.Exec
	at   time.Time
}

// callConf is the part of the shim's network config that the agent reads.
type callConf struct {
	CNIVersion       string               `json:"cniVersion"`
	Name             string               `json:"name"`
	RuntimeConfig    map[string]any       `json:"runtimeConfig"`
	ValidAttachments []types.GCAttachment `json:"cni.dev/valid-attachments"`
	Attachments      []types.GCAttachment `json:"cni.dev/attachments"` // the specification's first name for it
}

// parseCall reads a request. A DEL is served whatever its config says.
func parseCall(r wire.Request, exec invoke.Exec, now time.Time) (*call, error) {
	c := &call{Request: r, pod: podOf(r.Args), exec: exec, at: now}
	err := json.Unmarshal(r.Stdin, &c.conf)
	if c.conf.CNIVersion == "" {
		c.conf.CNIVersion = version.Current()
	}
	if r.Command == "DEL" {
		return c, nil
	}
	if err != nil {
		return c, step("reading the network config", types.ErrDecodingFailure, err)
	}
	if !slices.Contains(version.All.SupportedVersions(), c.conf.CNIVersion) {
		return c, step("reading the network config", types.ErrIncompatibleCNIVersion,
			fmt.Errorf("cniVersion %s is not one of %s", c.conf.CNIVersion, strings.Join(version.All.SupportedVersions(), ", ")))
	}
	return c, nil
}

// podOf reads the pod from CNI_ARGS, as Kubernetes' runtimes give it.
func podOf(args string) ledger.PodRef {
	var pod ledger.PodRef
	for _, pair := range strings.Split(args, ";") {
		key, value, _ := strings.Cut(pair, "=")
		switch strings.TrimSpace(key) {
		case "K8S_POD_NAMESPACE":
			pod.Namespace = value
		case "K8S_POD_NAME":
			pod.Name = value
		case "K8S_POD_UID":
			pod.UID = value
		}
	}
	return pod
}
