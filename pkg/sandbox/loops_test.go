package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sandbox/sandboxtest"
)

// tenantExec is a host on which one tenant's plugins hang at DEL until they are killed.
type tenantExec struct {
	*sandboxtest.World
	tenant string
	hung   atomic.Int32
}

func (e *tenantExec) ExecPlugin(ctx context.Context, plugin string, stdin []byte, environ []string) ([]byte, error) {
	if slices.Contains(environ, "CNI_COMMAND=DEL") && strings.Contains(strings.Join(environ, " "), "K8S_POD_NAMESPACE="+e.tenant) {
		e.hung.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return e.World.ExecPlugin(ctx, plugin, stdin, environ)
}

// tenantPod makes a running pod of another namespace.
func (n *node) tenantPod(namespace, name, id string, devices ...string) {
	n.t.Helper()
	n.pod(name, "")
	p := n.cluster.Pods["default/"+name]
	p.Namespace = namespace
	if len(devices) > 0 {
		p.Annotations["k8s.v1.cni.cncf.io/networks"] = "default/fast"
		n.kubelet.ByPod[namespace+"/"+name] = map[string][]string{"fairlead.dev/fast": devices}
	}
	n.cluster.Pods[namespace+"/"+name] = p
	r := n.request(id, name)
	r.Pod.Namespace, r.Args = namespace, "K8S_POD_NAMESPACE="+namespace+";K8S_POD_NAME="+name
	n.newNetns(r.Netns)
	if _, err := n.serve(n.t.Context(), "ADD", r); err != nil {
		n.t.Fatal(err)
	}
	n.markReleasing(id)
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

// S14: a tenant's plugins that hang delay neither another tenant's VF nor its sandbox,
// in retries, in Reconcile, and in the replay of tombstones.
func TestOneTenantsHangingPluginsDelayNoOther(t *testing.T) {
	for _, by := range []string{"retry", "reconcile", "replay"} {
		t.Run(by, func(t *testing.T) {
			n := newNode(t)
			host := &tenantExec{World: n.world, tenant: "evil"}
			n.o.HostExec = host
			n.keeper = New(n.o)
			const hanging = 8
			for i := range hanging {
				n.tenantPod("evil", fmt.Sprint("a", i), fmt.Sprint("a", i))
			}
			n.tenantPod("good", "b", "z", vf1) // the last in the order of the ledger
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				n.releaseBy(ctx, by)
			}()
			eventually(t, "the other tenant's sandbox is released", func() bool {
				_, ok, err := n.ledger.Sandbox("z")
				return err == nil && !ok
			})
			eventually(t, "the tenant's programs hang", func() bool { return host.hung.Load() > 0 })
			time.Sleep(50 * time.Millisecond)
			if hung := host.hung.Load(); hung > 2 {
				t.Errorf("%d programs of the tenant hang at a time", hung)
			}
			cancel()
			<-ended
			n.keeper.reconciler.work.Wait()
		})
	}
}

func (n *node) releaseBy(ctx context.Context, by string) {
	switch by {
	case "retry":
		n.keeper.reconciler.retryDue(ctx, &joined{})
	case "reconcile":
		_ = n.keeper.Reconcile(ctx)
	case "replay":
		var all joined
		for _, e := range n.ledger.Entries() {
			all.begin()
			go func() {
				defer all.end()
				_ = n.keeper.Release(ctx, Request{ID: e.ID, IfName: e.IfName, Queued: true})
			}()
		}
		all.group.Wait()
	}
}

// S14: while the programs of a VF's own sandbox hang, the VF is free already.
func TestAVFIsFreeBeforeTheProgramsOfItsSandbox(t *testing.T) {
	n := newNode(t)
	host := &tenantExec{World: n.world, tenant: "evil"}
	n.o.HostExec = host
	n.keeper = New(n.o)
	n.tenantPod("evil", "a", "c1", vf1)
	ctx, cancel := context.WithCancel(t.Context())
	n.keeper.reconciler.retryDue(ctx, &joined{})
	eventually(t, "the program hangs", func() bool { return host.hung.Load() > 0 })
	if _, _, held := n.ledger.Holder(pci.MustParseAddress(vf1)); held {
		t.Error("the VF waits for the program")
	}
	cancel()
	n.keeper.reconciler.work.Wait()
	if s := n.sandbox("c1"); s.Attempts != 1 || s.Failure == "" {
		t.Errorf("record: attempts %d, failure %q", s.Attempts, s.Failure)
	}
}

// meta-cni B3: neither a kubelet nor an API server that hangs delays a release.
func TestAHangingKubeletDelaysNoRelease(t *testing.T) {
	n := newNode(t)
	n.pod("p", "fast", vf1)
	n.pod("owed", "")
	n.allocate(t, vf2)
	n.mustAdd("c1", "p")
	n.cluster.StatusErr = errors.New("API server away")
	n.mustAdd("c2", "owed")
	n.markReleasing("c1")
	n.kubelet.Hanged, n.cluster.Hang = true, true
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = n.keeper.Run(ctx) }()
	eventually(t, "the sandbox is released", func() bool {
		_, ok, err := n.ledger.Sandbox("c1")
		return err == nil && !ok
	})
	cancel()
	<-ended
}

// meta-cni B3: the kubelet has a deadline, which no caller has to set.
func TestTheKubeletHasADeadline(t *testing.T) {
	n := newNode(t)
	n.allocate(t, vf1)
	devices := &deadlineDevices{Devices: n.kubelet}
	n.o.Devices = devices
	n.keeper = New(n.o)
	if err := n.keeper.Reconcile(context.Background()); err != nil || !devices.limited {
		t.Errorf("limited %t, %v", devices.limited, err)
	}
}

type deadlineDevices struct {
	*sandboxtest.Devices
	limited bool
}

func (d *deadlineDevices) InUse(ctx context.Context) (map[string][]string, error) {
	_, d.limited = ctx.Deadline()
	return d.Devices.InUse(ctx)
}

// meta-cni B3: after the first time-out of a round, the statuses that are owed wait.
func TestStatusesPauseAfterATimeOut(t *testing.T) {
	n := newNode(t)
	n.cluster.StatusErr = errors.New("API server away")
	for i := range 3 {
		n.pod(fmt.Sprint("p", i), "")
		n.mustAdd(fmt.Sprint("c", i), fmt.Sprint("p", i))
	}
	n.cluster.StatusErr = context.DeadlineExceeded
	n.cluster.Patches = 0
	if owed := n.keeper.statuses.retry(t.Context()); !owed || n.cluster.Patches != 1 {
		t.Errorf("owed %t, %d patches", owed, n.cluster.Patches)
	}
	n.cluster.StatusErr = errors.New("one pod's own trouble")
	n.cluster.Patches = 0
	if owed := n.keeper.statuses.retry(t.Context()); !owed || n.cluster.Patches != 3 {
		t.Errorf("owed %t, %d patches", owed, n.cluster.Patches)
	}
	n.cluster.StatusErr = nil
	if owed := n.keeper.statuses.retry(t.Context()); owed {
		t.Error("still owed")
	}
}

// countingLedger counts the decodes of records.
type countingLedger struct {
	sandboxtest.Ledger
	decoded int
}

func (l *countingLedger) Sandbox(id string) (ledger.Sandbox, bool, error) {
	l.decoded++
	return l.Ledger.Sandbox(id)
}

// While nothing is due, no record is decoded, and no loop has a next time to wake up.
func TestAQuietNodeIsLeftAlone(t *testing.T) {
	n := newNode(t)
	n.pod("p", "fast, tuned", vf1)
	n.allocate(t, vf1)
	n.mustAdd("c1", "p")
	l := &countingLedger{Ledger: n.o.Ledger.(sandboxtest.Ledger)}
	n.o.Ledger = l
	n.keeper = New(n.o)
	n.kubelet.Asked = 0
	_, retries := n.keeper.reconciler.retryDue(t.Context(), &joined{})
	_, looks := n.keeper.allocations.look(t.Context())
	owed := n.keeper.statuses.retry(t.Context())
	if l.decoded != 0 || n.kubelet.Asked != 0 || retries || looks || owed {
		t.Errorf("decoded %d records, asked the kubelet %d times; due again: retries %t, allocations %t, statuses %t", l.decoded, n.kubelet.Asked, retries, looks, owed)
	}
}

// devices B10: a VF without an attachment does not have the kubelet asked for ever.
func TestAConfirmedAllocationIsNotAskedForAgain(t *testing.T) {
	n := newNode(t)
	n.pod("p", "", vf1)
	n.allocate(t, vf1)
	_, again := n.keeper.allocations.look(t.Context())
	if n.kubelet.Asked != 1 || again {
		t.Errorf("asked %d times, and again: %t", n.kubelet.Asked, again)
	}
	for range 5 {
		n.now = n.now.Add(time.Hour)
		if _, again := n.keeper.allocations.look(t.Context()); again {
			t.Error("it is to be looked at again")
		}
	}
	if n.kubelet.Asked != 1 {
		t.Errorf("asked %d times", n.kubelet.Asked)
	}
	n.now = n.now.Add(time.Second)
	n.allocate(t, vf1) // for another pod
	if n.keeper.allocations.look(t.Context()); n.kubelet.Asked != 2 {
		t.Errorf("a new allocation is not looked at")
	}
}

// devices B10: a returned device that the kubelet keeps listing is asked about less and
// less often, and then only by Reconcile.
// A pod whose networks all fail has devices that no sandbox ever returns. They are free
// soon after the pod is gone, without waiting for Reconcile.
func TestDevicesOfAPodThatNeverStartedAreFreed(t *testing.T) {
	n := newNode(t)
	n.pod("p", "no-such-network", vf1)
	n.allocate(t, vf1)
	n.now = n.now.Add(time.Second)
	if _, err := n.call("ADD", "c1", "p"); err == nil {
		t.Fatal("the pod has started")
	}
	if _, again := n.keeper.allocations.look(t.Context()); again {
		t.Error("the kubelet is asked again and again about a pod that it lists")
	}
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	var took time.Duration
	for pause, again := time.Duration(0), true; again && took < 10*time.Minute; {
		if took > 10*time.Second {
			delete(n.kubelet.ByPod, "default/p")
		}
		pause, again = n.keeper.allocations.look(t.Context())
		if left, err := n.ledger.Allocations(); err != nil || len(left) == 0 {
			break
		}
		took += pause
		n.now = n.now.Add(pause)
	}
	if left, err := n.ledger.Allocations(); err != nil || len(left) != 0 || took > 2*time.Minute {
		t.Errorf("after %v: %v, %v", took, left, err)
	}
}

func TestTheKubeletIsAskedLessAndLess(t *testing.T) {
	n := newNode(t)
	n.pod("p", "fast", vf1)
	n.allocate(t, vf1)
	n.now = n.now.Add(time.Second)
	n.mustAdd("c1", "p")
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	var pauses []time.Duration
	for range 20 {
		pause, again := n.keeper.allocations.look(t.Context())
		if !again {
			break
		}
		pauses = append(pauses, pause)
		n.now = n.now.Add(pause)
	}
	want := []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second}
	if !slices.Equal(pauses, want) {
		t.Errorf("pauses %v, want %v", pauses, want)
	}
	delete(n.kubelet.ByPod, "default/p")
	if err := n.keeper.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, err := n.ledger.Allocations(); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}
