package cni

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/cni/shim"
	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/sandbox"
	"fairlead.dev/fairlead/pkg/sandbox/sandboxtest"
)

// plugin is a CNI plugin of a few lines: it keeps a log and answers as bridge does.
const plugin = `#!/bin/sh
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $(basename $0) $MARK" >> LOG
case "$CNI_COMMAND" in
ADD) echo '{"cniVersion":"1.0.0","interfaces":[{"name":"'$CNI_IFNAME'","sandbox":"'$CNI_NETNS'"}],"ips":[]}';;
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}';;
esac
`

// live is a node whose plugins are real programs, run by the shim over a real socket.
type live struct {
	*node
	bin, log string
	stop     func()
}

func newLive(t testing.TB) *live {
	t.Helper()
	n := newNode(t)
	l := &live{node: n, bin: filepath.Join(n.dir, "bin"), log: filepath.Join(n.dir, "log")}
	for _, name := range []string{"bridge", "portmap"} {
		l.plugin(name, plugin)
	}
	n.open(func(o *sandbox.Options) { o.HostExec, o.PluginPath = &HostExec{}, l.bin })
	l.start()
	return l
}

func (l *live) plugin(name, script string) {
	l.t.Helper()
	if err := os.MkdirAll(l.bin, 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.bin, name), []byte(strings.ReplaceAll(script, "LOG", l.log)), 0o755); err != nil {
		l.t.Fatal(err)
	}
}

func (l *live) start() {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- l.server.Serve(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		l.t.Fatal(err)
	}
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
	})
	l.t.Cleanup(l.stop)
}

// shim runs the shim as the runtime would, within this process.
func (l *live) shim(ctx context.Context, command, id, pod string) (int, string) {
	return l.shimIn(ctx, command, id, pod, "/run/netns/"+id)
}

// shimIn is shim for a namespace at a path of its own.
func (l *live) shimIn(ctx context.Context, command, id, pod, netns string) (int, string) {
	env := map[string]string{"CNI_COMMAND": command, "CNI_CONTAINERID": id, "CNI_NETNS": netns, "CNI_IFNAME": "eth0",
		"CNI_PATH": l.bin, "CNI_ARGS": "K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + pod + ";K8S_POD_UID=uid-" + pod}
	var out bytes.Buffer
	s := shim.Shim{Config: l.settings(), Getenv: func(k string) string { return env[k] }, Environ: []string{"PATH=" + os.Getenv("PATH"), "MARK=by-the-shim"},
		Stdin: strings.NewReader(l.conf()), Stdout: &out, Now: time.Now}
	code := s.Run(ctx)
	return code, out.String()
}

func (l *live) conf() string { return `{"cniVersion":"1.0.0","name":"fairlead","type":"fairlead"}` }

func (l *live) settings() wire.ShimConfig {
	return wire.ShimConfig{Socket: l.server.o.Socket, TombstoneDir: l.server.o.Tombstones.Dir, TimeoutSeconds: 110}
}

func (l *live) lines() string {
	l.t.Helper()
	raw, err := os.ReadFile(l.log)
	if err != nil && !os.IsNotExist(err) {
		l.t.Fatal(err)
	}
	return string(raw)
}

func TestShimAndServer(t *testing.T) {
	l := newLive(t)
	l.pod("p", "fast, bridge-conf", vf1)
	code, out := l.shim(t.Context(), "ADD", "c1", "p")
	if code != 0 || !strings.Contains(out, `"name": "eth0"`) {
		t.Fatalf("ADD: %d, %s", code, out)
	}
	// m#1346: plugins run by the shim, in the runtime's cgroup and the host's
	// namespaces, with the runtime's environment.
	want := "ADD c1 eth0 bridge by-the-shim\nADD c1 eth0 portmap by-the-shim\nADD c1 net2 bridge by-the-shim\n"
	if got := l.lines(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	for _, command := range []string{"CHECK", "STATUS", "DEL", "DEL"} {
		if code, out := l.shim(t.Context(), command, "c1", "p"); code != 0 {
			t.Errorf("%s: %d, %s", command, code, out)
		}
	}
	l.wantClean()
	if code, out := l.shim(t.Context(), "ADD", "c2", "nosuch"); code != 1 || !strings.Contains(out, "pod default/nosuch") || !strings.Contains(out, `"code":11`) {
		t.Errorf("unknown pod: %d, %s", code, out)
	}
}

func TestSocketIsRoots(t *testing.T) {
	l := newLive(t)
	info, err := os.Stat(l.server.o.Socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// The agent restarts while a pod is deleted: the DEL succeeds, and is replayed
// before the next agent serves, by a program that is run without a shim.
func TestRestartAndTombstone(t *testing.T) {
	l := newLive(t)
	l.pod("p", "fast, bridge-conf", vf1)
	l.pod("q", "macvlan-conf")
	if code, out := l.shim(t.Context(), "ADD", "c1", "p"); code != 0 {
		t.Fatal(out)
	}
	if code, out := l.shim(t.Context(), "ADD", "c2", "q"); code != 0 {
		t.Fatal(out)
	}
	l.stop()
	if code, out := l.shim(t.Context(), "DEL", "c1", "p"); code != 0 || out != "" {
		t.Fatalf("DEL without an agent: %d, %s", code, out)
	}
	if l.world.VFs[vf1] != "c1" {
		t.Error("released without an agent?")
	}
	l.start()
	if _, ok, err := l.ledger.Sandbox("c1"); ok || err != nil || l.world.VFs[vf1] != "" {
		t.Errorf("not released when the agent served again: %v", err)
	}
	if !strings.Contains(l.lines(), "DEL c1 net2 bridge \nDEL c1 eth0 portmap \nDEL c1 eth0 bridge \n") {
		t.Errorf("programs:\n%s", l.lines())
	}
	if s := l.sandbox("c2"); !bound(s) {
		t.Errorf("the running pod was touched: %s", sandboxtest.Describe(s))
	}
	if code, out := l.shim(t.Context(), "DEL", "c2", "q"); code != 0 {
		t.Fatal(out)
	}
	l.wantClean()
}

// The runtime gives up in the middle of a program: the program is killed, and
// programs that are run without the shim undo the networks.
func TestRuntimeGivesUp(t *testing.T) {
	l := newLive(t)
	fifo := filepath.Join(l.dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	l.plugin("slow", strings.Replace(plugin, "case", `[ "$CNI_COMMAND" = ADD ] && { echo up > `+fifo+`; sleep 1000; }`+"\ncase", 1))
	l.nad("slow", "", `{"cniVersion":"1.0.0","type":"slow"}`)
	l.pod("p", "fast, slow", vf1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		f, err := os.Open(fifo)
		if err == nil {
			_, _ = f.Read(make([]byte, 3)) // the plugin is at work
			_ = f.Close()
		}
		cancel()
	}()
	if code, out := l.shim(ctx, "ADD", "c1", "p"); code != 1 || !strings.Contains(out, `"code":11`) {
		t.Errorf("%d, %s", code, out)
	}
	l.stop() // waits for the undo
	l.wantClean()
	if !strings.Contains(l.lines(), "DEL c1 net2 slow \n") || !strings.Contains(l.lines(), "DEL c1 eth0 bridge \n") {
		t.Errorf("programs:\n%s", l.lines())
	}
}

// m#1213: an error that says what to do; and a DEL works across any skew.
func TestVersionSkew(t *testing.T) {
	l := newLive(t)
	l.pod("p", "bridge-conf")
	if code, out := l.shim(t.Context(), "ADD", "c1", "p"); code != 0 {
		t.Fatal(out)
	}
	future := func(command string) wire.Reply {
		nc, err := net.Dial("unix", l.server.o.Socket)
		if err != nil {
			t.Fatal(err)
		}
		conn := wire.NewConn(nc)
		defer conn.Close()
		r := l.request(command, "c1", "p")
		r.MinVersion, r.Path = wire.Version+1, l.bin
		if err := conn.Send(wire.Message{Version: wire.Version + 2, Request: &r}); err != nil {
			t.Fatal(err)
		}
		m, err := conn.Receive()
		if err != nil || m.Reply == nil {
			t.Fatalf("%+v, %v", m, err)
		}
		return *m.Reply
	}
	if r := future("CHECK"); r.ExitCode != 1 || !strings.Contains(string(r.Stdout), "restart the agent") {
		t.Errorf("CHECK: %+v", r)
	}
	if r := future("DEL"); r.ExitCode != 0 {
		t.Errorf("DEL: %s", r.Stdout)
	}
	l.wantClean()
}

func TestNonsenseOnTheSocket(t *testing.T) {
	l := newLive(t)
	for _, text := range []string{"", "GET / HTTP/1.1\r\n\r\n", "\x00\x00\x00\x02{}", "\xff\xff\xff\xff"} {
		nc, err := net.Dial("unix", l.server.o.Socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := nc.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("%q was answered", text)
		}
		_ = nc.Close()
	}
	l.pod("p", "")
	if code, out := l.shim(t.Context(), "ADD", "c1", "p"); code != 0 {
		t.Errorf("after nonsense: %s", out)
	}
}

// A second agent takes the socket over in one step, and the first one's end does
// not remove it.
func TestSocketTakenOver(t *testing.T) {
	l := newLive(t)
	first := l.stop
	l.start()
	first()
	l.pod("p", "")
	if code, out := l.shim(t.Context(), "ADD", "c1", "p"); code != 0 {
		t.Errorf("%s", out)
	}
}

func BenchmarkAddDelInAgent(b *testing.B) {
	n := newNode(b)
	n.pod("p", "fast", vf1)
	add, del := n.request("ADD", "c1", "p"), n.request("DEL", "c1", "p")
	for b.Loop() {
		if _, err := n.serve(b.Context(), add); err != nil {
			b.Fatal(err)
		}
		if _, err := n.serve(b.Context(), del); err != nil {
			b.Fatal(err)
		}
	}
}

// The shim as a process: start, one round trip (a CHECK of a sandbox that is not
// there, which the agent answers at once), end.
func BenchmarkShimRoundTrip(b *testing.B) {
	l := newLive(b)
	file := filepath.Join(l.dir, "fairlead")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "fairlead.dev/fairlead/cmd/fairlead-cni")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	if _, err := l.settings().Install(l.dir); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		cmd := exec.Command(file)
		cmd.Env = []string{"CNI_COMMAND=CHECK", "CNI_CONTAINERID=c9", "CNI_NETNS=/x", "CNI_IFNAME=eth0", "CNI_PATH=" + l.bin}
		cmd.Stdin = strings.NewReader(l.conf())
		if out, _ := cmd.Output(); !strings.Contains(string(out), "not in the ledger") {
			b.Fatalf("%s", out)
		}
	}
	b.ReportMetric(float64(info.Size())/(1<<20), "MiB")
}

func bound(s ledger.Sandbox) bool {
	return len(s.Attachments) > 0 && !slices.ContainsFunc(s.Attachments, func(a ledger.Attachment) bool { return a.Phase != ledger.Bound })
}
