// Package problem holds the problems of a node that a person must look at. It turns the
// beginning and the end of each into events.
//
// The parts of the agent report Problems, fairleadctl prints them, and a Reporter compares
// them with those of before. The package finds no problem itself, and writes to no API server.
package problem

import (
	"encoding/json"
	"strings"

	"fairlead.dev/fairlead/pkg/ledger"
)

// Problem is one thing that a person must look at.
type Problem struct {
	Reason Reason `json:"reason"`
	// About is the object that has the problem: "PF 0000:3b:00.0". Together with the Reason it
	// identifies the problem, whose Text may change.
	About string `json:"about,omitempty"`
	Text  string `json:"text"`

	// Pod suffers from the problem. PodText is for its author: it names no other pod and no
	// link of the node.
	Pod     *ledger.PodRef `json:"pod,omitempty"`
	PodText string         `json:"-"`
}

// String returns the text.
func (p Problem) String() string { return p.Text }

// UnmarshalJSON also reads a problem that is only its text, as agents wrote it before problems
// had reasons.
func (p *Problem) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		*p = Problem{}
		return json.Unmarshal(raw, &p.Text)
	}
	type fields Problem // without this method
	return json.Unmarshal(raw, (*fields)(p))
}

// Join joins the texts of problems.
func Join(problems []Problem, separator string) string {
	texts := make([]string, 0, len(problems))
	for _, p := range problems {
		texts = append(texts, p.Text)
	}
	return strings.Join(texts, separator)
}
