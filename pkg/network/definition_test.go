package network

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestParseDefinition(t *testing.T) {
	tests := []struct{ name, config, want string }{
		{"single plugin", `{"type":"macvlan","mtu":9000}`, `{"cniVersion":"0.3.1","name":"nad","plugins":[{"cniVersion":"0.3.1","mtu":9000,"name":"nad","type":"macvlan"}]}`},
		{"name kept", `{"name":"x.y_z-1","cniVersion":"1.0.0","type":"macvlan"}`, `{"cniVersion":"1.0.0","name":"x.y_z-1","plugins":[{"cniVersion":"1.0.0","name":"x.y_z-1","type":"macvlan"}]}`},
		{"empty name", `{"name":"","type":"macvlan"}`, `{"cniVersion":"0.3.1","name":"nad","plugins":[{"cniVersion":"0.3.1","name":"nad","type":"macvlan"}]}`},
		{"list", "{\n\"cniVersion\":\"0.4.0\",\"disableCheck\":\"true\",\"plugins\":[{\"type\":\"a\"},{\"type\":\"b\",\"big\":12345678901234567890}]}", `{"cniVersion":"0.4.0","name":"nad","disableCheck":true,"plugins":[{"type":"a"},{"big":12345678901234567890,"type":"b"}]}`},
		{"newest of several versions", `{"cniVersion":"0.4.0","cniVersions":["0.4.0","1.0.0","9.0.0"],"plugins":[{"type":"a"}]}`, `{"cniVersion":"1.0.0","name":"nad","plugins":[{"type":"a"}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := ParseDefinition("ns", "nad", tt.config, nil)
			if err != nil {
				t.Fatal(err)
			}
			raw := written(t, d.List)
			if raw != tt.want {
				t.Fatalf("got  %s\nwant %s", raw, tt.want)
			}
			again, err := ParseConfList([]byte(raw), "")
			if err != nil {
				t.Fatal(err)
			}
			if second := written(t, again); second != tt.want {
				t.Errorf("parsed again: %s", second)
			}
		})
	}
}

func TestParseDefinitionRefuses(t *testing.T) {
	tests := []struct{ config, resource, want string }{
		{"{", "", "spec.config: is not a JSON object"},
		{"[]", "", "is not a JSON object"},
		{"null", "", "is null"},
		{`"x"`, "", "is not a JSON object"},
		{`{}`, "", "field type is missing"},
		{`{"type":7}`, "", "is not a plugin's config"},
		{`{"type":"../../bin/sh"}`, "", "is a path"},
		{`{"type":".."}`, "", "is a path"},
		// m#1130
		{`{"type":"fairlead"}`, "", "without end"},
		{`{"type":"macvlan","ipam":{"type":"fairlead"}}`, "", "without end"}, // m#1130
		{`{"plugins":[{"type":"a"},{"type":"fairlead"}]}`, "", "plugin 2: field type"},
		{`{"plugins":[]}`, "", "no plugins"},
		{`{"plugins":null}`, "", "field plugins is null"},
		{`{"plugins":{}}`, "", "plugins"},
		{`{"plugins":[7]}`, "", "plugin"},
		{`{"type":"a","name":"a b"}`, "", "is not a network name"},
		{`{"type":"a","name":7}`, "", "field name is not a string: 7"},
		{`{"type":"a","cniVersion":1}`, "", "field cniVersion is not a string: 1"},
		{`{"type":"a","cniVersion":"9.0.0"}`, "", "9.0.0 is newer than"},
		{`{"type":"a","cniVersion":"x"}`, "", "field cniVersion"},
		{`{"type":"a","capabilities":["ips"]}`, "", "is not a plugin's config"},
		{`{"type":"a"}`, "noprefix", "resourceName"},
		{`{"type":"a"}`, "a/b/c", "prefix/name"},
	}
	for _, tt := range tests {
		_, err := ParseDefinition("ns", "nad", tt.config, map[string]string{ResourceAnnotation: tt.resource})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "ns/nad") {
			t.Errorf("%s: got %v, want %q", tt.config, err, tt.want)
		}
	}
}

func TestDefinitionFromFile(t *testing.T) {
	d, err := ParseDefinition("ns", "nad", " \n", map[string]string{ResourceAnnotation: "x.io/fast"})
	if err != nil || !d.FromFile {
		t.Fatalf("%+v, %v", d, err)
	}
	loaded, err := d.Load(func(name string) (ConfList, error) {
		return ParseConfList([]byte(`{"name":"`+name+`","type":"ptp"}`), "")
	})
	if err != nil || loaded.FromFile || loaded.List.Name != "nad" || loaded.Resource != "x.io/fast" {
		t.Errorf("%+v, %v", loaded, err)
	}
	if _, err := d.Load(func(string) (ConfList, error) { return ConfList{}, ErrNotFound }); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `"name": "nad"`) {
		t.Errorf("missing: %v", err)
	}
	if _, err := d.Load(func(string) (ConfList, error) { return ParseConfList([]byte("{"), "") }); err == nil {
		t.Error("a broken file was accepted")
	}
	if again, err := loaded.Load(nil); err != nil || again.List.Name != "nad" {
		t.Errorf("loaded twice: %+v, %v", again, err)
	}
}

// written is the list as a CNI config list.
func written(t *testing.T, l ConfList) string {
	t.Helper()
	var plugins []Object
	for _, p := range l.Plugins {
		plugins = append(plugins, p.Fields)
	}
	raw, err := json.Marshal(struct {
		CNIVersion   string   `json:"cniVersion"`
		Name         string   `json:"name"`
		DisableCheck bool     `json:"disableCheck,omitempty"`
		Plugins      []Object `json:"plugins"`
	}{l.CNIVersion, l.Name, l.DisableCheck, plugins})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestMember(t *testing.T) {
	list, err := ParseConfList([]byte(`{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"a","name":"own"}]}`), "")
	if err != nil {
		t.Fatal(err)
	}
	got := list.Member(0).With(Object{"prevResult": json.RawMessage(`{"ips":[]}`)}).JSON()
	if want := `{"cniVersion":"1.0.0","name":"n","prevResult":{"ips":[]},"type":"a"}`; string(got) != want {
		t.Errorf("got %s; want %s", got, want)
	}
}
