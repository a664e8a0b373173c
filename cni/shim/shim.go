// Package shim is the CNI plugin that the runtime executes: it hands the call to
// the agent over a unix socket, runs plugins' binaries on the agent's behalf, and
// prints the agent's reply. If there is no agent, a DEL becomes a tombstone and
// succeeds, and anything else fails with a clear text after a wait.
//
// It runs as root in the host's namespaces, and a pod's network can make another
// plugin call it. Hence it takes its socket and directories from a root-owned file
// beside its binary only (wire.ShimConfig), runs plugins from the runtime's CNI_PATH
// only, and refuses calls that are not the runtime's.
//
// It decides nothing about networks, and keeps small: it imports the standard
// library (without package net), cni/run and cni/wire. imports.txt is the
// committed list of all that is linked into it.
package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"fairlead.dev/fairlead/cni/wire"
)

// Shim is one call. Its fields are the process's surroundings. Config and ConfigErr are
// the results of OwnConfig: with an error, Config has the defaults.
type Shim struct {
	Config    wire.ShimConfig
	ConfigErr error

	Getenv  func(string) string
	Environ []string
	Stdin   io.Reader
	Stdout  io.Writer
	Build   string
	Now     func() time.Time
}

// supportedVersions are the CNI versions the agent can answer in.
var supportedVersions = []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

const newestVersion = "1.1.0"

// CNI error codes, of the specification and of its extension for STATUS.
const (
	codeInvalidEnvironment = 4
	codeIOFailure          = 5
	codeDecodingFailure    = 6
	codeInvalidConfig      = 7
	codeTryAgainLater      = 11
	codeNotAvailable       = 50
)

// Run serves the call and returns the process's exit code. When ctx ends (the
// runtime's SIGTERM), running plugins are killed, and the agent notices the hang-up.
func (s Shim) Run(ctx context.Context) int {
	command := s.Getenv("CNI_COMMAND")
	stdin, err := readConf(s.Stdin)
	if err != nil {
		return s.fail("", codeIOFailure, err.Error())
	}
	version := answerVersion(stdin)
	if command == "VERSION" {
		return s.printVersion(version)
	}
	request, err := s.request(command, stdin)
	if err != nil {
		return s.fail(version, codeInvalidEnvironment, err.Error())
	}
	switch err := s.checkCaller(stdin); {
	case err == nil:
	case errors.Is(err, errReentry), errors.Is(err, wire.ErrForeignConf):
		return s.refuse(command, version, err)
	case command != "DEL": // a DEL needs only the environment
		return s.fail(version, codeDecodingFailure, err.Error())
	}
	if s.ConfigErr != nil && command != "DEL" { // a DEL goes on with the defaults
		return s.withoutAgent(request, version, s.ConfigErr)
	}
	reply, err := s.ask(ctx, request)
	if err != nil {
		return s.withoutAgent(request, version, errors.Join(err, s.ConfigErr))
	}
	if _, err := s.Stdout.Write(reply.Stdout); err != nil {
		return 1
	}
	return reply.ExitCode
}

// refuse answers a call that is not the runtime's. A DEL succeeds: the ADD was refused, so
// there is nothing to release, and the plugin that calls could not end its own otherwise.
func (s Shim) refuse(command, version string, cause error) int {
	if command == "DEL" {
		return 0
	}
	return s.fail(version, codeInvalidConfig, cause.Error())
}

// request checks the environment against the specification.
func (s Shim) request(command string, stdin []byte) (wire.Request, error) {
	r := wire.Request{
		MinVersion: wire.MinVersion, Build: s.Build, Command: command,
		ContainerID: s.Getenv("CNI_CONTAINERID"), Netns: s.Getenv("CNI_NETNS"), IfName: s.Getenv("CNI_IFNAME"),
		Args: s.Getenv("CNI_ARGS"), Path: s.Getenv("CNI_PATH"), Stdin: stdin,
		TimeoutMillis: s.Config.Timeout().Milliseconds(),
	}
	switch command {
	case "STATUS", "GC":
		return r, nil
	case "ADD", "CHECK", "DEL":
	default:
		return r, fmt.Errorf("CNI_COMMAND is %q; it must be ADD, CHECK, DEL, GC, STATUS or VERSION", command)
	}
	switch {
	case !wire.ValidContainerID(r.ContainerID):
		return r, fmt.Errorf("CNI_CONTAINERID %q is not a container id", r.ContainerID)
	case !wire.ValidIfName(r.IfName):
		return r, fmt.Errorf("CNI_IFNAME %q is not an interface name", r.IfName)
	case r.Netns == "" && command != "DEL": // a DEL comes without one after a reboot
		return r, errors.New("CNI_NETNS is missing")
	}
	return r, nil
}

// withoutAgent answers if the agent did not.
func (s Shim) withoutAgent(r wire.Request, version string, cause error) int {
	switch r.Command {
	case "DEL":
		tomb := wire.Tombstone{Version: wire.Version, Request: r, At: s.Now(), Reason: cause.Error()}
		if err := (wire.Tombstones{Dir: s.Config.TombstoneDir}).Write(tomb); err != nil {
			return s.fail(version, codeIOFailure,
				fmt.Sprintf("the Fairlead agent is away (%v) and the DEL cannot be kept for it: %v; free or repair %s", cause, err, s.Config.TombstoneDir))
		}
		return 0
	case "STATUS":
		return s.fail(version, codeNotAvailable, cause.Error())
	}
	return s.fail(version, codeTryAgainLater, fmt.Sprintf("%s of sandbox %s: %v", r.Command, r.ContainerID, cause))
}

func (s Shim) printVersion(version string) int {
	return s.print(map[string]any{"cniVersion": version, "supportedVersions": supportedVersions}, 0)
}

func (s Shim) fail(cniVersion string, code int, msg string) int {
	if cniVersion == "" {
		cniVersion = newestVersion
	}
	return s.print(map[string]any{"cniVersion": cniVersion, "code": code, "msg": "fairlead: " + msg}, 1)
}

func (s Shim) print(v any, exitCode int) int {
	raw, err := json.Marshal(v)
	if err == nil {
		_, err = s.Stdout.Write(append(raw, '\n'))
	}
	if err != nil {
		return 1
	}
	return exitCode
}
