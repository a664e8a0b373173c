package cni

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/sandbox"
)

// call is one request, parsed.
type call struct {
	wire.Request
	pod  ledger.PodRef // empty if the runtime names none
	conf callConf
	exec invoke.Exec
	path string // CNI_PATH, or the agent's
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

// parseCall reads a request. A DEL is served even if its config cannot be read. A call
// with another conf than Fairlead's own is refused: it is from a plugin that has Fairlead
// as its IPAM plugin or delegate (security S1).
func parseCall(r wire.Request, exec invoke.Exec, o Options) (*call, error) {
	c := &call{Request: r, pod: podOf(r.Args), exec: exec, path: cmp.Or(strings.TrimSpace(r.Path), o.CNIPath), at: o.Now()}
	err := json.Unmarshal(r.Stdin, &c.conf)
	if c.conf.CNIVersion == "" {
		c.conf.CNIVersion = version.Current()
	}
	if foreign := wire.CheckConf(r.Stdin); errors.Is(foreign, wire.ErrForeignConf) {
		return c, failed("read the network config", types.ErrInvalidNetworkConfig, foreign)
	}
	if r.Command == "DEL" {
		return c, nil
	}
	if err != nil {
		return c, failed("read the network config", types.ErrDecodingFailure, err)
	}
	if !slices.Contains(version.All.SupportedVersions(), c.conf.CNIVersion) {
		return c, failed("read the network config", types.ErrIncompatibleCNIVersion,
			fmt.Errorf("cniVersion %s is not one of %s", c.conf.CNIVersion, strings.Join(version.All.SupportedVersions(), ", ")))
	}
	return c, nil
}

// request is the call as the keeper takes it.
func (c *call) request() sandbox.Request {
	return sandbox.Request{ID: c.ContainerID, Netns: c.Netns, IfName: c.IfName, Pod: c.pod, Args: c.Args,
		Capabilities: c.conf.RuntimeConfig, Exec: c.exec, Path: c.path, At: c.at}
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
