package proc

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStartAndStop(t *testing.T) {
	table := Table{Dir: t.TempDir()}
	log := filepath.Join(t.TempDir(), "logs", "x.log")
	p, err := table.Start("x", log, "sh", "-c", "echo started; exec sleep 60")
	if err != nil {
		t.Fatal(err)
	}
	if got, running := table.Running("x"); !running || got.PID != p.PID {
		t.Errorf("running %v, pid %d, want %d", running, got.PID, p.PID)
	}
	for end := time.Now().Add(5 * time.Second); Tail(log, 1) != "started" && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if err := table.Stop("x", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if p.Alive() {
		t.Error("alive after Stop")
	}
	if list, err := table.List(); err != nil || len(list) != 0 {
		t.Errorf("records after Stop: %v, %v", list, err)
	}
	if got := Tail(log, 5); got != "started" {
		t.Errorf("log %q", got)
	}
}

// The soak stops the API server for a while.
func TestSignalStopsAndContinues(t *testing.T) {
	table := Table{Dir: t.TempDir()}
	p, err := table.Start("x", filepath.Join(t.TempDir(), "x.log"), "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		signal syscall.Signal
		state  string
	}{{syscall.SIGSTOP, "T"}, {syscall.SIGCONT, "S"}} {
		if err := table.Signal("x", step.signal); err != nil {
			t.Fatal(err)
		}
		state := ""
		for end := time.Now().Add(5 * time.Second); state != step.state && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if state, _, err = readStat(p.PID); err != nil {
				t.Fatal(err)
			}
		}
		if state != step.state {
			t.Errorf("state %s after %v, want %s", state, step.signal, step.state)
		}
	}
	if err := table.Stop("x", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := table.Signal("x", syscall.SIGCONT); err == nil {
		t.Error("a process that has ended took a signal")
	}
}

func TestStopInsists(t *testing.T) {
	table := Table{Dir: t.TempDir()}
	log := filepath.Join(t.TempDir(), "x.log")
	p, err := table.Start("x", log, "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done")
	if err != nil {
		t.Fatal(err)
	}
	for Tail(log, 1) != "deaf" {
		time.Sleep(10 * time.Millisecond)
	}
	if err := table.Stop("x", 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if p.Alive() {
		t.Error("a process that ignores SIGTERM is alive after Stop")
	}
}

// A pid that was given to another process must not be ended.
func TestStopLeavesStrangersAlone(t *testing.T) {
	table := Table{Dir: t.TempDir()}
	p, err := table.Start("x", filepath.Join(t.TempDir(), "x.log"), "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	stranger := p
	stranger.Name, stranger.StartTime = "stranger", p.StartTime+1
	if err := table.write(stranger); err != nil {
		t.Fatal(err)
	}
	if err := table.Stop("stranger", time.Second); err != nil {
		t.Fatal(err)
	}
	if !p.Alive() {
		t.Error("ended a process that was started at another time")
	}
	if err := table.Kill("x"); err != nil {
		t.Fatal(err)
	}
}

func TestParseStat(t *testing.T) {
	line := "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654 20"
	state, start, err := parseStat(line)
	if err != nil || state != "S" || start != 987654 {
		t.Errorf("state %q, start %d, %v", state, start, err)
	}
	if _, _, err := parseStat("42 (x) S 1"); err == nil {
		t.Error("no error for a short line")
	}
}

func TestCheckPortNamesTheHolder(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	err = CheckPort("tcp", addr)
	if err == nil || !strings.Contains(err.Error(), "pid "+strconv.Itoa(os.Getpid())+" ") {
		t.Errorf("error %v does not name this process, %d", err, os.Getpid())
	}
	l.Close()
	if err := CheckPort("tcp", addr); err != nil {
		t.Errorf("a free port: %v", err)
	}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := CheckPort("udp", c.LocalAddr().String()); err == nil || !strings.Contains(err.Error(), "pid "+strconv.Itoa(os.Getpid())+" ") {
		t.Errorf("udp: error %v does not name this process", err)
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("1\n2\n3\n4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := Tail(path, 2); got != "3\n4" {
		t.Errorf("tail %q", got)
	}
	if got := Tail(path+"-none", 2); !strings.Contains(got, "no such file") {
		t.Errorf("tail of nothing: %q", got)
	}
}
