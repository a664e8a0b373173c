package network

import (
	"bytes"
	"encoding/json"
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
