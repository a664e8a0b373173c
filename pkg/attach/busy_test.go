package attach

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// meta-cni C7: a VF that is being reset is waited for, at each call to its driver or the PF's,
// in ADD and in DEL. One that stays so is an error, within a bound over all steps.
func TestABusyVFIsWaitedFor(t *testing.T) {
	answers := []unix.Errno{unix.EBUSY, unix.EAGAIN, unix.ENETDOWN}
	for i, call := range []string{"up", "down", "mtu", "vf 0"} {
		for _, busy := range []int{1, 7, 100000} {
			t.Run(fmt.Sprintf("%s %d times", call, busy), func(t *testing.T) {
				k := newNode(t, igb)
				k.spaces[""].links["eth3"].Up = true
				s := k.set(t.TempDir())
				before := k.state()
				att := prepared(t, s, "sriov", request(full, vf0Addr))
				a := attacherOf(t, s, "sriov")
				for _, phase := range []string{"ADD", "DEL"} {
					k.calls, k.busy, k.busyErr = nil, map[string]int{call: busy}, answers[i%len(answers)]
					var err error
					if phase == "ADD" {
						_, err = a.Bind(t.Context(), env, &att, podNS)
					} else {
						err = a.Release(t.Context(), env, att, podNS)
					}
					if busy <= busyPauses && err != nil {
						t.Fatalf("%s: %v", phase, err)
					}
					if busy <= busyPauses || err == nil {
						continue
					}
					if !errors.Is(err, k.busyErr) || !strings.Contains(err.Error(), "is so after 5s") {
						t.Errorf("%s: %v", phase, err)
					}
					if n := strings.Count(strings.Join(k.calls, "\n"), ": "+call); n > 2*(busyPauses+2) { // of the ADD, and of its undo
						t.Errorf("%s: %d calls", phase, n)
					}
					k.busy = nil
					if err := a.Release(t.Context(), env, att, podNS); err != nil { // a later try
						t.Fatal(err)
					}
				}
				if diff := cmp.Diff(before, k.state()); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// meta-cni C7: so are the links that tuning changes, and others of the pod.
func TestTuningWaitsForABusyVF(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	list, err := listOf("", plain, `{"type": "tuning", "mtu": 1400}`)
	if err != nil {
		t.Fatal(err)
	}
	c := request(plain, vf0Addr)
	call := Call{SandboxID: "s1", IfName: "net1", Netns: env.call(podNS).Netns, Resource: c.Resource, Device: c.Device}
	att, err := s.Prepare(t.Context(), call, list)
	if err != nil {
		t.Fatal(err)
	}
	k.busy, k.busyErr = map[string]int{"mtu": 5}, unix.EBUSY
	if _, err := s.Add(t.Context(), call, &att); err != nil {
		t.Fatal(err)
	}
	if got := k.vfs[vf0Addr].netdev.MTU; got != 1400 {
		t.Errorf("MTU %d", got)
	}
}

// meta-cni D1: iavf takes a random MAC when the reset is through that zeroing the MAC at the PF
// has begun. The VF has its own in the end.
func TestMACIsRestoredAfterALateReset(t *testing.T) {
	k := newNode(t, igb)
	k.vfs[vf0Addr].driver = "iavf"
	s := k.set(t.TempDir())
	before := k.state()
	att := prepared(t, s, "sriov", request(`{"name": "fast", "type": "sriov", "mac": "02:00:00:cc:00:01"}`, vf0Addr))
	a := attacherOf(t, s, "sriov")
	if _, err := a.Bind(t.Context(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	k.driver.resets = true
	if err := a.Release(t.Context(), env, att, podNS); err != nil {
		t.Fatal(err)
	}
	k.driver.resets = false
	for len(k.pending) > 0 {
		k.tick()
	}
	if diff := cmp.Diff(before, k.state()); diff != "" {
		t.Error(diff)
	}
}
