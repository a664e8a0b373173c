//go:build root

package cni

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The agent's container has a mount namespace of its own: plugins are found and
// run in the host's. Here "the host" is a process in a mount namespace with a
// directory that this process does not have.
func TestHostExecEntersTheMountNamespace(t *testing.T) {
	point := t.TempDir()
	host := exec.Command("unshare", "--mount", "sh", "-c",
		fmt.Sprintf("mount -t tmpfs t %[1]s && printf '#!/bin/sh\\ncat %[1]s/data; cat /proc/self/cgroup' > %[1]s/p && chmod +x %[1]s/p && echo hidden > %[1]s/data && echo ready && read x", point))
	in, err := host.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = host.Wait() })
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(point, "p")); !os.IsNotExist(err) {
		t.Fatalf("the file is visible here: %v", err)
	}
	e := &HostExec{mountNS: fmt.Sprintf("/proc/%d/ns/mnt", host.Process.Pid), cgroup: "/sys/fs/cgroup"}
	file, err := e.FindInPath("p", []string{"/nonexistent", point})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // the threads that entered are not used again
		got, err := e.ExecPlugin(t.Context(), file, nil, nil)
		if err != nil || !strings.HasPrefix(string(got), "hidden\n") {
			t.Fatalf("%q, %v", got, err)
		}
		if _, err := os.Stat(filepath.Join(point, "p")); !os.IsNotExist(err) {
			t.Fatalf("a thread of the agent stayed in the host's namespace: %v", err)
		}
	}
}

func TestHostExecWithoutTheNamespace(t *testing.T) {
	e := &HostExec{mountNS: "/nonexistent"}
	if _, err := e.FindInPath("p", []string{"/"}); err == nil || !strings.Contains(err.Error(), "hostPID") {
		t.Errorf("got %v", err)
	}
}
