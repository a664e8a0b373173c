package sandboxtest

import (
	"errors"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
)

// Ledger is a real ledger each of whose durable changes is a step of the world.
type Ledger struct {
	*ledger.Ledger
	World *World
}

// PutSandbox is a step.
func (l Ledger) PutSandbox(s ledger.Sandbox) (err error) {
	stepErr := l.World.Do("put", "put "+Describe(s), func() { err = l.Ledger.PutSandbox(s) })
	return errors.Join(stepErr, err)
}

// DeleteSandbox is a step.
func (l Ledger) DeleteSandbox(id string) (err error) {
	stepErr := l.World.Do("delete", "delete "+id, func() { err = l.Ledger.DeleteSandbox(id) })
	return errors.Join(stepErr, err)
}

// Describe writes a record in one line.
func Describe(s ledger.Sandbox) string {
	parts := []string{s.ID}
	if s.Releasing {
		parts = append(parts, "releasing")
	}
	for _, a := range s.Attachments {
		parts = append(parts, fmt.Sprintf("%s=%s/%s", a.IfName, Kind(a), a.Phase))
	}
	return strings.Join(parts, " ")
}

// Kind is what makes an attachment's interface: "exec" for a program.
func Kind(a ledger.Attachment) string {
	switch {
	case len(a.Members) == 0:
		return "nothing"
	case a.Members[0].Plugin == attach.PluginBinary:
		return "exec"
	}
	return a.Members[0].Plugin
}
