package network

import (
	"strings"
	"testing"
)

func TestParseShort(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""}, {"  \n", ""},
		{"a", "default/a"},
		{"a,b", "default/a default/b"},
		{" a , ns/b@x , c@data0 ", "default/a ns/b@x default/c@data0"},
		{"a\n,b\n", "default/a default/b"},
		{"a, a", "default/a default/a"},
		{`[{"name":"a","namespace":""}]`, "default/a"},
		{`[{"name":"a","interfaceRequest":"x"}]`, "default/a@x"},
		{`[{"name":"a","interface":"x","interfaceRequest":"y"}]`, "default/a@x"},
		{`[{"name":"a","interface":"x","interfaceRequest":""}]`, "default/a@x"},
	}
	for _, tt := range tests {
		list, err := ParseSelections(tt.in, "default")
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
		}
		var got []string
		for i, s := range list {
			text := s.Network()
			if s.Interface != "" {
				text += "@" + s.Interface
			}
			if s.Position != i+1 {
				t.Errorf("%q: position %d, want %d", tt.in, s.Position, i+1)
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

// Errors name the position, the field, the reason and the remedy.
func TestParseSelectionsRefuses(t *testing.T) {
	const prefix = "annotation k8s.v1.cni.cncf.io/networks"
	tests := []struct{ in, want string }{
		{"a,,b", prefix + ", network 2: is empty; remove the extra comma"},
		{"a,", prefix + ", network 2: is empty; remove the extra comma"},
		{"A", prefix + `, network 1, field name: "A" is not a valid name; ` + nameRemedy},
		{"a b", prefix + `, network 1, field name: "a b" is not a valid name; ` + nameRemedy},
		{"a/b/c", prefix + `, network 1, field name: "b/c" is not a valid name; ` + nameRemedy},
		{"/a", prefix + `, network 1, field namespace: "" is not a valid name; ` + nameRemedy},
		{"x-/a", prefix + `, network 1, field namespace: "x-" is not a valid name; ` + nameRemedy},
		{"a@", prefix + `, network 1, field interface: "" has 0 bytes; ` + interfaceRemedy},
		{"a@0123456789abcdef", prefix + `, network 1, field interface: "0123456789abcdef" has 16 bytes; ` + interfaceRemedy},
		{"a@x/y", prefix + `, network 1, field interface: "x/y" contains a character that the kernel refuses; ` + interfaceRemedy},
		{"a@x:y", prefix + `, network 1, field interface: "x:y" contains a character that the kernel refuses; ` + interfaceRemedy},
		{"a@net%d", prefix + `, network 1, field interface: "net%d" contains '%', which the kernel takes for a pattern; ` + interfaceRemedy},
		{"a@x y", prefix + `, network 1, field interface: "x y" contains white space or a control character; ` + interfaceRemedy},
		{"a@..", prefix + `, network 1, field interface: ".." is reserved; ` + interfaceRemedy},
		{"a@x, b@x", prefix + `, network 2, field interface: "x" is already the interface of network 1; choose another name`},
		{`"a"`, prefix + `: is a string in JSON, not a list of objects; write [{"name": "…"}] or name[,name…]`},
		{`{"name":"a"}`, prefix + `: is a single object, not a list of objects; write [ … ] around it`},
		{"[\n  {\"name\": \"a\"},\n  {\"name\": }\n]", prefix + `: is not a JSON list of objects: invalid character '}' looking for beginning of value (line 3, column 12); write [{"name": "…"}] or name[,name…]`},
		{`["a"]`, prefix + `, network 1: is not an object: "a"; write {"name": "…"}`},
		{`[null]`, prefix + `, network 1: is not an object: null; write {"name": "…"}`},
		{`[{}]`, prefix + `, network 1, field name: is missing; name the net-attach-def`},
		{`[{"name":"a"},{"name":"b","namespace":"B"}]`, prefix + `, network 2, field namespace: "B" is not a valid name; ` + nameRemedy},
		{`[{"name":7}]`, prefix + `, network 1, field name: is not a string: 7; quote the value`},
		{`[{"name":"a","interface":"way too long indeed"}]`, prefix + `, network 1, field interface: "way too long indeed" has 19 bytes; ` + interfaceRemedy},
		{`[{"name":"a","ips":"10.0.0.1"}]`, prefix + `, network 1, field ips: is not a list of strings: "10.0.0.1"; write ["192.0.2.1/24"]`},
		{`[{"name":"a","ips":["10.0.0.1/33"]}]`, prefix + `, network 1, field ips: "10.0.0.1/33" is neither an IP address nor address/prefix; write "192.0.2.1/24" or "2001:db8::1/64"`},
		{`[{"name":"a","ips":["fe80::1%x;K8S_POD_NAME=victim"]}]`, prefix + `, network 1, field ips: "fe80::1%x;K8S_POD_NAME=victim" is neither an IP address nor address/prefix; write "192.0.2.1/24" or "2001:db8::1/64"`},
		{`[{"name":"a","mac":"01:00:5e:00:00:01"}]`, prefix + `, network 1, field mac: "01:00:5e:00:00:01" has the group bit set: it is a multicast address; write a unicast address such as 02:00:00:00:00:01`},
		{`[{"name":"a","mac":"00:00:00:00:00:00"}]`, prefix + `, network 1, field mac: "00:00:00:00:00:00" is all zero; write a unicast address such as 02:00:00:00:00:01`},
		{`[{"name":"a","mac":"02:00"}]`, prefix + `, network 1, field mac: "02:00" is not a MAC address of six bytes; write a unicast address such as 02:00:00:00:00:01`},
		{`[{"name":"a","infiniband-guid":"02:00:00:00:00:01"}]`, prefix + `, network 1, field infiniband-guid: "02:00:00:00:00:01" is not a GUID of eight bytes; write eight bytes such as c2:11:22:33:44:55:66:77`},
		{`[{"name":"a","bandwidth":{"ingressRate":"1M"}}]`, prefix + `, network 1, field bandwidth: does not hold whole numbers: {"ingressRate":"1M"}; rates are bit/s, bursts are bits`},
		{`[{"name":"a","bandwidth":{"ingressRate":-1}}]`, prefix + `, network 1, field bandwidth: has a negative value: {"ingressRate":-1}; rates are bit/s, bursts are bits`},
		{`[{"name":"a","portMappings":[{"hostPort":0,"containerPort":80}]}]`, prefix + `, network 1, field portMappings: hostPort 0 is not between 1 and 65535; write [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]`},
		{`[{"name":"a","portMappings":[{"hostPort":1,"containerPort":80,"protocol":"icmp"}]}]`, prefix + `, network 1, field portMappings: protocol "icmp" is not tcp, udp or sctp; write [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]`},
		{`[{"name":"a","portMappings":[{"hostPort":1,"containerPort":80,"hostIP":"x"}]}]`, prefix + `, network 1, field portMappings: hostIP "x" is not an IP address; write [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]`},
		{`[{"name":"a","cni-args":[1]}]`, prefix + `, network 1, field cni-args: is not an object: [1]; write {"key": value}`},
		{`[{"name":"a","default-route":["10.0.0.0/8"]}]`, prefix + `, network 1, field default-route: "10.0.0.0/8" is not the address of a gateway; write ["192.0.2.254"], without a prefix length`},
		{`[{"name":"a","default-route":["10.0.0.1","10.0.0.2"]}]`, prefix + `, network 1, field default-route: 10.0.0.2: network 1 already has the default route of that family; keep one gateway per address family in the whole pod`},
		{`[{"name":"a","default-route":["::1"]},{"name":"b","default-route":["10.0.0.2","::2"]}]`, prefix + `, network 2, field default-route: ::2: network 1 already has the default route of that family; keep one gateway per address family in the whole pod`},
	}
	for _, tt := range tests {
		list, err := ParseSelections(tt.in, "default")
		if err == nil {
			t.Errorf("%s: no error, got %+v", tt.in, list)
		} else if err.Error() != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.in, err, tt.want)
		}
	}
}

func TestParseJSONKeys(t *testing.T) {
	list, err := ParseSelections(`[{"Name":"a","interfaceRequest":"old0","ips":null,"mac":"","unknown":{"x":[1]}}]`, "ns")
	if err != nil {
		t.Fatal(err)
	}
	if s := list[0]; s.Network() != "ns/a" || s.Interface != "old0" || s.IPs != nil || s.MAC != "" {
		t.Errorf("got %+v", s)
	}
	if list, err := ParseSelections("[]", "ns"); err != nil || len(list) != 0 {
		t.Errorf("empty list: %v, %v", list, err)
	}
}

func TestParseDefaultNetwork(t *testing.T) {
	if _, ok, err := ParseDefaultNetwork(" ", "ns"); ok || err != nil {
		t.Errorf("blank: %v, %v", ok, err)
	}
	if s, ok, err := ParseDefaultNetwork("other/a", "ns"); !ok || err != nil || s.Network() != "other/a" {
		t.Errorf("%+v, %v, %v", s, ok, err)
	}
	for in, want := range map[string]string{"a,b": "names 2 networks; name exactly one", "[]": "names 0 networks", "a@net7": "field interface", "A": "v1.multus-cni.io/default-network, network 1, field name"} {
		if _, _, err := ParseDefaultNetwork(in, "ns"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", in, err, want)
		}
	}
}
