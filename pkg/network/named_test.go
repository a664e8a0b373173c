package network

import (
	"strings"
	"testing"
)

// S5: the deviceID of a pod's annotation never replaces the pciBusID or deviceID that the
// administrator wrote into a plugin's config.
func TestAnAnnotationsDeviceNeverReplacesTheConfigs(t *testing.T) {
	d, err := ParseDefinition("ns", "nad", `{"cniVersion":"1.0.0","plugins":[
		{"type":"host-device","pciBusID":"0000:03:00.0","capabilities":{"deviceID":true}},{"type":"sriov","deviceID":"0000:03:00.1"}]}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	selections, err := ParseSelections(`[{"name":"nad","deviceID":"3B:02.1"}]`, "ns")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Resolve(Input{PrimaryIfName: "eth0", Selections: selections, Definitions: map[string]Definition{"ns/nad": d}})
	if err != nil {
		t.Fatal(err)
	}
	got := text(plan)
	for _, want := range []string{
		`"pciBusID":"0000:03:00.0"`, `"deviceID":"0000:03:00.1"`, `"runtimeConfig":{"deviceID":"0000:3b:02.1"}`,
		"named=0000:03:00.0 (pciBusID of plugin host-device", "named=0000:03:00.1 (deviceID of plugin sriov",
		"named=0000:3b:02.1 (deviceID of the pod's annotation)", // canonical
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
}

// S5: an id that is really a path is rejected, and so is an id of another kind.
func TestADeviceIDIsAPCIAddress(t *testing.T) {
	for _, id := range []string{"../../../class/net/eth0/device", "0000:3b:02", "eth0"} {
		_, err := ParseSelections(`[{"name":"nad","deviceID":"`+id+`"}]`, "ns")
		if err == nil || !strings.Contains(err.Error(), "deviceID") || !strings.Contains(err.Error(), "0000:3b:02.1") {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// S3: a device that is hidden in a hand-written runtimeConfig is named like any other.
func TestADeviceInAHandWrittenRuntimeConfigIsNamed(t *testing.T) {
	d, err := ParseDefinition("ns", "nad", `{"type":"sriov","runtimeConfig":{"deviceID":"0000:3b:02.1"}}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Resolve(Input{PrimaryIfName: "eth0", Selections: []Selection{{Namespace: "ns", Name: "nad"}}, Definitions: map[string]Definition{"ns/nad": d}})
	if err != nil || len(plan[0].Named) != 1 || plan[0].Device != "0000:3b:02.1" {
		t.Errorf("%+v, %v", plan, err)
	}
}
