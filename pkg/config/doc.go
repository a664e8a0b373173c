// Package config turns users' declarations (NICProfile YAML, the device plugin's ConfigMap)
// into one validated Model of this node's desired state.
//
// Parsing is strict. An unknown field, a value out of range or an unreadable selector is an
// error that names the source, the document, the field and the values that it may have. Every
// function returns either a complete result or an error, never part of a result: on an error, a
// caller keeps its present model.
//
// The package reads no NIC and talks to no API server. pkg/profile decides which PFs a profile
// selects, and whether two profiles claim the same PF.
package config
