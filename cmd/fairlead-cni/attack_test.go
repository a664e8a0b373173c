package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	cnirun "fairlead.dev/fairlead/cni/run"
	"fairlead.dev/fairlead/cni/wire"
)

// installation is the real shim in a directory of its own, with its settings, and a
// tenant who owns a socket, a directory with a program, and a network's config.
type installation struct {
	bin       string
	agent     string // the agent's socket; nobody listens
	tombs     string
	tenant    string // the tenant's directory
	socket    string // in it
	connected chan struct{}
}

func install(t *testing.T) *installation {
	t.Helper()
	dir := t.TempDir()
	i := &installation{bin: filepath.Join(dir, "bin"), agent: filepath.Join(dir, "agent.sock"), tombs: filepath.Join(dir, "tombstones"),
		tenant: filepath.Join(dir, "empty-dir"), connected: make(chan struct{}, 16)}
	i.socket = filepath.Join(i.tenant, "s")
	for _, d := range []string{i.bin, i.tenant} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(d, 0o755); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
	i.dependOnSources(t)
	build := exec.Command("go", "build", "-o", filepath.Join(i.bin, "fairlead"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	settings := wire.ShimConfig{Socket: i.agent, TombstoneDir: i.tombs, TimeoutSeconds: 10}
	if _, err := settings.Install(i.bin); err != nil {
		t.Fatal(err)
	}
	i.program(t, filepath.Join(i.tenant, "evil"), "id -u > "+i.proof())
	i.listen(t)
	return i
}

// dependOnSources looks at the shim's sources, so that go test does not take its cached
// result for another shim's.
func (i *installation) dependOnSources(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("../../cni/*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			t.Fatal(err)
		}
	}
}

// proof is the file that the tenant's program writes if it is run.
func (i *installation) proof() string { return filepath.Join(i.tenant, "proof") }

func (i *installation) program(t *testing.T, path, script string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// listen answers on the tenant's socket as an agent would, with an order to run evil.
func (i *installation) listen(t *testing.T) {
	t.Helper()
	l, err := net.Listen("unix", i.socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-ended })
	go func() { // ends with the listener
		defer close(ended)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			i.connected <- struct{}{}
			conn := wire.NewConn(nc)
			if _, err := conn.Receive(); err == nil {
				_ = conn.Send(wire.Message{Version: 1, Run: &wire.Run{ID: 1, Plugin: "evil", Path: i.tenant}})
				_, _ = conn.Receive()
				_ = conn.Send(wire.Message{Version: 1, Reply: &wire.Reply{Stdout: []byte(`{"cniVersion":"1.0.0"}`)}})
			}
			_ = conn.Close()
		}
	}()
}

func (i *installation) environ(command string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "CNI_COMMAND=" + command, "CNI_CONTAINERID=0c0ffee", "CNI_NETNS=/run/netns/x", "CNI_IFNAME=net1",
		"CNI_PATH=" + i.bin}
}

func (i *installation) call(t *testing.T, command, stdin string) (int, string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(i.bin, "fairlead"))
	cmd.Env, cmd.Stdin = i.environ(command), strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// untouched verifies that the tenant has got nothing.
func (i *installation) untouched(t *testing.T) {
	t.Helper()
	select {
	case <-i.connected:
		t.Error("the shim has connected to the tenant's socket")
	default:
	}
	if uid, err := os.ReadFile(i.proof()); !os.IsNotExist(err) {
		t.Errorf("the tenant's program was run as uid %s, %v", bytes.TrimSpace(uid), err)
	}
}

// S1: configs as the shim gets them from a plugin that has it as IPAM plugin or delegate,
// and even as if they came from the runtime.
func TestTheShimTakesNoOrdersFromATenant(t *testing.T) {
	i := install(t)
	evil := `"agentTimeoutSeconds":0,"socket":"` + i.socket + `","tombstoneDir":"` + i.tenant + `/tombs"`
	configs := map[string]string{
		"(a) ipam twice":         `{"cniVersion":"1.0.0","name":"n","type":"macvlan","IPAM":{"type":"fairlead"},"ipam":{},` + evil + `}`,
		"(b) nested plugins":     `{"cniVersion":"1.0.0","name":"n","type":"macvlan","plugins":[{"type":"macvlan","ipam":{"type":"fairlead"}}],` + evil + `}`,
		"(c) delegate":           `{"cniVersion":"1.0.0","name":"n","type":"fairlead",` + evil + `}`,
		"as if from the runtime": `{"cniVersion":"1.0.0","name":"fairlead","type":"fairlead",` + evil + `}`,
	}
	for name, stdin := range configs {
		t.Run(name, func(t *testing.T) {
			if code, out := i.call(t, "ADD", stdin); code == 0 {
				t.Errorf("ADD succeeds: %s", out)
			}
			i.untouched(t)
		})
	}
}

// S1: a plugin that runs the shim as its IPAM plugin, as stock plugins do: with its own
// standard input, or with any other, and with the environment that it was given.
func TestTheShimIsNotCalledFromWithin(t *testing.T) {
	i := install(t)
	own := `{"cniVersion":"1.0.0","name":"fairlead","type":"fairlead","socket":"` + i.socket + `"}`
	i.program(t, filepath.Join(i.bin, "ptp"), `echo '`+own+`' | exec "$CNI_PATH/fairlead"`)
	file, err := cnirun.Find("ptp", i.bin)
	if err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{"ADD": "from within a call of Fairlead", "DEL": ""} {
		wait, err := cnirun.Start(context.Background(), cnirun.Command{File: file, Env: i.environ(command)})
		if err != nil {
			t.Fatal(err)
		}
		out, err := wait()
		if err != nil || (out.ExitCode == 0) != (want == "") || !strings.Contains(string(out.Stdout), want) {
			t.Errorf("%s: %d, %s, %v", command, out.ExitCode, out.Stdout, err)
		}
	}
	i.untouched(t)
	if _, err := os.Stat(i.tombs); !os.IsNotExist(err) {
		t.Errorf("a DEL from within was recorded: %v", err)
	}
}

// S2: a tenant chooses no directory that root writes into, with the agent away or not.
func TestTheShimWritesIntoItsOwnDirectoryOnly(t *testing.T) {
	i := install(t)
	netd := filepath.Join(i.tenant, "net.d") // in place of /etc/cni/net.d
	for _, stdin := range []string{
		`{"cniVersion":"1.0.0","name":"n","type":"macvlan","ipam":{"type":"fairlead"},"socket":"/nonexistent","tombstoneDir":"` + netd + `"}`,
		`{"cniVersion":"1.0.0","name":"fairlead","type":"fairlead","socket":"/nonexistent","tombstoneDir":"` + netd + `"}`,
	} {
		if code, out := i.call(t, "DEL", stdin); code != 0 {
			t.Errorf("DEL: %d, %s", code, out)
		}
		if _, err := os.Stat(netd); !os.IsNotExist(err) {
			t.Errorf("%s was made: %v", netd, err)
		}
	}
	if all, err := (wire.Tombstones{Dir: i.tombs}).List(); err != nil || len(all) != 1 { // the runtime's
		t.Errorf("tombstones: %+v, %v", all, err)
	}
}

// The shim finds its settings by /proc/self/exe, however it was called; without them, or
// with settings that others may write, it says what to do.
func TestTheShimsSettings(t *testing.T) {
	i := install(t)
	const own = `{"cniVersion":"1.0.0","name":"fairlead","type":"fairlead"}`
	if code, out := i.call(t, "STATUS", own); code == 0 || !strings.Contains(out, i.agent) {
		t.Errorf("%d, %s", code, out)
	}
	link := filepath.Join(i.tenant, "fairlead")
	if err := os.Symlink(filepath.Join(i.bin, "fairlead"), link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(link)
	cmd.Env, cmd.Stdin = i.environ("STATUS"), strings.NewReader(own)
	if out, _ := cmd.Output(); !strings.Contains(string(out), i.agent) {
		t.Errorf("by a link elsewhere: %s", out)
	}
	settings := filepath.Join(i.bin, wire.ShimConfigName)
	if err := os.Chmod(settings, 0o666); err != nil {
		t.Fatal(err)
	}
	if code, out := i.call(t, "ADD", own); code == 0 || !strings.Contains(out, "chmod go-w "+settings) {
		t.Errorf("writable by all: %d, %s", code, out)
	}
	if err := os.Remove(settings); err != nil {
		t.Fatal(err)
	}
	if code, out := i.call(t, "ADD", own); code == 0 || !strings.Contains(out, `"code":11`) || !strings.Contains(out, "agent installs the file") {
		t.Errorf("missing: %d, %s", code, out)
	}
	if code, out := i.call(t, "VERSION", own); code != 0 {
		t.Errorf("VERSION: %d, %s", code, out)
	}
}
