package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/test/lab/internal/agentapi"
)

func newAgent(t *testing.T, units ...unit) agentapi.Client {
	t.Helper()
	s := &supervisor{logDir: t.TempDir(), units: units, state: map[string]*agentapi.Service{}}
	for _, u := range units {
		s.state[u.Name] = &agentapi.Service{Name: u.Name, Log: filepath.Join(s.logDir, u.Name+".log")}
	}
	s.startAll()
	server := httptest.NewServer(handler("secret", s))
	t.Cleanup(server.Close)
	return agentapi.Client{Addr: strings.TrimPrefix(server.URL, "http://"), Token: "secret"}
}

func TestExec(t *testing.T) {
	agent := newAgent(t)
	for _, c := range []struct {
		command, stdin, stdout, stderr string
		code                           int
	}{
		{command: "echo out; echo err >&2", stdout: "out\n", stderr: "err\n"},
		{command: "exit 7", code: 7},
		{command: "kill -9 $$", code: 137},
		{command: "cat", stdin: "from the host", stdout: "from the host"},
		{command: "printf '%s' \"a'b\\\"c $((1+1))\"", stdout: `a'b"c 2`},
	} {
		var stdout, stderr bytes.Buffer
		err := agent.Exec(t.Context(), c.command, strings.NewReader(c.stdin), &stdout, &stderr)
		var exit *agentapi.ExitError
		code := 0
		if errors.As(err, &exit) {
			code = exit.Code
		} else if err != nil {
			t.Errorf("%s: %v", c.command, err)
		}
		if code != c.code || stdout.String() != c.stdout || stderr.String() != c.stderr {
			t.Errorf("%s: code %d, stdout %q, stderr %q", c.command, code, stdout.String(), stderr.String())
		}
	}
}

func TestExecEndsWithItsCaller(t *testing.T) {
	agent := newAgent(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	err := agent.Exec(ctx, "echo $$ >"+pidFile+"; sleep 60", nil, &bytes.Buffer{}, &bytes.Buffer{})
	if err == nil {
		t.Fatal("no error from a command that was cut off")
	}
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat("/proc/" + strings.TrimSpace(string(pid))); err != nil {
			return
		}
	}
	t.Error("the command outlives the host's request")
}

func TestWrongToken(t *testing.T) {
	agent := newAgent(t)
	agent.Token = "guess"
	if _, err := agent.Services(t.Context()); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("wrong token: %v, want 403", err)
	}
}

func TestPut(t *testing.T) {
	agent := newAgent(t)
	path := filepath.Join(t.TempDir(), "new", "file")
	if err := agent.Put(t.Context(), path, 0o750, strings.NewReader("content")); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || string(b) != "content" {
		t.Errorf("content %q, %v", b, err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o750 {
		t.Errorf("mode %v, want 0750", info.Mode().Perm())
	}
	if err := agent.Put(t.Context(), "relative", 0o644, strings.NewReader("")); err == nil {
		t.Error("no error for a relative path")
	}
}

func TestDialFromNode(t *testing.T) {
	agent := newAgent(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends with the listener
		if c, err := l.Accept(); err == nil {
			c.Write([]byte("hello"))
			c.Close()
		}
	}()
	c, err := agent.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 5)
	if _, err := c.Read(b); err != nil || string(b) != "hello" {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestServiceComesBack(t *testing.T) {
	agent := newAgent(t, unit{Name: "sleeper", Args: []string{"sleep", "60"}})
	first := waitPID(t, agent, 0)
	if err := agent.Control(t.Context(), "sleeper", "kill"); err != nil {
		t.Fatal(err)
	}
	second := waitPID(t, agent, first)
	if err := agent.Control(t.Context(), "sleeper", "stop"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * restartDelay)
	if list, err := agent.Services(t.Context()); err != nil || list[0].PID != 0 {
		t.Errorf("after stop: %+v, %v, want no process", list, err)
	}
	if err := agent.Control(t.Context(), "sleeper", "start"); err != nil {
		t.Fatal(err)
	}
	waitPID(t, agent, second)
	if err := agent.Control(t.Context(), "sleeper", "stop"); err != nil {
		t.Fatal(err)
	}
	if err := agent.Control(t.Context(), "nobody", "stop"); err == nil {
		t.Error("no error for an unknown service")
	}
}

// waitPID waits until the only service runs with another pid than before.
func waitPID(t *testing.T, agent agentapi.Client, before int) int {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		list, err := agent.Services(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if pid := list[0].PID; pid != 0 && pid != before {
			return pid
		}
	}
	t.Fatalf("no new process after pid %d", before)
	return 0
}
