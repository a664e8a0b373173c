package network

import "testing"

// reports 23: a key that is ignored is named, with the nearest known one.
func TestUnknownKeys(t *testing.T) {
	for in, want := range map[string]string{
		`lan`: "",
		`[{"name":"lan","Interface":"x","IPS":["10.0.0.1/24"],"cni-args":{"any":1}}]`: "",
		`[{"name":"lan","ip":["10.0.0.1/24"]}]`:                                       `network 1 (default/lan): the key "ip" is unknown and ignored; the nearest known one is "ips"`,
		`[{"name":"lan"},{"name":"fast","iface":"x","ipam":{},"gateway":["10.0.0.1"]}]`: `network 2 (default/fast): the key "gateway" is unknown and ignored. ` +
			`network 2 (default/fast): the key "iface" is unknown and ignored; the nearest known one is "interface". network 2 (default/fast): the key "ipam" is unknown and ignored; the nearest known one is "ips"`,
		`[{"name":"lan","portmaping":[],"default_route":[]}]`: `network 1 (default/lan): the key "default_route" is unknown and ignored; the nearest known one is "default-route". ` +
			`network 1 (default/lan): the key "portmaping" is unknown and ignored; the nearest known one is "portMappings"`,
	} {
		list, err := ParseSelections(in, "default")
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if got := UnknownKeys(list); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", in, got, want)
		}
	}
}
