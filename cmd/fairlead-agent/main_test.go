package main

import (
	"bytes"
	"testing"
)

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	cmd := command()
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--version"})
	if err := cmd.ExecuteContext(t.Context()); err != nil || out.String() != "fairlead-agent version dev\n" {
		t.Errorf("--version = %v, %q", err, out.String())
	}
}
