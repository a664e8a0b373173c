package main

import (
	"bytes"
	"testing"
)

// Users of Multus have their shared networks in the namespace default.
func TestGlobalNamespaces(t *testing.T) {
	for arg, want := range map[string]string{"--log-level=info": "[default]", "--global-namespaces=net,infra": "[net,infra]", "--global-namespaces=": "[]"} {
		cmd := command()
		if err := cmd.ParseFlags([]string{arg}); err != nil {
			t.Fatal(err)
		}
		if got := cmd.Flag("global-namespaces").Value.String(); got != want {
			t.Errorf("%s: %s, want %s", arg, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	cmd := command()
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--version"})
	if err := cmd.ExecuteContext(t.Context()); err != nil || out.String() != "fairlead-agent version dev\n" {
		t.Errorf("--version = %v, %q", err, out.String())
	}
}
