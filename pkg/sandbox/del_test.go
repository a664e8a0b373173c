package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sandbox/sandboxtest"
)

func TestDelUndoesInReverse(t *testing.T) {
	n := newNode(t)
	n.pod("p", "bridge-conf, bridge-conf")
	n.mustAdd("c1", "p")
	n.world.Log = nil
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	want := `put c1 releasing eth0=exec/bound net1=exec/bound net2=exec/bound
exec DEL c1 net2 bridge prevResult
exec DEL c1 net1 bridge prevResult
exec DEL c1 eth0 portmap {"portMappings":[{"hostPort":80}]} prevResult
exec DEL c1 eth0 bridge prevResult
delete c1
`
	if diff := cmp.Diff(want, n.world.Trace()); diff != "" {
		t.Error(diff)
	}
	n.wantClean()
}

// A DEL needs nothing but the ledger: no API server, no namespace, no conf, no
// network config; and the definitions may have changed since.
func TestDelFromTheLedgerAlone(t *testing.T) {
	n := newNode(t)
	n.pod("p", "fast, tuned", vf1)
	n.mustAdd("c1", "p")
	n.cluster.Down = errors.New("API server away")
	n.cluster.NADs, n.kubelet.ByPod = nil, nil
	n.noNetns("/run/netns/c1")
	if err := os.RemoveAll(n.dir + "/net.d"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.serve(t.Context(), "DEL", Request{ID: "c1", IfName: "eth0", Exec: n.world, At: n.now}); err != nil {
		t.Fatal(err)
	}
	n.wantClean()
}

// m#1449: a pod from before the installation gives its address back, too, later
// if it cannot be done now.
func TestDelOfUnknownSandbox(t *testing.T) {
	n := newNode(t)
	n.world.Failing("del")
	if _, err := n.call("DEL", "c9", "p"); err != nil {
		t.Fatal(err)
	}
	if s := n.sandbox("c9"); !s.Releasing || s.Attempts != 1 {
		t.Errorf("the failed DEL is not on record: %+v", s)
	}
	n.world.Fail = nil
	n.now = n.now.Add(maxRetry)
	n.retryDue(t.Context())
	n.wantClean()
	if strings.Count(n.world.Trace(), "exec DEL c9 eth0 bridge") != 2 {
		t.Errorf("the primary's DEL was not run, and run again:\n%s", n.world.Trace())
	}
}

// m#669: a pod does not hang in termination; m#1239, m#1449, m#1521: and nothing
// is forgotten. The failing step is injected at every step.
func TestDelFailsAtEveryStep(t *testing.T) {
	for at := 1; ; at++ {
		n := newNode(t)
		n.pod("p", "fast, bridge-conf, tuned", vf1)
		n.mustAdd("c1", "p")
		before, hit := n.world.Steps, false
		n.world.Fail = func(step int, name string) error {
			if step == before+at {
				hit = true
				return errors.New("boom")
			}
			return nil
		}
		if _, err := n.call("DEL", "c1", "p"); err != nil {
			t.Errorf("step %d: DEL failed: %v", at, err)
		}
		if !hit {
			n.wantClean()
			break
		}
		t.Run(fmt.Sprintf("step %d", at), func(t *testing.T) {
			n.t = t
			n.world.Fail = nil
			n.now = n.now.Add(maxRetry)
			n.retryDue(t.Context())
			n.wantClean()
		})
	}
}

// If a release fails and cannot even be recorded, the runtime must ask again.
func TestDelThatCannotBeRecorded(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf")
	n.mustAdd("c1", "p")
	n.world.Fail = func(_ int, name string) error {
		if name == "put" || name == "release" {
			return errors.New("boom")
		}
		return nil
	}
	if _, err := n.call("DEL", "c1", "p"); err == nil || !strings.Contains(err.Error(), "ledger cannot keep it") {
		t.Errorf("got %v", err)
	}
	n.world.Fail = nil
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Error(err)
	}
	n.wantClean()
}

func TestFailedReleaseShows(t *testing.T) {
	n := newNode(t)
	n.pod("p", "fast", vf1)
	n.mustAdd("c1", "p")
	n.world.Failing("release")
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	s := n.sandbox("c1")
	if !s.Releasing || s.Attempts != 1 || !strings.Contains(s.Failure, "network default/fast (interface net1): release: mailbox timeout") ||
		!s.RetryAt.Equal(n.now.Add(firstRetry)) {
		t.Errorf("record: %+v", s)
	}
	if s.Attachments[0].Phase != ledger.Released || s.Attachments[1].Phase != ledger.Bound {
		t.Errorf("phases: %s %s", s.Attachments[0].Phase, s.Attachments[1].Phase)
	}
	if last := n.cluster.Events[len(n.cluster.Events)-1]; !strings.Contains(last, "Warning ReleaseFailed") {
		t.Errorf("event: %s", last)
	}
	steps := n.world.Steps
	n.retryDue(t.Context()) // too early
	if n.world.Steps != steps {
		t.Error("retried before its time")
	}
	n.now = n.now.Add(firstRetry)
	n.retryDue(t.Context())
	if s := n.sandbox("c1"); s.Attempts != 2 || !s.RetryAt.Equal(n.now.Add(2*firstRetry)) {
		t.Errorf("second attempt: %d, %v", s.Attempts, s.RetryAt)
	}
}

// A restart is the usual remedy at 3 a.m.: waiting releases are tried again at once.
func TestReleaseIsRetriedAtTheStartOfTheAgent(t *testing.T) {
	n := newNode(t)
	n.pod("p", "fast", vf1)
	n.mustAdd("c1", "p")
	n.world.Failing("release")
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	n.world.Fail = nil
	n.now = n.now.Add(time.Second) // before the next retry of the old agent
	n.restart(func(*Options) {})
	if err := n.keeper.Reconcile(t.Context()); err != nil {
		t.Error(err)
	}
	n.wantClean()
}

// hanging is a host on which plugins hang until they are killed.
type hanging struct{ *sandboxtest.World }

func (hanging) ExecPlugin(ctx context.Context, _ string, _ []byte, _ []string) ([]byte, error) {
	if _, limited := ctx.Deadline(); !limited {
		return nil, errors.New("nobody would ever kill it")
	}
	return nil, context.DeadlineExceeded
}

// A plugin that hangs in a retry must not stop all repair on the node.
func TestRetriesAreLimitedInTime(t *testing.T) {
	n := newNode(t)
	n.pod("p", "")
	n.mustAdd("c1", "p")
	n.o.HostExec = hanging{n.world}
	n.keeper = New(n.o)
	n.markReleasing("c1")
	n.retryDue(t.Context())
	if s := n.sandbox("c1"); !strings.Contains(s.Failure, context.DeadlineExceeded.Error()) {
		t.Errorf("failure: %s", s.Failure)
	}
}

// A VF that is back is free, though the addresses of its last pod are still owed;
// and the retry of that does not touch it.
func TestAVFThatIsBackIsFree(t *testing.T) {
	n := newNode(t)
	n.world.Owing = errors.New("the ipam's daemon is down")
	n.pod("p", "fast", vf1)
	n.mustAdd("c1", "p")
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	if s := n.sandbox("c1"); !s.Releasing || !s.Attachments[1].Members[0].DeviceReturned {
		t.Fatalf("record: %s", sandboxtest.Describe(s))
	}
	n.pod("q", "fast", vf1)
	n.mustAdd("c2", "q")
	n.now = n.now.Add(maxRetry)
	n.retryDue(t.Context())
	if n.world.VFs[vf1] != "c2" {
		t.Errorf("%s belongs to %q, want c2", vf1, n.world.VFs[vf1])
	}
	if holder, _, _ := n.ledger.Holder(pci.MustParseAddress(vf1)); holder != "c2" {
		t.Errorf("the ledger says %q", holder)
	}
}

// A plugin is looked for where it was when it made the attachment: one that is not
// found would be taken for one that never ran.
func TestReleaseLooksWhereThePluginsWere(t *testing.T) {
	n := newNode(t)
	n.pod("p", "")
	r := n.request("c1", "p")
	r.Path = "/opt/cni/bin:/usr/libexec/cni"
	n.newNetns(r.Netns)
	if _, err := n.serve(t.Context(), "ADD", r); err != nil {
		t.Fatal(err)
	}
	if d := n.keeper.releaser.searched(n.sandbox("c1"), programs{path: "/opt/cni/bin"}); d.path != "/opt/cni/bin:/usr/libexec/cni:/opt/cni/bin" {
		t.Errorf("it is looked for in %s", d.path)
	}
}

func TestBackoff(t *testing.T) {
	for attempts, want := range map[int]time.Duration{1: 5 * time.Second, 2: 10 * time.Second, 4: 40 * time.Second, 7: maxRetry, 1000: maxRetry} {
		if got := backoff(attempts); got != want {
			t.Errorf("backoff(%d) = %v, want %v", attempts, got, want)
		}
	}
}

// cni#219: a VF whose first holder could not be released goes to the next pod
// only after that release, and a late DEL of the first does not touch it. (The
// fake resets the VF for whoever asks, and fails the test when it is another's.)
func TestLateDelOfAnOldPod(t *testing.T) {
	n := newNode(t)
	n.pod("old", "fast", vf1)
	n.pod("new", "fast", vf1)
	n.mustAdd("c1", "old")
	n.world.Failing("release")
	if _, err := n.call("DEL", "c1", "old"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.call("ADD", "c2", "new"); err == nil || !strings.Contains(err.Error(), "held by pod default/old") || !strings.Contains(err.Error(), "mailbox") {
		t.Errorf("while the old pod's release fails: %v", err)
	}
	n.world.Fail = nil
	n.mustAdd("c2", "new") // releases c1 first
	for range 2 {
		if _, err := n.call("DEL", "c1", "old"); err != nil {
			t.Fatal(err)
		}
	}
	n.now = n.now.Add(time.Hour)
	if err := n.keeper.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if id, _, _ := n.ledger.Holder(pci.MustParseAddress(vf1)); id != "c2" || n.world.VFs[vf1] != "c2" {
		t.Errorf("the VF is %s's by the ledger, %s's in fact", id, n.world.VFs[vf1])
	}
}

// A reboot, or a sandbox that died: the pod's next sandbox gets its devices back.
func TestSandboxMadeAnew(t *testing.T) {
	n := newNode(t)
	n.pod("p", "fast", vf1)
	n.mustAdd("c1", "p")
	n.mustAdd("c2", "p") // same pod, by UID: its first sandbox is dead
	if n.world.VFs[vf1] != "c2" {
		t.Errorf("VF of %s", n.world.VFs[vf1])
	}
	n.pod("q", "fast", vf1)
	if _, err := n.call("ADD", "c3", "q"); err == nil || !strings.Contains(err.Error(), "held by pod default/p") {
		t.Errorf("a live pod's VF: %v", err)
	}
	n.noNetns("/run/netns/c2")
	n.mustAdd("c3", "q")
	if n.world.VFs[vf1] != "c3" {
		t.Errorf("VF of %s", n.world.VFs[vf1])
	}
}
