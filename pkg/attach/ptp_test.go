package attach

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const ptpConf0 = `{"type": "ptp", ` + hostLocal + `}`

// All packets of the pod go by way of the host.
func TestPTPIsRouted(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	before := k.state()
	c, att, err := chainCall(t, s, ptpConf0)
	if err != nil {
		t.Fatal(err)
	}
	result, err := s.Add(t.Context(), c, &att)
	if err != nil {
		t.Fatal(err)
	}
	want := "host: add veth net1\npod: address 10.1.0.2/24\npod: up\npod: route 10.9.0.0/16 via 10.1.0.1\npod: delete route 10.1.0.0/24\n" +
		"pod: route 10.1.0.1/32\npod: route 10.1.0.0/24 via 10.1.0.1\nhost: address 10.1.0.1/32\nhost: route 10.1.0.2/32"
	if diff := cmp.Diff(want, strings.Join(k.calls, "\n")); diff != "" {
		t.Error(diff)
	}
	att.Result = []byte(asJSON(t, result))
	if err := s.Check(t.Context(), c, att); err != nil {
		t.Error(err)
	}
	k.spaces[""].links[att.Members[0].Veth.Host].routes = nil
	if err := s.Check(t.Context(), c, att); err == nil || !strings.Contains(err.Error(), "the host's route to 10.1.0.2") {
		t.Errorf("without the route: %v", err)
	}
	if err := s.Del(t.Context(), c, &att); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, k.state()); diff != "" {
		t.Error(diff)
	}
}

func TestPTPWithMasqueradingIsTheProgram(t *testing.T) {
	_, att, err := chainCall(t, newNode(t, igb).set(t.TempDir()), `{"type": "ptp", "ipMasq": true, `+hostLocal+`}`)
	if err != nil || att.Members[0].Plugin != PluginBinary {
		t.Errorf("%v, %+v", err, att.Members)
	}
}
