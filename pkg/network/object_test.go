package network

import (
	"encoding/json"
	"testing"
)

func TestObject(t *testing.T) {
	o, err := ParseObject([]byte(`{"b": [1, 2], "A":"<x>", "ä\n":null}`))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, got, want string }{
		{"as written, in order", string(o.JSON()), `{"A":"<x>","b":[1, 2],"ä\n":null}`},
		{"any case", string(o.Get("a")) + string(o.Get("B")) + string(o.Get("c")), `"<x>"[1, 2]`},
		{"only", string(o.Only("a", "c").JSON()), `{"A":"<x>"}`},
		{"without", string(o.Without("a", "B").JSON()), `{"ä\n":null}`},
		{"with", string(o.With(Object{"a": json.RawMessage("1"), "c": json.RawMessage("2")}).JSON()), `{"a":1,"b":[1, 2],"c":2,"ä\n":null}`},
		{"none", string(Object(nil).JSON()), `{}`},
		{"of none", string(Object(nil).With(Object{"a": json.RawMessage("1")}).JSON()), `{"a":1}`},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, tt.got, tt.want)
		}
	}
	if len(o) != 3 || len(o.Get("A")) != 5 {
		t.Errorf("the object has changed: %s", o.JSON())
	}
}

// The device, the pod's args and the capabilities do not change the parsed definition,
// which other pods share.
func TestResolveLeavesTheDefinitionAlone(t *testing.T) {
	d, err := ParseDefinition("ns", "nad", `{"type":"sriov","capabilities":{"mac":true},"args":{"cni":{"x":1}}}`, map[string]string{ResourceAnnotation: "example.com/vf"})
	if err != nil {
		t.Fatal(err)
	}
	before := written(t, d.List)
	in := Input{PrimaryIfName: "eth0", Selections: []Selection{{Namespace: "ns", Name: "nad", Position: 1, MAC: "02:00:00:00:00:01", CNIArgs: map[string]any{"y": 2}}},
		Definitions: map[string]Definition{"ns/nad": d}, Devices: map[string][]string{"example.com/vf": {"0000:3b:02.1"}}}
	plan, err := Resolve(in)
	if err != nil {
		t.Fatal(err)
	}
	if after := written(t, d.List); after != before || written(t, plan[0].List) == before {
		t.Errorf("before %s\nafter  %s\nplan   %s", before, after, written(t, plan[0].List))
	}
}
