package wire

import (
	"errors"
	"fmt"
)

// Message is one frame. Exactly one of its parts is set.
type Message struct {
	Version int      `json:"version"` // of the conversation; in a Request, the newest that the shim speaks
	Request *Request `json:"request,omitempty"`
	Run     *Run     `json:"run,omitempty"`
	Cancel  *Cancel  `json:"cancel,omitempty"`
	Ran     *Ran     `json:"ran,omitempty"`
	Reply   *Reply   `json:"reply,omitempty"`
}

// Request is one call of the CNI plugin, as the runtime made it.
type Request struct {
	MinVersion  int    `json:"minVersion"` // the oldest protocol that the shim speaks
	Build       string `json:"build,omitempty"`
	Command     string `json:"command"`     // CNI_COMMAND
	ContainerID string `json:"containerID"` // CNI_CONTAINERID
	Netns       string `json:"netns"`       // CNI_NETNS
	IfName      string `json:"ifName"`      // CNI_IFNAME
	Args        string `json:"args"`        // CNI_ARGS
	Path        string `json:"path"`        // CNI_PATH
	Stdin       []byte `json:"stdin"`
	// TimeoutMillis is how long the shim waits for the reply, from now. A span, not
	// a time: nothing then depends on clocks.
	TimeoutMillis int64 `json:"timeoutMillis"`
}

// Run asks the shim to run a plugin's binary on the host.
type Run struct {
	ID            int      `json:"id"`
	Plugin        string   `json:"plugin"` // file name; looked for in the directories of Path
	Path          string   `json:"path"`   // as in CNI_PATH
	Env           []string `json:"env"`    // added to the shim's own, whose CNI_… are dropped
	Stdin         []byte   `json:"stdin"`
	TimeoutMillis int64    `json:"timeoutMillis"`
}

// Cancel asks the shim to kill the program that it runs as ID. The Ran still comes.
type Cancel struct {
	ID int `json:"id"`
}

// Ran is the outcome of a Run.
type Ran struct {
	ID       int    `json:"id"`
	Stdout   []byte `json:"stdout,omitempty"`
	Stderr   []byte `json:"stderr,omitempty"`
	ExitCode int    `json:"exitCode"`
	NotFound bool   `json:"notFound,omitempty"` // no such binary in Path
	Error    string `json:"error,omitempty"`    // it could not be run, or was killed: why
}

// Reply ends the conversation: the output of the shim, and its exit code.
type Reply struct {
	Stdout   []byte `json:"stdout,omitempty"`
	ExitCode int    `json:"exitCode"`
}

// Part names the part that is set; it fails if no part or several parts are set.
func (m Message) Part() (string, error) {
	var parts []string
	for name, set := range map[string]bool{
		"request": m.Request != nil, "run": m.Run != nil, "cancel": m.Cancel != nil, "ran": m.Ran != nil, "reply": m.Reply != nil,
	} {
		if set {
			parts = append(parts, name)
		}
	}
	if len(parts) != 1 {
		return "", fmt.Errorf("a message has exactly one part, this one has %d", len(parts))
	}
	return parts[0], nil
}

// ErrVersion: shim and agent have no protocol version in common.
var ErrVersion = errors.New("shim and agent have no protocol version in common")

// Negotiate picks the newest version that both sides speak.
func Negotiate(m Message) (int, error) {
	if m.Request == nil {
		return 0, errors.New("the first message is not a request")
	}
	newest := min(m.Version, Version)
	if newest < m.Request.MinVersion || newest < MinVersion {
		return 0, fmt.Errorf("%w: the shim speaks %d to %d, the agent %d to %d; restart the agent's pod on this node, which installs its own shim",
			ErrVersion, m.Request.MinVersion, m.Version, MinVersion, Version)
	}
	return newest, nil
}
