package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// State is the record of a running lab, written when it is up and read by
// whoever wants to use it.
type State struct {
	Started    time.Time `json:"started"`
	Ports      Ports     `json:"ports"`
	Token      string    `json:"token"` // the guest agents' password
	Kubeconfig string    `json:"kubeconfig"`
	Kubectl    string    `json:"kubectl"`
	Nodes      []string  `json:"nodes"`
	Accel      string    `json:"accel"`
	Disk       string    `json:"disk"`   // base disk of the nodes
	Kernel     string    `json:"kernel"` // kernel image of the nodes
	Initramfs  string    `json:"initramfs"`
	Ready      bool      `json:"ready"` // everything came up once
}

// ErrNotRunning means that no lab was started, or that it was taken down.
var ErrNotRunning = errors.New("the lab is not running; start it with: go run ./test/lab up")

func (l Layout) statePath() string { return filepath.Join(l.Run, "lab.json") }

// ReadState returns the record of the running lab, or ErrNotRunning.
func (l Layout) ReadState() (State, error) {
	var s State
	b, err := os.ReadFile(l.statePath())
	if errors.Is(err, fs.ErrNotExist) {
		return s, ErrNotRunning
	}
	if err != nil {
		return s, fmt.Errorf("read the lab's record: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("the lab's record %s is damaged: %w; run: go run ./test/lab down", l.statePath(), err)
	}
	return s, nil
}

// WriteState replaces the record in one step.
func (l Layout) WriteState(s State) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := l.statePath() + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the lab's record: %w", err)
	}
	return os.Rename(tmp, l.statePath())
}
