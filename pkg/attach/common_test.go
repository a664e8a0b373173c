package attach

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

const hostLocal = `"ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "routes": [{"dst": "10.9.0.0/16"}]}`

// full asks for everything that an igb can do.
const full = `{"cniVersion": "1.0.0", "name": "fast", "type": "sriov", "vlan": 100, "vlanQoS": 3, "vlanProto": "802.1Q", "mac": "02:00:00:CC:00:01",
	"spoofchk": "off", "trust": "on", "link_state": "auto", "max_tx_rate": 50, "mtu": 9000, "logLevel": "whatever", ` + hostLocal + `}`

const plain = `{"cniVersion": "1.0.0", "name": "fast", "type": "sriov"}`

var env = Env{SandboxID: "s1"}

func request(conf string, device pci.Address) Request {
	return Request{SandboxID: "s1", Netns: podNS, IfName: "net1", Pod: ledger.PodRef{Namespace: "ns", Name: "p"}, Network: "ns/fast",
		Config: json.RawMessage(conf), Resource: "fairlead.dev/fast", Device: device}
}

func attacherOf(t *testing.T, s *Set, kind string) Attacher {
	t.Helper()
	a, ok := s.For(kind)
	if !ok {
		t.Fatalf("no attacher for %s", kind)
	}
	return a
}

// prepared runs Prepare and passes the record through JSON, as the ledger does.
func prepared(t *testing.T, s *Set, kind string, r Request) ledger.Attachment {
	t.Helper()
	att, err := attacherOf(t, s, kind).Prepare(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return stored(t, att)
}

func stored(t *testing.T, att ledger.Attachment) ledger.Attachment {
	t.Helper()
	raw, err := json.Marshal(att)
	if err != nil {
		t.Fatal(err)
	}
	var back ledger.Attachment
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// taken lists the addresses that host-local has given in network "fast".
func taken(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "fast"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if strings.Count(e.Name(), ".") == 3 {
			names = append(names, e.Name())
		}
	}
	return names
}
