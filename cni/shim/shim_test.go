package shim

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/cni/wire"
)

// call is one run of the shim: its environment, settings and config in, its output out.
type call struct {
	env       map[string]string
	config    wire.ShimConfig
	configErr error
	conf      map[string]any
	stdin     string // in place of conf
	socket    string
	dir       string // of tombstones
}

func newCall(t *testing.T, command string) *call {
	t.Helper()
	dir := t.TempDir()
	c := &call{
		env: map[string]string{"CNI_COMMAND": command, "CNI_CONTAINERID": "c0ffee", "CNI_NETNS": "/run/netns/x",
			"CNI_IFNAME": "eth0", "CNI_ARGS": "K8S_POD_NAME=p", "CNI_PATH": filepath.Join(dir, "bin")},
		conf:   map[string]any{"cniVersion": "1.0.0", "name": "fairlead", "type": "fairlead"},
		socket: filepath.Join(dir, "cni.sock"),
		dir:    filepath.Join(dir, "tombstones"),
	}
	c.config = wire.ShimConfig{Socket: c.socket, TombstoneDir: c.dir, TimeoutSeconds: 110}
	return c
}

func (c *call) run(t *testing.T, ctx context.Context) (exitCode int, stdout string) {
	t.Helper()
	stdin := c.stdin
	if stdin == "" {
		raw, err := json.Marshal(c.conf)
		if err != nil {
			t.Fatal(err)
		}
		stdin = string(raw)
	}
	var out bytes.Buffer
	s := Shim{Config: c.config, ConfigErr: c.configErr, Getenv: func(k string) string { return c.env[k] }, Environ: []string{"PATH=" + os.Getenv("PATH"), "CNI_COMMAND=stale"},
		Stdin: strings.NewReader(stdin), Stdout: &out, Now: func() time.Time { return time.Unix(0, 0).UTC() }}
	code := s.Run(ctx)
	return code, out.String()
}

// agent serves one conversation.
func (c *call) agent(t *testing.T, serve func(conn *wire.Conn, r wire.Request)) {
	t.Helper()
	l, err := net.Listen("unix", c.socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		conn := wire.NewConn(nc)
		defer conn.Close()
		m, err := conn.Receive()
		if err != nil || m.Request == nil {
			t.Errorf("first message: %+v, %v", m, err)
			return
		}
		serve(conn, *m.Request)
	}()
}

func reply(t *testing.T, conn *wire.Conn, stdout string, code int) {
	if err := conn.Send(wire.Message{Version: 1, Reply: &wire.Reply{Stdout: []byte(stdout), ExitCode: code}}); err != nil {
		t.Error(err)
	}
}

func TestVersionNeedsNoAgent(t *testing.T) {
	for _, stdin := range []string{`{"cniVersion":"0.4.0"}`, ``, `nonsense`} {
		c := newCall(t, "VERSION")
		c.stdin = stdin + " "
		code, out := c.run(t, t.Context())
		var v struct {
			CNIVersion        string   `json:"cniVersion"`
			SupportedVersions []string `json:"supportedVersions"`
		}
		if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 {
			t.Fatalf("%q: %d, %s, %v", stdin, code, out, err)
		}
		if len(v.SupportedVersions) != 5 || v.CNIVersion == "" {
			t.Errorf("%q: %+v", stdin, v)
		}
	}
}

func TestRequestAndReply(t *testing.T) {
	c := newCall(t, "ADD")
	c.config.TimeoutSeconds = 7
	c.agent(t, func(conn *wire.Conn, r wire.Request) {
		if r.Command != "ADD" || r.ContainerID != "c0ffee" || r.Netns != "/run/netns/x" || r.IfName != "eth0" ||
			r.Args != "K8S_POD_NAME=p" || r.TimeoutMillis != 7000 || !json.Valid(r.Stdin) {
			t.Errorf("request: %+v", r)
		}
		reply(t, conn, `{"ips":[]}`, 3)
	})
	if code, out := c.run(t, t.Context()); code != 3 || out != `{"ips":[]}` {
		t.Errorf("got %d, %q", code, out)
	}
}

func TestWithoutAgent(t *testing.T) {
	tests := []struct {
		command string
		code    float64
	}{{"ADD", 11}, {"CHECK", 11}, {"GC", 11}, {"STATUS", 50}}
	for _, tt := range tests {
		t.Run(tt.command, func(t *testing.T) {
			c := newCall(t, tt.command)
			code, out := c.run(t, t.Context())
			var e map[string]any
			if err := json.Unmarshal([]byte(out), &e); err != nil || code != 1 {
				t.Fatalf("%d, %s, %v", code, out, err)
			}
			msg, _ := e["msg"].(string)
			if e["code"] != tt.code || e["cniVersion"] != "1.0.0" || !strings.Contains(msg, c.socket) || !strings.Contains(msg, "kubectl get pods") {
				t.Errorf("got %s; want code %v, the socket and a remedy", out, tt.code)
			}
		})
	}
}

// m#669, m#1239: with no agent a DEL succeeds, and is not forgotten.
func TestDelWithoutAgent(t *testing.T) {
	agents := map[string]func(t *testing.T, c *call){
		"no socket":        func(*testing.T, *call) {},
		"nobody listening": func(t *testing.T, c *call) { staleSocket(t, c.socket) },
		"agent dies midway": func(t *testing.T, c *call) {
			c.agent(t, func(conn *wire.Conn, _ wire.Request) {})
		},
		"agent speaks nonsense": func(t *testing.T, c *call) {
			c.agent(t, func(conn *wire.Conn, r wire.Request) {
				_ = conn.Send(wire.Message{Request: &r})
			})
		},
	}
	for name, start := range agents {
		t.Run(name, func(t *testing.T) {
			c := newCall(t, "DEL")
			c.env["CNI_NETNS"] = ""
			start(t, c)
			code, out := c.run(t, t.Context())
			if code != 0 || out != "" {
				t.Fatalf("got %d, %q", code, out)
			}
			tombs, err := (wire.Tombstones{Dir: c.dir}).List()
			if err != nil || len(tombs) != 1 {
				t.Fatalf("tombstones: %+v, %v", tombs, err)
			}
			r := tombs[0].Request
			if r.ContainerID != "c0ffee" || r.Command != "DEL" || r.Path != c.env["CNI_PATH"] || tombs[0].Reason == "" {
				t.Errorf("tombstone: %+v", tombs[0])
			}
		})
	}
}

func staleSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDelThatCannotBeKept(t *testing.T) {
	c := newCall(t, "DEL")
	if err := os.WriteFile(c.dir, nil, 0o600); err != nil { // a file where the directory should be
		t.Fatal(err)
	}
	code, out := c.run(t, t.Context())
	if code == 0 || !strings.Contains(out, `"code":5`) || !strings.Contains(out, c.dir) {
		t.Errorf("got %d, %s", code, out)
	}
}

func TestAddWaitsForTheAgent(t *testing.T) {
	c := newCall(t, "ADD")
	c.config.AgentTimeoutSeconds = 60
	staleSocket(t, c.socket)
	go func() { // the agent comes up while the shim waits
		if err := os.Remove(c.socket); err != nil {
			t.Error(err)
		}
		c.agent(t, func(conn *wire.Conn, _ wire.Request) { reply(t, conn, "late", 0) })
	}()
	if code, out := c.run(t, t.Context()); code != 0 || out != "late" {
		t.Errorf("got %d, %q", code, out)
	}
}

// CNI: a runtime's TRACEPARENT, and whatever else is not of CNI, reaches the plugins.
func TestEnvironmentOfPlugins(t *testing.T) {
	got := environment([]string{"PATH=/usr/bin", "TRACEPARENT=00-4bf92f-00f067-01", "CNI_COMMAND=ADD", "CNI_IFNAME=eth0"},
		[]string{"CNI_COMMAND=ADD", "CNI_IFNAME=net1", "CNI_PATH=/tmp", "TRACEPARENT=of the agent"}, "/opt/cni/bin")
	want := []string{"PATH=/usr/bin", "TRACEPARENT=00-4bf92f-00f067-01", "CNI_COMMAND=ADD", "CNI_IFNAME=net1", "CNI_PATH=/opt/cni/bin"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBadEnvironment(t *testing.T) {
	tests := map[string]struct{ key, value, want string }{
		"no command":      {"CNI_COMMAND", "", "CNI_COMMAND"},
		"unknown command": {"CNI_COMMAND", "FROB", "CNI_COMMAND"},
		"bad id":          {"CNI_CONTAINERID", "../x", "CNI_CONTAINERID"},
		"no interface":    {"CNI_IFNAME", "", "CNI_IFNAME"},
		"no netns":        {"CNI_NETNS", "", "CNI_NETNS"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCall(t, "ADD")
			c.env[tt.key] = tt.value
			code, out := c.run(t, t.Context())
			if code != 1 || !strings.Contains(out, `"code":4`) || !strings.Contains(out, tt.want) {
				t.Errorf("got %d, %s", code, out)
			}
		})
	}
	c := newCall(t, "ADD")
	c.stdin = "{"
	if code, out := c.run(t, t.Context()); code != 1 || !strings.Contains(out, `"code":6`) {
		t.Errorf("bad config: got %d, %s", code, out)
	}
}

func (c *call) plugin(t *testing.T, name, script string) {
	t.Helper()
	if err := os.MkdirAll(c.env["CNI_PATH"], 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.env["CNI_PATH"], name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestRunsPlugins(t *testing.T) {
	c := newCall(t, "ADD")
	c.plugin(t, "echo", `read x; echo "$CNI_COMMAND $CNI_IFNAME $x"; echo oops >&2; exit 3`)
	c.agent(t, func(conn *wire.Conn, r wire.Request) {
		runs := []wire.Run{
			{ID: 1, Plugin: "echo", Path: r.Path, Env: []string{"CNI_COMMAND=DEL", "CNI_IFNAME=net1"}, Stdin: []byte("hello\n")},
			{ID: 2, Plugin: "absent", Path: r.Path},
			{ID: 3, Plugin: "../echo", Path: r.Path},
		}
		for i := range runs {
			if err := conn.Send(wire.Message{Version: 1, Run: &runs[i]}); err != nil {
				t.Error(err)
			}
		}
		got := map[int]wire.Ran{}
		for range runs {
			m, err := conn.Receive()
			if err != nil || m.Ran == nil {
				t.Errorf("%+v, %v", m, err)
				break
			}
			got[m.Ran.ID] = *m.Ran
		}
		if r := got[1]; string(r.Stdout) != "DEL net1 hello\n" || string(r.Stderr) != "oops\n" || r.ExitCode != 3 || r.Error != "" {
			t.Errorf("echo: %+v", r)
		}
		for _, id := range []int{2, 3} {
			if r := got[id]; !r.NotFound || r.Error == "" {
				t.Errorf("run %d: %+v", id, r)
			}
		}
		reply(t, conn, "", 0)
	})
	if code, _ := c.run(t, t.Context()); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// However a run ends early, the plugin and its children are dead: the FIFO
// that they hold open is closed.
func TestKillsTheWholeGroup(t *testing.T) {
	ends := map[string]func(t *testing.T, conn *wire.Conn, cancel func()){
		"cancelled by the agent": func(t *testing.T, conn *wire.Conn, _ func()) {
			if err := conn.Send(wire.Message{Version: 1, Cancel: &wire.Cancel{ID: 1}}); err != nil {
				t.Error(err)
			}
			m, err := conn.Receive()
			if err != nil || m.Ran == nil || !strings.Contains(m.Ran.Error, "killed") {
				t.Errorf("got %+v, %v", m.Ran, err)
			}
		},
		"agent gone":    func(_ *testing.T, conn *wire.Conn, _ func()) { _ = conn.Close() },
		"agent replied": func(t *testing.T, conn *wire.Conn, _ func()) { reply(t, conn, "", 0) },
		"shim ended":    func(_ *testing.T, _ *wire.Conn, cancel func()) { cancel() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			c := newCall(t, "ADD")
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			c.plugin(t, "hang", "exec 3>"+fifo+"; echo up >&3; sleep 1000 & sleep 1000")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c.agent(t, func(conn *wire.Conn, r wire.Request) {
				if err := conn.Send(wire.Message{Version: 1, Run: &wire.Run{ID: 1, Plugin: "hang", Path: r.Path}}); err != nil {
					t.Error(err)
				}
				f, err := os.Open(fifo)
				if err != nil {
					t.Error(err)
					return
				}
				defer f.Close()
				buf := make([]byte, 3)
				if _, err := f.Read(buf); err != nil { // the plugin runs
					t.Error(err)
				}
				end(t, conn, cancel)
				if n, _ := f.Read(buf); n != 0 { // returns when the last holder is dead
					t.Errorf("read %q", buf[:n])
				}
			})
			c.run(t, ctx)
		})
	}
}

func TestRunDeadline(t *testing.T) {
	c := newCall(t, "ADD")
	c.plugin(t, "hang", "sleep 1000")
	c.agent(t, func(conn *wire.Conn, r wire.Request) {
		if err := conn.Send(wire.Message{Version: 1, Run: &wire.Run{ID: 1, Plugin: "hang", Path: r.Path, TimeoutMillis: 1}}); err != nil {
			t.Error(err)
		}
		m, err := conn.Receive()
		if err != nil || m.Ran == nil || m.Ran.Error == "" {
			t.Errorf("got %+v, %v", m.Ran, err)
		}
		reply(t, conn, "", 0)
	})
	c.run(t, t.Context())
}
