package ipam

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Harden: dataDir and the CNI name of a net-attach-def never lead into the state of another
// program, neither in the agent nor in the host's binary.
func TestHostLocalWritesIntoNoStateOfOthers(t *testing.T) {
	for _, tt := range []struct {
		name, dataDir, network, more string
		want                         string // part of the error; empty: accepted
	}{
		{"results of libcni", "", "results", "", "has files of another program"},
		{"the same, by the binary", "", "results", `, "resolvConf": "/etc/resolv.conf"`, "has files of another program"},
		{"the same, by another way", "networks/..", "results", "", "has files of another program"},
		{"all networks", "", "networks", "", "the directory of all networks"},
		{"all networks, by the binary", "", "networks", `, "resolvConf": "/etc/resolv.conf"`, "the directory of all networks"},
		{"a directory with directories", "", "cache", "", "has files of another program"},
		{"a directory of its own", "leases", "data", "", ""},
		{"the shared directory, with a name of its own", "", "data", "", ""},
		{"one that host-local has used", "", "used", "", ""},
		{"the usual one", "networks", "data", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shared := t.TempDir()
			write(t, filepath.Join(shared, "results", "cluster-s1-eth0"), "{}")
			write(t, filepath.Join(shared, "cache", "results", "cluster-s1-eth0"), "{}")
			write(t, filepath.Join(shared, "networks", "other", "10.1.2.9"), "s9\r\nnet1")
			write(t, filepath.Join(shared, "used", "10.1.2.9"), "s9\r\nnet1")
			write(t, filepath.Join(shared, "used", "lock"), "")
			write(t, filepath.Join(shared, "used", "last_reserved_ip.0"), "10.1.2.9")
			before := paths(t, shared)
			conf := fmt.Sprintf(`{"cniVersion":"1.0.0","name":%q,"ipam":{"type":"host-local","subnet":"10.1.2.0/24","dataDir":%q%s}}`,
				tt.network, shared+"/"+tt.dataDir, tt.more)
			args := Args{SandboxID: "s1", IfName: "net1", DataDir: filepath.Join(shared, "networks")}
			exec := &recorder{}
			_, err := Add(t.Context(), exec, args, json.RawMessage(conf))
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if after := paths(t, shared); after != before || len(exec.calls) > 0 {
				t.Errorf("before:\n%safter:\n%s%v", before, after, exec.calls)
			}
		})
	}
}

// paths lists everything below a directory.
func paths(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		fmt.Fprintln(&b, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
