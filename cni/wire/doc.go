// Package wire is the protocol between the shim and the agent: the messages on the unix
// socket, the shim's settings file, and the tombstones that the shim leaves if there is
// no agent to talk to. It also has what both must agree on: Fairlead's own plugin type, and
// which plugins may not be run. It imports the standard library only, because the shim
// links it.
//
// A conversation is one Request from the shim, any number of Run and Cancel from
// the agent, each Run answered by one Ran, and one Reply. Each message is a frame:
// its length in four bytes, big endian, then that many bytes of JSON.
package wire

// The protocol versions that this build speaks. Shim and agent are replaced at
// different moments, so one release must talk to the next. A new field is ignored by
// those who do not know it. A change that cannot be ignored raises Version, and
// MinVersion follows a release later.
const (
	Version    = 1
	MinVersion = 1
)

// MaxFrame bounds a frame. A GC request lists every attachment of the node, about
// 120 bytes each; nothing else comes near.
const MaxFrame = 8 << 20

// Defaults that shim and agent share; the shim's settings override them.
const (
	DefaultSocket       = "/run/fairlead/cni.sock"
	DefaultTombstoneDir = "/var/lib/fairlead/tombstones"
)
