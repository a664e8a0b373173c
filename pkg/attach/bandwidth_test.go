package attach

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const limits = `"ingressRate": 8000000, "ingressBurst": 80000, "egressRate": 16000000, "egressBurst": 160000`

var limited = []string{gatewayBridge, `{"type": "bandwidth", ` + limits + `}`, `{"type": "tuning", "mtu": 1400}`}

func TestBandwidthLimitsBothWays(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	c, att, err := chainCall(t, s, limited...)
	if err != nil {
		t.Fatal(err)
	}
	result, err := s.Add(t.Context(), c, &att)
	if err != nil {
		t.Fatal(err)
	}
	ifb := att.Members[1].Bandwidth.IFB
	port, detour := k.spaces[""].links[att.Members[0].Veth.Host], k.spaces[""].links[ifb]
	if diff := cmp.Diff([]string{"limit 1000000/10000", "redirected"}, port.shape); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"limit 2000000/20000"}, detour.shape); diff != "" || !detour.Up || detour.MTU != port.MTU {
		t.Errorf("%s %+v", diff, detour.Link)
	}
	if last := result.Interfaces[3]; last.Name != ifb || last.Sandbox != "" {
		t.Errorf("got %s", asJSON(t, result))
	}
	att.Result = []byte(asJSON(t, result))
	check := func(want string) {
		t.Helper()
		err := s.Check(t.Context(), c, att)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	check("")
	shape := port.shape
	port.shape = nil
	check("packets to interface net1")
	port.shape, detour.shape = shape, nil
	check("packets from interface net1")
	k.remove("", ifb)
	check("the link for packets from interface net1 is missing")
}

func TestBandwidthLeavesNoTrace(t *testing.T) {
	for call := 1; ; call++ {
		k := newNode(t, igb)
		s := k.set(t.TempDir())
		before := k.state()
		c, att, err := chainCall(t, s, append([]string{ptpConf0}, limited[1:]...)...)
		if err != nil {
			t.Fatal(err)
		}
		durable := stored(t, att)
		k.count, k.failCall, k.failErr = 0, call, unix.EIO
		_, err = s.Add(t.Context(), c, &att)
		if k.count < call { // complete: only the record of Prepare is left, and the namespace is gone
			k.failCall = 0
			k.endNetns(podNS, 0)
			for range 2 {
				if err := s.Del(t.Context(), c, &durable); err != nil {
					t.Error(err)
				}
				for i := range durable.Members {
					durable.Members[i].Released = false
				}
			}
			if text := k.state(); strings.Contains(text, "ifb") {
				t.Errorf("left %s", text)
			}
			return
		}
		if !errors.Is(err, unix.EIO) {
			t.Errorf("call %d: got %v", call, err)
		}
		if diff := cmp.Diff(before, k.state()); diff != "" {
			t.Errorf("call %d leaves %s", call, diff)
		}
	}
}

func TestBandwidthsThatAreRefused(t *testing.T) {
	for _, tt := range []struct{ first, fields, want string }{
		{ptpConf0, `"ingressRate": 8000`, `field "ingressBurst": it is not set`},
		{ptpConf0, `"egressBurst": 8000`, `field "egressRate": it is not set`},
		{ptpConf0, `"egressRate": 8000, "egressBurst": 34359738360`, `more than 4 GiB`},
		{ptpConf0, `"egressRate": 1, "egressBurst": 8`, `at least 8`},
		{ptpConf0, `"runtimeConfig": {"bandwidth": {"ingressRate": 8000}}`, `field "ingressBurst": it is not set`},
		{onEth1, limits, "interface net1 is no veth"},
		{"", limits, "put that one before it"},
	} {
		k := newNode(t, igb)
		s := k.set(t.TempDir())
		before := k.state()
		confs := []string{tt.first, `{"type": "bandwidth", ` + tt.fields + `}`}
		if tt.first == "" {
			confs = confs[1:]
		}
		c, att, err := chainCall(t, s, confs...)
		if err == nil {
			_, err = s.Add(t.Context(), c, &att)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.fields, err, tt.want)
		}
		if diff := cmp.Diff(before, k.state()); diff != "" {
			t.Error(diff)
		}
	}
}
