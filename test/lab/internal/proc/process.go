// Package proc starts the lab's processes, remembers them by pid and start time, and ends
// exactly those. A pid that another process has by now is left alone.
package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is one that the lab started.
type Process struct {
	Name      string   `json:"name"`
	PID       int      `json:"pid"`
	StartTime uint64   `json:"startTime"` // field 22 of /proc/PID/stat, clock ticks since boot
	Log       string   `json:"log"`
	Args      []string `json:"args"`
}

// Table is the folder of the records, one file per process.
type Table struct{ Dir string }

// Start runs a program detached from this one, with its output in log.
func (t Table) Start(name, log string, args ...string) (Process, error) {
	if err := os.MkdirAll(t.Dir, 0o755); err != nil {
		return Process{}, err
	}
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return Process{}, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return Process{}, err
	}
	defer out.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return Process{}, fmt.Errorf("start %s: %w", name, err)
	}
	p := Process{Name: name, PID: cmd.Process.Pid, Log: log, Args: args}
	p.StartTime, err = startTime(p.PID)
	if err == nil {
		err = t.write(p)
	}
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return Process{}, fmt.Errorf("record %s: %w", name, err)
	}
	go cmd.Wait() // so that a process that dies at once is no zombie that looks alive
	return p, nil
}

func (t Table) path(name string) string { return filepath.Join(t.Dir, name+".json") }

func (t Table) write(p Process) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(t.path(p.Name), b, 0o644)
}

// Get returns a recorded process; found is false if there is no record.
func (t Table) Get(name string) (p Process, found bool, err error) {
	b, err := os.ReadFile(t.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, false, fmt.Errorf("process record %s: %w", t.path(name), err)
	}
	return p, true, nil
}

// Running returns the recorded process if it still runs.
func (t Table) Running(name string) (Process, bool) {
	p, found, err := t.Get(name)
	return p, err == nil && found && p.Alive()
}

// List returns every recorded process, by name.
func (t Table) List() ([]Process, error) {
	files, err := filepath.Glob(filepath.Join(t.Dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var list []Process
	for _, f := range files {
		p, _, err := t.Get(strings.TrimSuffix(filepath.Base(f), ".json"))
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// Alive reports whether the pid still belongs to the process started.
func (p Process) Alive() bool {
	state, start, err := readStat(p.PID)
	return err == nil && start == p.StartTime && state != "Z"
}

// Stop ends a recorded process, by force after the grace time, and forgets it.
func (t Table) Stop(name string, grace time.Duration) error {
	p, found, err := t.Get(name)
	if err != nil || !found {
		return err
	}
	if p.Alive() {
		p.signal(syscall.SIGTERM)
		if !p.waitGone(grace) {
			p.signal(syscall.SIGKILL)
			if !p.waitGone(10 * time.Second) {
				return fmt.Errorf("%s (pid %d) does not end", name, p.PID)
			}
		}
	}
	return os.Remove(t.path(name))
}

// Kill ends a recorded process without warning.
func (t Table) Kill(name string) error {
	p, running := t.Running(name)
	if !running {
		return fmt.Errorf("%s does not run", name)
	}
	p.signal(syscall.SIGKILL)
	if !p.waitGone(10 * time.Second) {
		return fmt.Errorf("%s (pid %d) does not end", name, p.PID)
	}
	return os.Remove(t.path(name))
}

// Signal sends a signal to a recorded process.
func (t Table) Signal(name string, s syscall.Signal) error {
	p, running := t.Running(name)
	if !running {
		return fmt.Errorf("%s does not run", name)
	}
	return syscall.Kill(p.PID, s)
}

func (p Process) signal(s syscall.Signal) {
	if p.Alive() {
		syscall.Kill(p.PID, s) // gone in between is as good
	}
}

func (p Process) waitGone(limit time.Duration) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if !p.Alive() {
			return true
		}
	}
	return !p.Alive()
}

// ResidentMiB returns how much memory the process has.
func (p Process) ResidentMiB() int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kib / 1024
		}
	}
	return 0
}

func startTime(pid int) (uint64, error) {
	_, start, err := readStat(pid)
	return start, err
}

func readStat(pid int) (state string, start uint64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, err
	}
	return parseStat(string(b))
}

// parseStat reads fields 3 and 22 of /proc/PID/stat. Field 2, the name, may
// hold blanks and parentheses: fields are counted from the last one.
func parseStat(s string) (state string, start uint64, err error) {
	fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(fields) < 20 {
		return "", 0, fmt.Errorf("stat line %.40q is too short", s)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return fields[0], start, err
}
