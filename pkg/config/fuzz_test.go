package config

import (
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"fairlead.dev/fairlead/deployments/examples"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/test/fuzz"
)

// long is a value of which no error may quote all (security S7).
var long = strings.Repeat("x", 60000)

// addExamples adds the files that users apply as seeds.
func addExamples(f *testing.F, glob string) {
	f.Helper()
	files, err := fs.Glob(examples.Files, glob)
	if err != nil || len(files) == 0 {
		f.Fatalf("no examples %s: %v", glob, err)
	}
	for _, file := range files {
		text, err := examples.Files.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
}

// devices A6: the device plugin's ConfigMap, in any letter case. An accepted pool selects
// something, and a list in its own order means the same.
func FuzzParseDevicePluginConfig(f *testing.F) {
	for _, seed := range []string{
		`{"resourceList": [{"resourceName": "a", "selectors": {"pfNames": ["ens1f0#0-3,5"]}}]}`,
		`{"resourceList": [{"resourceName": "a", "selectors": [{"isRdma": true}, {"rootDevices": ["3b:00.0#1"]}]}]}`,
		`{"resourceList":[{"resourceName":"nics","selectors":{"vendors":["15b3"],"rootDevices":["0000:3b:00.0"],"pfNames":["ens1f0#0-3"],"IsRdma":false,"NeedVhostNet":false},"SelectorObjs":null}]}`,
		`{"ResourceList":[{"resourcename":"a","DeviceType":"netDevice","selectors":{"pciaddresses":["0000:3b:02.1"],"isRDMA":true,"needVhostnet":true}}]}`,
		`{"resourceList":[{"resourceName":"a","deviceType":"accelerator","selectors":{"vendors":["8086"],"devices":["154c"],"drivers":["vfio-pci"]}}]}`,
		`{"resourceList":[{"resourceName":"a","additionalInfo":{"*":{"k":"v"}},"selectors":{"linkTypes":["ether"],"ddpProfiles":["x"],"pKeys":["1"],"vdpaType":"vhost","acpiIndexes":["1"]}}]}`,
		`{"resourceList":[{"` + long + `":1}]}`, `{"resourceList":[{"resourceName":"` + long + `","deviceType":"` + long + `","selectors":{"vendors":["` + long + `"],"linkTypes":["` + long + `"],"pfNames":["` + long + `#"]}}]}`,
		`{"resourceList":[` + strings.Repeat(`{},`, 20000) + `{}]}`, `{"resourceList":[{"resourceName":"a","selectors":[` + strings.Repeat(`{},`, 20000) + `{}]}]}`,
		"{\"resourceList\":[{\"resourceName\":\"a\u202e\",\"\u202e\":0,\"deviceType\":\"\u202e\",\"selectors\":\"\u202e\"}]}",
		`{"resourceList":null}`, `{"resourceList":[]}`, `{"resourceList":[{"RESOURCELIST":1,"resourceliſt":2}]}`, `{`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var pools []device.Pool
		var err error
		fuzz.Allocates(t, len(data), func() { pools, err = ParseDevicePluginConfig(data, "f", "vendor.example") })
		if fuzz.Refused(t, err); err != nil {
			if pools != nil {
				t.Fatalf("a result came with the error %v", err)
			}
			return
		}
		seen := map[string]bool{}
		for _, p := range pools {
			if p.Resource == "" || len(p.Selectors) == 0 || seen[p.Resource] || !strings.Contains(p.Resource, "/") {
				t.Fatalf("a pool without resource or selectors passed, or a second one: %+v", p)
			}
			seen[p.Resource] = true
		}
		checkSource(t, pools, func(source string) (any, error) { return ParseDevicePluginConfig(data, source, "vendor.example") })
	})
}

// checkSource parses again: the same text gives the same result, whatever maps it goes
// through.
func checkSource(t *testing.T, want any, parse func(source string) (any, error)) {
	t.Helper()
	if again, err := parse("f"); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("parsed again: %+v, %v; want %+v", again, err, want)
	}
}

func FuzzParseProfile(f *testing.F) {
	addExamples(f, "profiles/*.yaml")
	f.Add([]byte(head + "spec: {pf: {numVFs: 4}, vfGroups: [{vfs: 0-3, resourceName: a, vlan: 5}]}"))
	f.Add([]byte(head + "spec: {vfGroups: [{vfs: 0-18446744073709551615}, {allow: {trust: [\"on\"], vlans: 1-4094}}]}"))
	f.Add([]byte("---\n---\n...\n" + head))
	f.Add([]byte(strings.Replace(head, "kind: NICProfile", "kind: "+long, 1)))
	f.Add([]byte(head + "spec: {" + long + ": 1, nics: {vendors: [" + long + "], linkTypes: [" + long + "]}, nodeSelector: {a: " + long + "}}"))
	f.Add([]byte(head + "spec: {vfGroups: [{vfs: " + long + ", resourceName: " + long + ", trust: " + long + "}]}"))
	f.Add([]byte(head + "spec: {vfGroups: [" + strings.Repeat("{},", 8000) + "{}]}"))
	f.Add([]byte(head + "spec: {nics: {vendors: [" + strings.Repeat("x,", 8000) + "x]}}"))
	f.Add([]byte(strings.Repeat("--- {}\n", 8000)))
	f.Add([]byte(strings.Repeat(head+"spec: {x: 1, y: 2}\n---\n", 50)))
	f.Add([]byte("--- {a: b}\n"))
	f.Add([]byte("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got []Declaration
		var err error
		fuzz.Allocates(t, len(data), func() { got, err = ParseProfile(data, "f") })
		if fuzz.Refused(t, err); err != nil {
			if got != nil {
				t.Fatalf("a result came with the error %v", err)
			}
			return
		}
		for _, d := range got {
			checkDeclaration(t, d)
		}
		checkSource(t, got, func(source string) (any, error) { return ParseProfile(data, source) })
		fuzz.Allocates(t, len(data), func() { _, err = Build(got, nil, map[string]string{"a": "b"}, DefaultPrefix) })
		fuzz.Refused(t, err)
	})
}

func checkDeclaration(t *testing.T, d Declaration) {
	t.Helper()
	if d.Name == "" || d.NumVFs != nil && (*d.NumVFs < 0 || *d.NumVFs > maxNumVFs) || d.MTU < 0 {
		t.Fatalf("accepted: %+v", d)
	}
	for _, g := range d.Groups {
		if s := g.Settings; s.VLAN != nil && (*s.VLAN < 0 || *s.VLAN > maxVLAN) || s.QoS != nil && (*s.QoS < 0 || *s.QoS > 7) {
			t.Fatalf("settings %+v passed", s)
		}
	}
}

// A policy that is accepted has a value for every rule, or it would be a rule that is not
// kept.
func FuzzParsePolicy(f *testing.F) {
	addExamples(f, "policies/*.yaml")
	f.Add([]byte(policyHead + `spec: {namespaces: ["team-*"], priority: 1, networks: {plugins: [bridge], vlans: "100-200,300", trust: "on", maxTxRate: 1000, hostPaths: [/var/log/x/*]}}`))
	f.Add([]byte(policyHead + `spec: {namespaces: [a], pods: {ips: range, mac: any, deviceID: allow, maxNetworks: 3, cniArgs: [x], networksFrom: [own]}}`))
	f.Add([]byte(policyHead + "spec: {namespaces: [\"[\"]}"))
	f.Add([]byte(policyHead + "spec: {namespaces: [\"[" + long + "\"], networks: {plugins: [/" + long + "], vlans: " + long + ", modes: [" + long + "], hostPaths: [" + long + "]}}"))
	f.Add([]byte(policyHead + "spec: {namespaces: [\"a\u202e\"], networks: {plugins: [\"a\u202e\"], vlans: \"\u202e\", trust: \"\u202e\"}, \u202e: 1}"))
	f.Add([]byte(strings.Replace(policyHead, "tenants", "default", 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got []Policy
		var err error
		fuzz.Allocates(t, len(data), func() { got, err = ParsePolicy(data, "f") })
		if fuzz.Refused(t, err); err != nil {
			if got != nil {
				t.Fatalf("a result came with the error %v", err)
			}
			return
		}
		for _, p := range got {
			if problem := faultOf(p); problem != "" {
				t.Errorf("accepted with %s: %+v", problem, p)
			}
		}
		checkSource(t, got, func(source string) (any, error) { return ParsePolicy(data, source) })
		_, err = OrderPolicies(got)
		fuzz.Refused(t, err)
	})
}

// faultOf names the first rule of a policy that has no valid value.
func faultOf(p Policy) string {
	switch {
	case p.Name == "" || (p.Name == DefaultPolicy) != (len(p.Namespaces) == 0):
		return fmt.Sprintf("name %q and namespaces %q", p.Name, p.Namespaces)
	case checkGlobs(p.Namespaces) != nil || checkGlobs(p.Networks.Uplinks) != nil:
		return "a glob that is none"
	case p.Pods.IPs != IPsNone && p.Pods.IPs != IPsRange && p.Pods.IPs != IPsAny:
		return fmt.Sprintf("ips %q", p.Pods.IPs)
	case p.Pods.MaxNetworks < 0 || p.Pods.MaxNetworks > maxNetworks:
		return fmt.Sprintf("maxNetworks %d", p.Pods.MaxNetworks)
	case p.Networks.MaxTxRate != nil && *p.Networks.MaxTxRate < 1:
		return fmt.Sprintf("maxTxRate %d", *p.Networks.MaxTxRate)
	case p.Networks.VLANs.Contains(-1) || p.Networks.VLANs.Contains(4095):
		return "VLANs " + p.Networks.VLANs.String()
	}
	return ""
}
