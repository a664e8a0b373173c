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

// The cost of reading a recorded list, which was checked when it was parsed.
func BenchmarkReadRecordedConfList(b *testing.B) {
	list, err := ParseConfList([]byte(`{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"macvlan","mode":"bridge","ipam":{"type":"host-local"}}]}`), "")
	if err != nil {
		b.Fatal(err)
	}
	raw, err := list.MarshalJSON()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var again ConfList
		if err := again.UnmarshalJSON(raw); err != nil {
			b.Fatal(err)
		}
	}
}
