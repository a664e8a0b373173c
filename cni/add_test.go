package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/sandbox"
)

const vf1 = "0000:3b:02.1"

func TestAddInTheRequestedVersion(t *testing.T) {
	n := newNode(t)
	n.pod("p", "")
	for _, v := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		r := n.request("ADD", "c"+strings.ReplaceAll(v, ".", ""), "p")
		r.Stdin = []byte(`{"cniVersion":"` + v + `","name":"fairlead","type":"fairlead"}`)
		out, err := n.serve(t.Context(), r)
		if err != nil || !strings.Contains(out, `"cniVersion": "`+v+`"`) {
			t.Errorf("%s: %s, %v", v, out, err)
		}
	}
	r := n.request("ADD", "c9", "p")
	r.Stdin = []byte(`{"cniVersion":"9.9.9","name":"fairlead","type":"fairlead"}`)
	if _, err := n.serve(t.Context(), r); err == nil || !strings.Contains(err.Error(), `"code":1,`) {
		t.Errorf("unknown version: %v", err)
	}
}

// An error about bad input names the pod, the network, the field, the reason and the remedy.
func TestAddRefuses(t *testing.T) {
	isolated := func(n *node) {
		n.open(func(o *sandbox.Options) { o.NamespaceIsolation, o.GlobalNamespaces = true, []string{"global"} })
	}
	tests := []struct {
		name, networks string
		prepare        func(*node)
		code           string
		want           []string
	}{
		{name: "malformed annotation", networks: `[{"name": "macvlan-conf"`, code: "7", want: []string{"networks", "line 1"}},
		{name: "unknown network", networks: "nosuch", code: "7", want: []string{"default/nosuch", "create it"}},
		{name: "bad interface", networks: "macvlan-conf@a/b", code: "7", want: []string{"network 1", "interface", "15 bytes"}},
		{name: "primary's interface", networks: "macvlan-conf@eth0", code: "7", want: []string{"eth0", "primary"}},
		{name: "too few devices", networks: "fast, fast", code: "7", want: []string{"default/fast", "2 asked for", "1 allocated", "fairlead.dev/fast: 2"}},
		{name: "group MAC", networks: `[{"name":"fast","mac":"01:00:00:00:00:01"}]`, code: "7", want: []string{"field mac", "group bit"}},
		{name: "namespace isolation", networks: "other/x", prepare: isolated, code: "7", want: []string{"other/x", "isolation", "global"}},
		{name: "no API server", networks: "x", prepare: func(n *node) { n.cluster.Down = errors.New("connection refused") }, code: "11", want: []string{"connection refused"}},
		{name: "no primary", prepare: func(n *node) {
			if err := os.Remove(filepath.Join(n.dir, "net.d", "10-bridge.conflist")); err != nil {
				n.t.Fatal(err)
			}
		}, code: "11", want: []string{"no primary network", "install"}},
		{name: "plugin missing", networks: "absent", prepare: func(n *node) { n.nad("absent", "", `{"type":"absent"}`) }, code: "999", want: []string{"default/absent", "plugin not found"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.pod("p", tt.networks, vf1)
			if tt.prepare != nil {
				tt.prepare(n)
			}
			_, err := n.call("ADD", "c1", "p")
			if err == nil {
				t.Fatal("no error")
			}
			var e types.Error
			if jsonErr := json.Unmarshal([]byte(err.Error()), &e); jsonErr != nil {
				t.Fatalf("%v: %s", jsonErr, err)
			}
			if fmt.Sprint(e.Code) != tt.code {
				t.Errorf("code %d, want %s: %s", e.Code, tt.code, e.Msg)
			}
			for _, want := range append(tt.want, "pod default/p", "c1") {
				if !strings.Contains(e.Msg, want) {
					t.Errorf("%q is not in: %s", want, e.Msg)
				}
			}
			n.wantClean()
		})
	}
}

func TestFullDiskAtTheLedger(t *testing.T) {
	for _, at := range []string{"intent", "bound"} {
		n := newNode(t)
		n.pod("p", "fast", vf1)
		n.world.Fail = func(_ int, name string) error {
			bound := n.world.Did("bind") || n.world.Did("exec ADD")
			if name == "put" && bound == (at == "bound") {
				return fmt.Errorf("%w: no space left on device; free space", ledger.ErrFull)
			}
			return nil
		}
		_, err := n.call("ADD", "c1", "p")
		if err == nil || !strings.Contains(err.Error(), `"code":11`) || !strings.Contains(err.Error(), "free space") {
			t.Errorf("%s: %v", at, err)
		}
		n.wantClean()
	}
}

// S21: the reply does not name the pod that has the device; the log does.
func TestTheReplyNamesNoOtherPod(t *testing.T) {
	n := newNode(t)
	var log bytes.Buffer
	n.k.Log = slog.New(slog.NewTextHandler(&log, nil))
	n.open(func(*sandbox.Options) {})
	n.pod("secret-owner", "fast", vf1)
	n.pod("q", "fast", vf1)
	n.mustAdd("c1", "secret-owner")
	_, err := n.call("ADD", "c2", "q")
	if err == nil || strings.Contains(err.Error(), "secret-owner") || strings.Contains(err.Error(), "c1") ||
		!strings.Contains(err.Error(), vf1+" is in use by another pod") || !strings.Contains(err.Error(), `"code":11`) {
		t.Errorf("reply: %v", err)
	}
	if !strings.Contains(log.String(), "held by pod default/secret-owner") {
		t.Errorf("log:\n%s", log.String())
	}
}
