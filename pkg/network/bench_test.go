package network

import "testing"

// The cost of reading the primary network's conf and a net-attach-def (meta-cni E9).
func BenchmarkParseConfList(b *testing.B) {
	config := []byte(`{"cniVersion":"1.0.0","name":"k8s-pod-network","plugins":[
		{"type":"calico","log_level":"info","datastore_type":"kubernetes","nodename":"n1","mtu":0,"ipam":{"type":"calico-ipam"},"policy":{"type":"k8s"}},
		{"type":"portmap","snat":true,"capabilities":{"portMappings":true}},{"type":"bandwidth","capabilities":{"bandwidth":true}}]}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseConfList(config, "n"); err != nil {
			b.Fatal(err)
		}
	}
}

// The cost for each pod, once a net-attach-def is parsed.
func BenchmarkResolve(b *testing.B) {
	d, err := ParseDefinition("ns", "fast", `{"cniVersion":"1.0.0","type":"sriov","vlan":100,"capabilities":{"mac":true},"ipam":{"type":"host-local","subnet":"10.1.0.0/24"}}`,
		map[string]string{ResourceAnnotation: "example.com/vf"})
	if err != nil {
		b.Fatal(err)
	}
	in := Input{PrimaryIfName: "eth0", Selections: []Selection{{Namespace: "ns", Name: "fast", Position: 1, MAC: "02:00:00:00:00:01"}},
		Definitions: map[string]Definition{"ns/fast": d}, Devices: map[string][]string{"example.com/vf": {"0000:3b:02.1"}}}
	b.ReportAllocs()
	for b.Loop() {
		plan, err := Resolve(in)
		if err != nil {
			b.Fatal(err)
		}
		plan[0].List.Member(0).JSON()
	}
}
