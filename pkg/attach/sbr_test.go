package attach

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var sbrConfs = []string{`{"type": "macvlan", "master": "eth1", ` + hostLocal + `}`, `{"type": "sbr"}`, `{"type": "tuning", "mtu": 1400}`}

func TestSBRThatFailsAnywhereLeavesNoTrace(t *testing.T) {
	for call := 1; ; call++ {
		k := newNode(t, igb)
		dir := t.TempDir()
		s := k.set(dir)
		before := k.state()
		c, att, err := chainCall(t, s, sbrConfs...)
		if err != nil {
			t.Fatal(err)
		}
		k.count, k.failCall, k.failErr = 0, call, unix.EIO
		_, err = s.Add(t.Context(), c, &att)
		if k.count < call {
			return
		}
		if !errors.Is(err, unix.EIO) {
			t.Errorf("call %d: got %v", call, err)
		}
		if diff := cmp.Diff(before, k.state()); diff != "" {
			t.Errorf("call %d leaves %s", call, diff)
		}
		if left := taken(t, dir); len(left) > 0 {
			t.Errorf("call %d: addresses leaked: %v", call, left)
		}
	}
}

// If sbr itself fails, the interface that another plugin has made is as it was.
func TestSBRPutsTheRoutesBack(t *testing.T) {
	for call := 1; ; call++ {
		k := newNode(t, igb)
		s := k.set(t.TempDir())
		c, att, err := chainCall(t, s, sbrConfs...)
		if err != nil {
			t.Fatal(err)
		}
		first := att.Members[0]
		c.Prev, err = s.addMember(t.Context(), c, &first)
		if err != nil {
			t.Fatal(err)
		}
		before := k.state()
		k.count, k.failCall, k.failErr = 0, call, unix.EIO
		_, err = s.addMember(t.Context(), c, &att.Members[1])
		if k.count < call {
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

// DEL needs no result: an agent that died during ADD has written none.
func TestSBRsRulesAreFoundByTheAddresses(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	before := k.state()
	c, att, err := chainCall(t, s, sbrConfs...)
	if err != nil {
		t.Fatal(err)
	}
	durable := stored(t, att)
	result, err := s.Add(t.Context(), c, &att)
	if err != nil {
		t.Fatal(err)
	}
	if text := k.state(); !strings.Contains(text, "rule from 10.1.0.2/32 table 100") {
		t.Errorf("got %s", text)
	}
	att.Result = []byte(asJSON(t, result))
	if err := s.Check(t.Context(), c, att); err != nil {
		t.Error(err)
	}
	rules := k.spaces[podNS].rules
	k.spaces[podNS].rules = nil
	if err := s.Check(t.Context(), c, att); err == nil || !strings.Contains(err.Error(), "the rule for packets from 10.1.0.2 is missing") {
		t.Errorf("without the rule: %v", err)
	}
	k.spaces[podNS].rules = rules
	for range 2 {
		if err := s.Del(t.Context(), c, &durable); err != nil {
			t.Error(err)
		}
		for i := range durable.Members {
			durable.Members[i].Released = false
		}
	}
	if diff := cmp.Diff(before, k.state()); diff != "" {
		t.Error(diff)
	}
	k.endNetns(podNS, 0)
	if err := s.Del(t.Context(), c, &att); err != nil {
		t.Errorf("the namespace is gone: %v", err)
	}
}

func TestSBRsThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		confs []string
		want  string
	}{
		{[]string{`{"type": "sbr"}`}, "put that one before it"},
		{[]string{onEth1, `{"type": "sbr"}`}, "gave interface net1 no address"},
		{[]string{onEth1, `{"type": "sbr", "table": 0}`}, `field "table": 0 is no routing table`},
		{[]string{onEth1, `{"type": "sbr", "table": "x"}`}, `field "table" cannot be a string`},
	} {
		k := newNode(t, igb)
		s := k.set(t.TempDir())
		before := k.state()
		c, att, err := chainCall(t, s, tt.confs...)
		if err == nil {
			_, err = s.Add(t.Context(), c, &att)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.confs, err, tt.want)
		}
		if diff := cmp.Diff(before, k.state()); diff != "" {
			t.Error(diff)
		}
	}
}
