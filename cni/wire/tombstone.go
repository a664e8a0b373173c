package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fairlead.dev/fairlead/pkg/host/file"
)

// Tombstone is a DEL that the shim answered in place of an agent that was away.
// The agent replays it before it serves.
type Tombstone struct {
	Version int       `json:"version"`
	Request Request   `json:"request"`
	At      time.Time `json:"at"`
	Reason  string    `json:"reason"` // why the agent was not asked

	// Damage is set by List if the file cannot be read; ContainerID and IfName
	// are then known from its name, and that is enough for a DEL from the ledger.
	Damage string `json:"-"`
}

// Tombstones is the directory they lie in.
type Tombstones struct{ Dir string }

const tombstoneSuffix = ".json"

// Write leaves a tombstone, durable on return. A second one for the same
// interface of the same sandbox takes the place of the first.
func (t Tombstones) Write(tomb Tombstone) error {
	name, err := fileName(tomb.Request)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(tomb)
	if err != nil {
		return fmt.Errorf("encoding a tombstone: %w", err)
	}
	if err := os.MkdirAll(t.Dir, 0o700); err != nil {
		return fmt.Errorf("making the tombstone directory: %w", err)
	}
	return file.Replace(filepath.Join(t.Dir, name), raw, 0o600)
}

// List reads all tombstones, in the order of their file names. Half-written
// files of a shim that was killed are not tombstones: its DEL did not succeed.
func (t Tombstones) List() ([]Tombstone, error) {
	entries, err := os.ReadDir(t.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing tombstones: %w", err)
	}
	var all []Tombstone
	for _, entry := range entries {
		containerID, ifName, ok := parseFileName(entry.Name())
		if ok {
			all = append(all, t.read(entry.Name(), containerID, ifName))
		}
	}
	return all, nil
}

func (t Tombstones) read(name, containerID, ifName string) Tombstone {
	var tomb Tombstone
	raw, err := os.ReadFile(filepath.Join(t.Dir, name))
	if err == nil {
		err = json.Unmarshal(raw, &tomb)
	}
	if err == nil && (tomb.Request.ContainerID != containerID || tomb.Request.IfName != ifName) {
		err = fmt.Errorf("content is of sandbox %q, interface %q", tomb.Request.ContainerID, tomb.Request.IfName)
	}
	if err != nil {
		tomb = Tombstone{Damage: err.Error()}
		tomb.Request.Command, tomb.Request.ContainerID, tomb.Request.IfName = "DEL", containerID, ifName
	}
	return tomb
}

// Remove deletes a tombstone. It is no error if the tombstone does not exist.
func (t Tombstones) Remove(tomb Tombstone) error {
	name, err := fileName(tomb.Request)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(t.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a tombstone: %w", err)
	}
	return file.SyncDir(t.Dir)
}

// fileName is <container id>@<interface>.json: '@' is in no container id.
func fileName(r Request) (string, error) {
	if !ValidContainerID(r.ContainerID) || !ValidIfName(r.IfName) {
		return "", fmt.Errorf("no tombstone can be written for container id %q, interface %q", r.ContainerID, r.IfName)
	}
	return r.ContainerID + "@" + r.IfName + tombstoneSuffix, nil
}

func parseFileName(name string) (containerID, ifName string, ok bool) {
	base, isTomb := strings.CutSuffix(name, tombstoneSuffix)
	containerID, ifName, found := strings.Cut(base, "@")
	return containerID, ifName, isTomb && found && ValidContainerID(containerID) && ValidIfName(ifName)
}
