package shim

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/cni/wire"
)

// S1, S2: whatever a conf says of sockets, directories and times, the shim's settings
// are those of its file.
func TestStandardInputSetsNothing(t *testing.T) {
	c := newCall(t, "DEL")
	tenants := filepath.Join(t.TempDir(), "tenants")
	for key, value := range map[string]any{"socket": tenants + "/s", "tombstoneDir": tenants, "SOCKET": tenants + "/s", "TombstoneDIR": tenants,
		"agentTimeoutSeconds": 1000, "timeoutSeconds": 1} {
		c.conf[key] = value
	}
	if code, out := c.run(t, t.Context()); code != 0 {
		t.Fatalf("%d, %s", code, out)
	}
	if _, err := os.Stat(tenants); !os.IsNotExist(err) {
		t.Errorf("the conf's tombstoneDir was made: %v", err)
	}
	if tombs, err := (wire.Tombstones{Dir: c.dir}).List(); err != nil || len(tombs) != 1 {
		t.Errorf("tombstones: %v, %v", tombs, err)
	}
}

// S1: a plugin that has the shim as its IPAM plugin or delegate gets nothing from it, and
// the agent hears nothing of the call. Its DEL succeeds, or it could never be released.
func TestCallsThatAreNotTheRuntimes(t *testing.T) {
	calls := map[string]func(c *call){
		"as IPAM plugin":                         func(c *call) { c.conf["type"] = "macvlan" },
		"as IPAM plugin, with two types":         func(c *call) { c.conf["type"], c.conf["Type"] = "macvlan", "fairlead" },
		"with another network's name":            func(c *call) { c.conf["name"] = "tenants" },
		"without a type":                         func(c *call) { delete(c.conf, "type") },
		"from within, though with Fairlead's":    func(c *call) { c.env[wire.CallMarker] = "1" },
		"from within, with a conf that is no JS": func(c *call) { c.env[wire.CallMarker], c.stdin = "1", "{" },
	}
	for name, change := range calls {
		for command, want := range map[string]string{"ADD": `"code":7`, "CHECK": `"code":7`, "GC": `"code":7`, "STATUS": `"code":7`, "DEL": ""} {
			t.Run(name+" "+command, func(t *testing.T) {
				c := newCall(t, command)
				change(c)
				code, out := c.run(t, t.Context())
				if (code == 0) != (command == "DEL") || !strings.Contains(out, want) {
					t.Errorf("got %d, %s", code, out)
				}
				if _, err := os.Stat(c.dir); !os.IsNotExist(err) {
					t.Errorf("a tombstone was left: %v", err)
				}
			})
		}
	}
}

// Without its settings the shim serves DEL only, by the defaults: a pod must not hang in
// Terminating. Everything else says what to do.
func TestWithoutSettings(t *testing.T) {
	for command, want := range map[string]string{"ADD": `"code":11`, "CHECK": `"code":11`, "GC": `"code":11`, "STATUS": `"code":50`} {
		c := newCall(t, command)
		c.configErr = errors.New("the file is missing")
		if code, out := c.run(t, t.Context()); code != 1 || !strings.Contains(out, want) || !strings.Contains(out, "the file is missing") {
			t.Errorf("%s: %d, %s", command, code, out)
		}
	}
	c := newCall(t, "DEL")
	c.configErr = errors.New("the file is missing")
	if code, out := c.run(t, t.Context()); code != 0 {
		t.Errorf("DEL: %d, %s", code, out)
	}
	tombs, err := (wire.Tombstones{Dir: c.dir}).List()
	if err != nil || len(tombs) != 1 || !strings.Contains(tombs[0].Reason, "the file is missing") {
		t.Errorf("tombstones: %+v, %v", tombs, err)
	}
}

// S1: even the agent has plugins run from the runtime's directories only, and they look
// for their IPAM plugins there only.
func TestRunsFromCNIPathOnly(t *testing.T) {
	evil, second := t.TempDir(), t.TempDir()
	plugin := func(dir string) {
		if err := os.WriteFile(filepath.Join(dir, "p"), []byte("#!/bin/sh\necho "+dir+" $CNI_PATH $LD_PRELOAD $FAIRLEAD_CALL\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	plugin(evil)
	plugin(second)
	c := newCall(t, "ADD")
	first := c.env["CNI_PATH"]
	c.env["CNI_PATH"] = first + ":" + second + "/"
	tests := []struct{ plugin, path, want string }{
		{"p", evil, ""},
		{"p", evil + ":" + second, second + " " + second + " 1\n"},
		{"p", second + ":" + first, second + " " + second + ":" + first + " 1\n"}, // an order of its own
		{"p", "../" + second, ""},
		{"p", second + "/../" + filepath.Base(evil), ""},
		{"p", "", ""},
		{"fairlead", second, ""},
		{"multus", second, ""},
	}
	for _, name := range []string{"fairlead", "multus"} {
		if err := os.Link(filepath.Join(second, "p"), filepath.Join(second, name)); err != nil {
			t.Fatal(err)
		}
	}
	c.agent(t, func(conn *wire.Conn, r wire.Request) {
		for i, tt := range tests {
			m := wire.Run{ID: i + 1, Plugin: tt.plugin, Path: tt.path, Env: []string{"CNI_PATH=" + evil, "LD_PRELOAD=x"}}
			if err := conn.Send(wire.Message{Version: 1, Run: &m}); err != nil {
				t.Error(err)
			}
			got, err := conn.Receive()
			if err != nil || got.Ran == nil {
				t.Fatalf("%+v, %v", got, err)
			}
			if string(got.Ran.Stdout) != tt.want || got.Ran.NotFound != (tt.want == "") {
				t.Errorf("%s in %s: %+v, %s", tt.plugin, tt.path, got.Ran, got.Ran.Stdout)
			}
		}
		reply(t, conn, "", 0)
	})
	if code, out := c.run(t, t.Context()); code != 0 {
		t.Errorf("%d, %s", code, out)
	}
}

// A config that would not fit into a request is refused before it is held in memory.
func TestHugeStandardInput(t *testing.T) {
	c := newCall(t, "ADD")
	c.stdin = strings.Repeat(" ", wire.MaxFrame+1)
	if code, out := c.run(t, t.Context()); code != 1 || !strings.Contains(out, `"code":5`) {
		t.Errorf("%d, %s", code, out)
	}
}
