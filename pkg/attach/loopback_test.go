package attach

import (
	"strings"
	"testing"
)

// DEL leaves the loopback interface as ADD has found it: other networks of the pod use it.
func TestLoopbackComesBackAsItWas(t *testing.T) {
	for _, wasUp := range []bool{false, true} {
		k := newNode(t, igb)
		s := k.set(t.TempDir())
		lo := k.spaces[podNS].links["lo"]
		lo.Up = wasUp
		c, att, err := chainCall(t, s, `{"type": "loopback"}`)
		if err != nil {
			t.Fatal(err)
		}
		if lo.Up != wasUp {
			t.Error("Prepare has changed it")
		}
		if _, err := s.Add(t.Context(), c, &att); err != nil || !lo.Up {
			t.Fatalf("%v, up %t", err, lo.Up)
		}
		if err := s.Check(t.Context(), c, att); err != nil {
			t.Error(err)
		}
		lo.Up = false
		if err := s.Check(t.Context(), c, att); err == nil || !strings.Contains(err.Error(), "down") {
			t.Errorf("down: %v", err)
		}
		lo.Up = true
		for range 2 {
			again := stored(t, att)
			if err := s.Del(t.Context(), c, &again); err != nil {
				t.Error(err)
			}
		}
		if lo.Up != wasUp {
			t.Errorf("up %t, was %t", lo.Up, wasUp)
		}
		k.endNetns(podNS, 0)
		if err := s.Del(t.Context(), c, &att); err != nil {
			t.Errorf("the namespace is gone: %v", err)
		}
	}
}

func TestLoopbackThatFailsAnywhereLeavesNoTrace(t *testing.T) {
	for call := 1; ; call++ {
		k := newNode(t, igb)
		s := k.set(t.TempDir())
		c, att, err := chainCall(t, s, `{"type": "loopback"}`)
		if err != nil {
			t.Fatal(err)
		}
		k.count, k.failCall, k.failErr = 0, call, errInjected
		_, err = s.Add(t.Context(), c, &att)
		if k.count < call {
			return
		}
		if err == nil || k.spaces[podNS].links["lo"].Up {
			t.Errorf("call %d: %v, up %t", call, err, k.spaces[podNS].links["lo"].Up)
		}
	}
}
