package network

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"fairlead.dev/fairlead/test/fuzz"
)

// annotations are those of the examples, of published manifests, and of attacks.
func annotations() []string {
	return []string{"a, ns/b@x", "macvlan-conf,sriov-net@fast0", "", " \n",
		`[{"name":"a","ips":["10.0.0.1/24"],"mac":"02:00:00:00:00:01"}]`, `[{"name":"a","default-route":["192.0.2.254","::1"]}]`,
		`[{"name":"a","namespace":"ns","interface":"net7","bandwidth":{"ingressRate":1,"egressBurst":2},"cni-args":{"ips":["192.0.2.1/24"],"x":1e400}}]`,
		`[{"name":"a","deviceID":"3b:02.1","infiniband-guid":"c2:11:22:33:44:55:66:77","ipam-claim-reference":"c","interfaceRequest":"old0"}]`,
		"[\n{\"name\":\n", `[{"NAME":"a","name":"b","portMappings":[{"hostPort":1,"containerPort":2,"protocol":"TCP","hostIP":"192.0.2.1"}]}]`, "\xff@\xff", `[[[[`,
		"[{\"name\":\"a\",\"mac\":7,\"\u202e\":1}]", "[\"a\u202eb\"]", "a@\u202eb", `[{"name":"a","mtu":1,"ifname":"x"}]`, `{"name":"a"}`}
}

// S7, S11: an annotation is a list within the limits, and it is the same list when it is
// written in full, or an error that names the annotation.
func FuzzParseSelections(f *testing.F) {
	for _, seed := range annotations() {
		f.Add(seed, "default")
	}
	f.Fuzz(func(t *testing.T, in, namespace string) {
		var list []Selection
		var err error
		fuzz.Allocates(t, len(in)+len(namespace), func() { list, err = ParseSelections(in, namespace) })
		fuzz.Refused(t, err)
		if err != nil {
			if !strings.Contains(err.Error(), NetworksAnnotation) {
				t.Errorf("error does not name the annotation: %v", err)
			}
			return
		}
		checkSelections(t, in, list)
		again, err := ParseSelections(inFull(t, list), "other")
		for i := range list {
			list[i].UnknownKeys = nil
		}
		if err != nil || len(list) > 0 && !reflect.DeepEqual(again, list) {
			t.Errorf("written in full: %+v, %v; want %+v", again, err, list)
		}
	})
}

func checkSelections(t *testing.T, in string, list []Selection) {
	t.Helper()
	if len(list) > MaxNetworks || len(in) > MaxAnnotationBytes {
		t.Errorf("%d networks in %d bytes", len(list), len(in))
	}
	for i, s := range list {
		if checkName(s.Name) != nil || checkName(s.Namespace) != nil || len(s.Name) > MaxNameBytes || len(s.Namespace) > MaxNameBytes {
			t.Errorf("accepted %q", s.Network())
		}
		if s.Interface != "" && checkInterface(s.Interface) != nil {
			t.Errorf("accepted interface %q", s.Interface)
		}
		if len(s.IPs) > MaxIPs || s.MAC != "" && checkMAC(s.MAC) != nil || s.Position != i+1 {
			t.Errorf("accepted %+v", s)
		}
	}
	fuzz.Refused(t, noticed(UnknownKeys(list)))
}

// noticed makes an error of a notice: it goes the same ways.
func noticed(text string) error {
	if text == "" {
		return nil
	}
	return fmt.Errorf("%s", text)
}

// inFull writes a list of selections in the JSON form, with every field that is set.
func inFull(t *testing.T, list []Selection) string {
	t.Helper()
	elements := []map[string]any{}
	for _, s := range list {
		element := map[string]any{"name": s.Name, "namespace": s.Namespace, "interface": s.Interface, "mac": s.MAC, "infiniband-guid": s.InfinibandGUID,
			"deviceID": s.DeviceID, "ipam-claim-reference": s.IPAMClaim}
		if s.IPs != nil {
			element["ips"] = s.IPs
		}
		if s.Bandwidth != nil {
			element["bandwidth"] = s.Bandwidth
		}
		if s.PortMappings != nil {
			element["portMappings"] = s.PortMappings
		}
		if s.CNIArgs != nil {
			element["cni-args"] = s.CNIArgs
		}
		if s.DefaultRoute != nil {
			element["default-route"] = s.DefaultRoute
		}
		elements = append(elements, element)
	}
	raw, err := json.Marshal(elements)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// configs are those of the examples, of published manifests, and of attacks.
func configs() []string {
	return []string{`{"type":"macvlan"}`, `{"cniVersion":"0.4.0","plugins":[{"type":"a","capabilities":{"ips":true}}]}`, `{"plugins":[null]}`,
		`{"type":"a","args":{"cni":{}}}`, `{`, `null`, `{"cniVersions":[1],"plugins":[{"type":"a"}]}`,
		`{"cniVersion":"0.3.1","name":"sriov-net","type":"sriov","vlan":100,"spoofchk":"off","trust":"on","ipam":{"type":"host-local","subnet":"10.56.217.0/24","rangeStart":"10.56.217.171","routes":[{"dst":"0.0.0.0/0"}],"gateway":"10.56.217.1"}}`,
		`{"cniVersion":"0.3.1","plugins":[{"type":"macvlan","master":"eth0","mode":"bridge","capabilities":{"ips":true,"mac":true}},{"type":"tuning","capabilities":{"mac":true},"mtu":1400}]}`,
		`{"type":"macvlan","IPAM":{"type":"fairlead"},"ipam":{}}`, `{"plugins":[{"type":"a","plugins":[{"type":"b"}]}]}`,
		`{"type":"flannel","delegate":{"type":"multus"}}`, `{"type":"a","ipam":{"type":"host-local","ranges":[[{"subnet":"10.0.0.0/24"}]]}}`,
		`{"type":"a","pluginſ":1,"K":2,"K":3}`, `{"type":"a","ipam":[1],"x":[[[]]]}`, `{"plugins":[],"type":"\u0066airlead"}`,
		`{"type":"portmap","prevResult":{"ips":[]}}`, `{"name":"` + "\u202e" + `","type":"a"}`, `{"type":"a","cniVersion":"9.9.9"}`,
		`{"type":"sriov","deviceID":"0000:3b:02.1","fallback":["macvlan"],"builtin":false,"disableCheck":"true"}`}
}

// S1: whatever passes means the same to a reader of exact keys and to one of any case, and to
// readers of the first and of the last of several.
func FuzzInspect(f *testing.F) {
	for _, seed := range configs() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		var list ConfList
		var err error
		fuzz.Allocates(t, len(config), func() { list, err = ParseConfList(config, "n") })
		if fuzz.Refused(t, err); err != nil {
			return
		}
		for _, p := range list.Plugins {
			conf := p.Fields.JSON()
			first, last := head(t, conf), head(t, sortedKeys(t, conf))
			if first != last {
				t.Fatalf("%s: means %s or %s", conf, first, last)
			}
			if strings.Contains(first, "fairlead") || strings.Contains(first, "multus") {
				t.Fatalf("%s runs %s", conf, first)
			}
		}
	})
}

// head has the types that a plugin written in Go would execute.
func head(t *testing.T, conf json.RawMessage) string {
	t.Helper()
	var h struct {
		Type string `json:"type"`
		IPAM struct {
			Type string `json:"type"`
		} `json:"ipam"`
		Delegate map[string]any    `json:"delegate"`
		Plugins  []json.RawMessage `json:"plugins"`
	}
	_ = json.Unmarshal(conf, &h) // a value of another type stays empty
	return fmt.Sprint(h.Type, " ", h.IPAM.Type, " ", h.Delegate["type"], " ", len(h.Plugins))
}

func sortedKeys(t *testing.T, conf json.RawMessage) json.RawMessage {
	t.Helper()
	var v any
	if err := json.Unmarshal(conf, &v); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A net-attach-def is within the limits (S7), means the same when it is written as a list,
// and gives each plugin a config that is JSON, whatever a pod's annotation adds to it.
func FuzzParseDefinition(f *testing.F) {
	all := annotations()
	for i, seed := range configs() {
		f.Add(seed, all[i%len(all)], "vendor.example/fast")
	}
	f.Add(`{"type":"sriov","capabilities":{"mac":true,"ips":true}}`, `[{"name":"nad","namespace":"ns","mac":"02:00:00:00:00:01","ips":["10.0.0.1/24"],"cni-args":{"x":1},"deviceID":"0000:00:01.0"}]`, "")
	f.Fuzz(func(t *testing.T, config, annotation, resource string) {
		var d Definition
		var err error
		fuzz.Allocates(t, len(config)+len(resource), func() { d, err = ParseDefinition("ns", "nad", config, map[string]string{ResourceAnnotation: resource}) })
		if fuzz.Refused(t, err); err != nil || d.FromFile {
			return
		}
		checkDefinition(t, config, d)
		selections, err := ParseSelections(annotation, "ns")
		if err != nil || len(selections) == 0 {
			selections = []Selection{{Position: 1, MAC: "02:00:00:00:00:01", CNIArgs: map[string]any{"x": 1}, DeviceID: "0000:00:01.0"}}
		}
		for i := range selections { // the net-attach-def is the same for all of them
			selections[i].Namespace, selections[i].Name = "ns", "nad"
		}
		checkPlan(t, d, selections, len(config)+len(annotation))
	})
}

func checkDefinition(t *testing.T, config string, d Definition) {
	t.Helper()
	if len(config) > MaxConfigBytes || len(d.List.Plugins) == 0 || len(d.List.Plugins) > MaxMembers || len(d.List.Name) > MaxNameBytes {
		t.Errorf("accepted: %d bytes, %d plugins, name %q", len(config), len(d.List.Plugins), d.List.Name)
	}
	for _, notice := range d.List.Notices {
		fuzz.Refused(t, noticed(notice))
	}
	text := written(t, d.List)
	if len(text) > MaxConfigBytes {
		return // escaped, it is longer
	}
	again, err := ParseDefinition("ns", "nad", text, map[string]string{ResourceAnnotation: d.Resource})
	if err != nil || written(t, again.List) != text || again.Resource != d.Resource {
		t.Errorf("written as a list: %s, %v; want %s", written(t, again.List), err, text)
	}
}

func checkPlan(t *testing.T, d Definition, selections []Selection, size int) {
	t.Helper()
	var plan []Planned
	var err error
	fuzz.Allocates(t, size*len(selections), func() {
		plan, err = Resolve(Input{PrimaryIfName: "eth0", Selections: selections, Definitions: map[string]Definition{"ns/nad": d},
			Devices: map[string][]string{"vendor.example/fast": {"0000:00:01.0", "0000:00:01.1"}}})
	})
	fuzz.Refused(t, err)
	used := map[string]bool{}
	for _, p := range plan {
		if p.Given && used[p.Device] {
			t.Errorf("device %s is given twice", p.Device)
		}
		used[p.Device] = used[p.Device] || p.Given
		for i := range p.List.Plugins {
			if conf := p.List.Member(i).JSON(); !json.Valid(conf) {
				t.Fatalf("a plugin gets a config that is no JSON: %s", conf)
			}
		}
	}
}
