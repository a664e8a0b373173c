package network

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

func TestBuildStatus(t *testing.T) {
	result := func(text string) *types100.Result {
		t.Helper()
		r, err := types100.NewResult([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return r.(*types100.Result)
	}
	attached := []Attached{
		{Network: "cluster", IfName: "eth0", Primary: true, Result: result(`{"cniVersion":"1.0.0",
			"interfaces":[{"name":"cni0","mac":"0A:00:00:00:00:01"},{"name":"vethx"},{"name":"eth0","mac":"0A:00:00:00:00:02","sandbox":"/ns"}],
			"ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1","interface":2},{"address":"fd00::2/64","interface":2}],
			"routes":[{"dst":"0.0.0.0/0"}],
			"dns":{"nameservers":["10.0.0.10"],"search":["svc"]}}`)},
		{Network: "ns/two", IfName: "net1", MTU: 1400, Result: result(`{"cniVersion":"1.1.0",
			"interfaces":[{"name":"net1","sandbox":"/ns","mtu":9000},{"name":"net1b","sandbox":"/ns"}],
			"ips":[{"address":"10.1.0.2/24","interface":1},{"address":"10.2.0.2/24"},{"address":"10.3.0.2/24","interface":7}]}`)},
		{Network: "ns/dpdk", IfName: "net2", DeviceInfo: PCIDeviceInfo("0000:3b:02.1", "0000:3b:00.0"), Result: result(`{"cniVersion":"1.0.0","ips":[{"address":"10.4.0.2/24"}]}`)},
		{Network: "ns/fb", IfName: "net3", MTU: 1500, Fallback: &FallbackStatus{From: "sriov", To: "macvlan", Reason: "no device"}},
	}
	raw, err := BuildStatus(attached)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := json.Indent(&text, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	text.WriteByte('\n')
	golden(t, "testdata/status.json", text.String())
	if raw, err := BuildStatus(nil); err != nil || string(raw) != "[]" {
		t.Errorf("nothing attached: %s, %v", raw, err)
	}
}

func TestFileNames(t *testing.T) {
	if got, want := DeviceInfoFileName("ns", "nad", "c0ffee", "net1"), "ns-nad-c0ffee_net1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := DeviceFileName("x.io/fast", "0000:3b:02.1"), "x.io-fast-0000:3b:02.1-device.json"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// meta-cni C2, C4: gateway lists the gateways of default routes, and of those only the ones
// by which the pod's traffic leaves. default is on the interface that has the gateway.
func TestGatewaysOfTheStatus(t *testing.T) {
	const (
		one = `"interfaces":[{"name":"net1","sandbox":"/ns"}],"ips":[{"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":0},{"address":"fd01::2/64","gateway":"fd01::1","interface":0}]`
		two = `"interfaces":[{"name":"a","sandbox":"/ns"},{"name":"b","sandbox":"/ns"}],"ips":[{"address":"10.1.0.2/24","interface":0},{"address":"10.2.0.2/24","interface":1}]`
	)
	for _, tt := range []struct {
		name, result string
		primary      bool
		behind       []string
		want         string
	}{
		{"host-local invents a gateway", one, false, nil, "net1"},
		{"a route to elsewhere", one + `,"routes":[{"dst":"10.0.0.0/8","gw":"10.1.0.1"}]`, false, nil, "net1"},
		{"a default route of another table", one + `,"routes":[{"dst":"0.0.0.0/0","gw":"10.1.0.9","table":100}]`, false, nil, "net1"},
		{"both families", one + `,"routes":[{"dst":"0.0.0.0/0","gw":"10.1.0.9"},{"dst":"::/0"}]`, false, nil, "net1 10.1.0.9 fd01::1"},
		{"the primary keeps one", one + `,"routes":[{"dst":"0.0.0.0/0","gw":"10.1.0.9"},{"dst":"::/0"}]`, false, []string{"IPv4"}, "net1 fd01::1"},
		{"the same one twice", one + `,"routes":[{"dst":"0.0.0.0/0"},{"dst":"0.0.0.0/0","gw":"10.1.0.1"}]`, false, nil, "net1 10.1.0.1"},
		{"a route over the link", `"interfaces":[{"name":"net1","sandbox":"/ns"}],"routes":[{"dst":"0.0.0.0/0"}]`, false, nil, "net1"},
		{"the second interface has it", two + `,"routes":[{"dst":"0.0.0.0/0","gw":"10.2.0.1"}]`, true, nil, "a, b 10.2.0.1 default"},
		{"a primary without routes", two, true, nil, "a default, b"},
	} {
		r, err := types100.NewResult([]byte(`{"cniVersion":"1.1.0",` + tt.result + `}`))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range statusEntries(Attached{Network: "n", Primary: tt.primary, Result: r.(*types100.Result), Behind: tt.behind}) {
			words := append([]string{e.Interface}, e.Gateway...)
			if e.Default {
				words = append(words, "default")
			}
			got = append(got, strings.Join(words, " "))
		}
		if text := strings.Join(got, ", "); text != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, text, tt.want)
		}
	}
}
