package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/pci"
)

// withChild is a sandbox with a macvlan on a host netdev.
func withChild(id, uplink, vlanLink string) Sandbox {
	s := sandbox(id)
	s.Attachments = append(s.Attachments, Attachment{
		Network: "default/macvlan", IfName: "net1", Phase: Intent, CNIVersion: "1.0.0",
		Members: []Member{{Type: "macvlan", Plugin: "macvlan", Child: &ChildMember{Uplink: uplink, Mode: "bridge", VLANLink: vlanLink}}},
	})
	return s
}

func withNamed(id string, devices ...pci.Address) Sandbox {
	s := sandbox(id, devices...)
	for i := range s.Attachments {
		s.Attachments[i].Members[0].Named = true
	}
	return s
}

func withResource(s Sandbox, resource string) Sandbox {
	s.Attachments[0].Resource = resource
	return s
}

func releasing(s Sandbox) Sandbox {
	s.Releasing = true
	return s
}

func allocation(device pci.Address, resource string) Allocation {
	return Allocation{Resource: resource, Device: device, Netdev: fmt.Sprint("vf", device.Function), At: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}
}

// meta-cni A1, A6, security S3: the checks are part of the write. Netdevs of the
// fixtures are called vf1 and vf2.
func TestWhatIsAnothersIsRefused(t *testing.T) {
	const fast, slow = "fairlead.dev/fast", "fairlead.dev/slow"
	tests := []struct {
		name   string
		before []any // Sandbox or Allocation
		write  any
		want   string // of the error; empty: accepted
	}{
		{"device of another sandbox", []any{sandbox("a", vf1)}, sandbox("b", vf1),
			"device 0000:3b:02.1 is held by pod default/pod-a (sandbox a, interface net1), where it is in use"},
		{"device that is being released", []any{releasing(sandbox("a", vf1))}, sandbox("b", vf1),
			"device 0000:3b:02.1 is held by pod default/pod-a (sandbox a, interface net1), where it is being released"},
		{"device that the kubelet gave", []any{allocation(vf1, fast)}, sandbox("b", vf1), ""},
		{"A6: named, and allocated", []any{allocation(vf1, fast)}, withNamed("b", vf1),
			"device 0000:3b:02.1, which the pod or the network names, is allocated to another pod as fairlead.dev/fast; request fairlead.dev/fast in the pod's resources instead of naming a device"},
		{"named, and free", []any{allocation(vf2, fast)}, withNamed("b", vf1), ""},
		{"named, recorded again", []any{withNamed("b", vf1)}, withNamed("b", vf1), ""},

		{"A1: child of another pod on the device", []any{withChild("a", "vf1", "")}, sandbox("b", vf1),
			"device 0000:3b:02.1 (netdev vf1) is below interface net1 of pod default/pod-a (sandbox a); use another device, or give that pod's network another uplink"},
		{"own child on the device", []any{withChild("a", "vf1", "")}, sandbox("a", vf1), ""},
		{"child on another netdev", []any{withChild("a", "pf0", "")}, sandbox("b", vf1), ""},
		{"child that is being released", []any{releasing(withChild("a", "vf1", ""))}, sandbox("b", vf1),
			"device 0000:3b:02.1 (netdev vf1) is below interface net1 of pod default/pod-a (sandbox a); use another device, or give that pod's network another uplink"},

		{"A1: child onto a held device", []any{sandbox("a", vf1)}, withChild("b", "vf1", ""),
			"device 0000:3b:02.1 (netdev vf1) is held by pod default/pod-a (sandbox a, interface net1), where it is in use"},
		{"A1: VLAN link onto a held device", []any{sandbox("a", vf1)}, withChild("b", "vf1", "vf1.7"),
			"device 0000:3b:02.1 (netdev vf1) is held by pod default/pod-a (sandbox a, interface net1), where it is in use"},
		{"A1: child onto an allocated device", []any{allocation(vf1, fast)}, withChild("b", "vf1", ""),
			"device 0000:3b:02.1 (netdev vf1) is allocated to a pod as fairlead.dev/fast; use another uplink"},
		{"child on a free netdev", []any{sandbox("a", vf1), allocation(vf1, fast)}, withChild("b", "vf2", ""), ""},

		{"A6: allocated, and held as another resource", []any{sandbox("a", vf1)}, allocation(vf1, slow),
			"device 0000:3b:02.1 is held by pod default/pod-a (sandbox a, interface net1), where it is in use"},
		{"allocated, and held without a resource", []any{withResource(sandbox("a", vf1), "")}, allocation(vf1, fast),
			"device 0000:3b:02.1 is held by pod default/pod-a (sandbox a, interface net1), where it is in use"},
		{"allocated to the next pod while the last one goes", []any{sandbox("a", vf1)}, allocation(vf1, fast), ""},
		{"S3: allocated, and held by who named it", []any{withNamed("a", vf1)}, allocation(vf1, fast),
			"device 0000:3b:02.1 is held by pod default/pod-a (sandbox a, interface net1), where it is in use"},
		{"S3: allocated while who named it goes", []any{releasing(withNamed("a", vf1))}, allocation(vf1, fast), ""},
		{"A1: allocated below a child", []any{withChild("a", "vf1", "")}, allocation(vf1, fast),
			"device 0000:3b:02.1 (netdev vf1) is below interface net1 of pod default/pod-a (sandbox a); use another device, or give that pod's network another uplink"},
		{"allocated again", []any{allocation(vf1, slow)}, allocation(vf1, fast), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l, path := openTemp(t)
			for _, record := range test.before {
				if err := put(l, record); err != nil {
					t.Fatal(err)
				}
			}
			before := string(dump(t, l))
			for range 2 { // refused again, also from the index that Open has made
				got := ""
				err := put(l, test.write)
				if err != nil {
					got = err.Error()
				}
				if got != test.want {
					t.Errorf("got  %s\nwant %s", got, test.want)
				}
				if d := cmp.Diff(before, string(dump(t, l))); test.want != "" && d != "" {
					t.Errorf("a refused write changed the records:\n%s", d)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if l, err = Open(path); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// security S21: a tenant who tries devices out learns nothing of other pods.
func TestTenantTextNamesNoPod(t *testing.T) {
	pod := PodRef{Namespace: "bank", Name: "vault"}
	tests := map[interface {
		error
		TenantText() string
	}]string{
		&HeldError{Device: vf1, Sandbox: "aa11", IfName: "net1", Pod: pod}:                   "device 0000:3b:02.1 is in use by another pod",
		&HeldError{Device: vf1, Sandbox: "aa11", IfName: "net1", Pod: pod, Releasing: true}:  "device 0000:3b:02.1 is being released by another pod",
		&AllocatedError{Device: vf1, Resource: "bank.example/fast"}:                          "device 0000:3b:02.1 is allocated to another pod; request the network's resource instead of naming a device",
		&UplinkError{Device: vf1, Netdev: "eth3", Sandbox: "aa11", IfName: "net1", Pod: pod}: "device 0000:3b:02.1 is in use by another pod",
	}
	for err, want := range tests {
		if got := err.TenantText(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func put(l *Ledger, record any) error {
	if s, ok := record.(Sandbox); ok {
		return l.PutSandbox(s)
	}
	return l.PutAllocations([]Allocation{record.(Allocation)})
}

// A release always gets its record, whatever has happened to its device meanwhile.
func TestReleaseIsNeverRefused(t *testing.T) {
	l, _ := openTemp(t)
	s := withNamed("a", vf1)
	if err := l.PutSandbox(s); err != nil {
		t.Fatal(err)
	}
	// Records of an earlier release were not checked like this.
	err := l.w.update(func(b *batch) error {
		e, raw, err := encode(withChild("b", "vf1", ""))
		return errors.Join(err, b.put(e, raw), b.putAllocation(allocation(vf1, "fairlead.dev/slow")))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		if err := rewrite(l, id, func(s *Sandbox) { s.Releasing, s.Failure = true, "busy" }); err != nil {
			t.Errorf("sandbox %s: %v", id, err)
		}
	}
}

// One device may be named by several members of a chain.
func TestOneDeviceInAChain(t *testing.T) {
	l, _ := openTemp(t)
	s := sandbox("a", vf1)
	s.Attachments[0].Members = append(s.Attachments[0].Members, Member{Type: "rdma", Plugin: "binary", Device: vf1})
	if err := l.PutSandbox(s); err != nil {
		t.Fatal(err)
	}
	s.Attachments[0].Members[0].Released = true
	if err := l.PutSandbox(s); err != nil {
		t.Fatal(err)
	}
	if id, _, _ := l.Holder(vf1); id != "a" {
		t.Errorf("held by %q while a member still has it", id)
	}
	s.Attachments[0].Members[1].DeviceReturned = true
	if err := l.PutSandbox(s); err != nil {
		t.Fatal(err)
	}
	if id, _, held := l.Holder(vf1); held {
		t.Errorf("held by %q, and no member has it", id)
	}
}

// meta-cni A6: a pod names a VF and the kubelet allocates it in the same moment. One
// of them gets it.
func TestNamedAndAllocatedAtOnce(t *testing.T) {
	l, _ := openTemp(t)
	for round := range 20 {
		device := pci.Address{Domain: 1, Bus: uint8(round)}
		writes := []func() error{
			func() error { return l.PutSandbox(withNamed(fmt.Sprint("a", round), device)) },
			func() error { return l.PutAllocations([]Allocation{allocation(device, "fairlead.dev/fast")}) },
		}
		rand.Shuffle(len(writes), func(i, j int) { writes[i], writes[j] = writes[j], writes[i] })
		errs := make([]error, len(writes))
		var wg sync.WaitGroup
		for i, write := range writes {
			wg.Go(func() { errs[i] = write() })
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("round %d: %v and %v, want one to get the device", round, errs[0], errs[1])
		}
	}
}

// The index that is kept up by changes is the one that Open derives from the records.
func TestIndexIsThatOfTheRecords(t *testing.T) {
	l, path := openTemp(t)
	random := rand.New(rand.NewPCG(1, 2))
	pick := func() Sandbox {
		id, device := fmt.Sprint(random.IntN(6)), pci.Address{Bus: 1, Function: uint8(random.IntN(4))}
		switch random.IntN(4) {
		case 0:
			return withChild(id, fmt.Sprint("vf", random.IntN(4)), fmt.Sprint("vlan", random.IntN(2)))
		case 1:
			return withNamed(id, device)
		case 2:
			return releasing(sandbox(id, device))
		}
		return sandbox(id, device, pci.Address{Bus: 1, Function: uint8(random.IntN(4))})
	}
	var wg sync.WaitGroup
	for range 400 {
		s, a := pick(), allocation(pci.Address{Bus: 1, Function: uint8(random.IntN(4))}, "fairlead.dev/fast")
		action := random.IntN(6)
		wg.Go(func() {
			switch action {
			case 0:
				_ = l.DeleteSandbox(s.ID)
			case 1:
				_ = l.PutAllocations([]Allocation{a})
			case 2:
				_ = l.DeleteAllocations([]Allocation{a})
			default:
				_ = l.PutSandbox(s)
			}
		})
		if random.IntN(8) == 0 {
			wg.Wait()
		}
	}
	wg.Wait()
	if err := l.PutSandbox(sandbox("last")); err != nil { // the last commit is over
		t.Fatal(err)
	}
	kept, staged := describeIndex(l.w.index), describeIndex(l.w.staged)
	if d := cmp.Diff(kept, staged); d != "" {
		t.Errorf("what is durable and what was staged differ:\n%s", d)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if d := cmp.Diff(kept, describeIndex(l.w.index)); d != "" {
		t.Errorf("kept up, and derived from the records:\n%s", d)
	}
}

func describeIndex(x *index) []string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for id, e := range x.sandboxes {
		add("sandbox %s releasing %v holds %d", id, e.Releasing, len(e.Holdings))
	}
	for d, u := range x.devices {
		add("device %s of %v", d, u)
	}
	for d, a := range x.allocations {
		add("allocation %s %v", d, a)
	}
	for _, r := range []relation[string, LinkUser]{x.children, x.vlanLinks} {
		for k, users := range r {
			for u := range users {
				add("%s below %v", k, u)
			}
		}
	}
	for i, r := range []relation[string, pci.Address]{x.held, x.allocated} {
		for k, devices := range r {
			for d := range devices {
				add("%s of %s %d", k, d, i)
			}
		}
	}
	slices.Sort(lines)
	return lines
}
