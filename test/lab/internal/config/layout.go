// Package config defines the lab's parts: its nodes, addresses, ports
// and the places of its files. It does no I/O beyond reading and writing the
// record of the running lab.
package config

import (
	"fmt"
	"os"
	"path/filepath"
)

// CacheEnv overrides where the lab keeps everything it makes.
const CacheEnv = "FAIRLEAD_CACHE"

// maxSocketPath is the length of sun_path without the terminating zero.
const maxSocketPath = 107

// Layout names the lab's directories.
type Layout struct {
	Cache string // kept between runs, one folder per kind of artefact
	Run   string // the running lab: record, logs, sockets, overlays
}

// NewLayout reads the place of the cache from the environment.
func NewLayout() (Layout, error) {
	root := os.Getenv(CacheEnv)
	if root == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return Layout{}, fmt.Errorf("no place for the lab's cache: %w; set %s", err, CacheEnv)
		}
		root = filepath.Join(home, ".cache", "fairlead")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return Layout{}, fmt.Errorf("%s: %w", CacheEnv, err)
	}
	l := Layout{Cache: filepath.Join(root, "lab"), Run: filepath.Join(root, "lab", "run")}
	if s := l.Socket("qmp-node1"); len(s) > maxSocketPath {
		return Layout{}, fmt.Errorf("socket path %s is longer than %d bytes; set %s to a shorter directory", s, maxSocketPath, CacheEnv)
	}
	return l, nil
}

// Lock returns the path of the lock of the command that changes the lab.
func (l Layout) Lock() string { return filepath.Join(l.Cache, "lock") }

// InUse returns the path of the lock of tests or a demo that use the running lab.
func (l Layout) InUse() string { return filepath.Join(l.Cache, "in-use") }

// Socket returns the path of a unix socket of the running lab.
func (l Layout) Socket(name string) string { return filepath.Join(l.Run, name+".sock") }

// Log returns the path of a log file of the running lab.
func (l Layout) Log(name string) string { return filepath.Join(l.Run, "log", name+".log") }

// Overlay returns the path of a node's disk for this run.
func (l Layout) Overlay(node string) string { return filepath.Join(l.Run, node+".qcow2") }

// PKI returns the folder with the keys of this run.
func (l Layout) PKI() string { return filepath.Join(l.Run, "pki") }
