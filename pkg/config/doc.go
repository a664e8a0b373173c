// Package config turns what users declare (NICProfile YAML, the device plugin's
// ConfigMap) into one validated Model of this node's desired state.
//
// Parsing is strict: an unknown field, a value out of range or an unreadable
// selector is an error that names the source, the document, the field and what
// it may be. Every function returns either a complete result or an error, never
// part of a result, so that a caller who meets an error keeps the model it has.
//
// The package reads no NIC and talks to no API server: which PFs a profile
// selects, and whether two profiles claim one PF, is decided in pkg/profile.
package config
