package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/network"
)

// S7: a namespace has its share of the memory, whatever it asks for. Small Attaches never wait,
// and another namespace's large ones have a share of their own.
func TestTurns(t *testing.T) {
	turns := newTurns()
	end, err := turns.take(t.Context(), "a", 100*attachShare) // counts as the share
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := turns.take(short, "a", SmallAttach+1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second large one of the namespace: %v", err)
	}
	for _, tt := range []struct {
		namespace string
		cost      int
	}{{"a", SmallAttach}, {"b", SmallAttach}, {"b", attachShare}} {
		end, err := turns.take(t.Context(), tt.namespace, tt.cost)
		if err != nil {
			t.Errorf("%+v: %v", tt, err)
			continue
		}
		end()
	}
	got := make(chan error)
	go func() { // ends with its turn
		end, err := turns.take(t.Context(), "a", SmallAttach+1)
		if err == nil {
			end()
		}
		got <- err
	}()
	end()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if len(turns.namespaces) != 0 {
		t.Errorf("namespaces without an Attach are remembered: %v", turns.namespaces)
	}
}

// The error of a pod that did not get its turn names the reason, and the sandbox leaves nothing.
func TestAttachWaitsForItsTurnWithinItsDeadline(t *testing.T) {
	n := newNode(t)
	n.nad("large", "", configOf(network.MaxConfigBytes))
	n.pod("web", "large,large,large")
	end, err := n.keeper.turns.take(t.Context(), "default", attachShare)
	if err != nil {
		t.Fatal(err)
	}
	n.newNetns("/run/netns/s1")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = n.serve(ctx, "ADD", n.request("s1", "web"))
	if err == nil || !strings.Contains(err.Error(), "wait for other pods with large networks") {
		t.Errorf("got %v", err)
	}
	n.pod("small", "macvlan-conf")
	n.mustAdd("s2", "small")
	if _, err := n.call("DEL", "s2", "small"); err != nil {
		t.Error(err)
	}
	n.wantClean()
	end()
	n.mustAdd("s1", "web")
}

// A pod with a large annotation waits before it is parsed: while it waits it costs nothing.
func TestLargeAnnotationWaitsBeforeItIsParsed(t *testing.T) {
	n := newNode(t)
	n.pod("web", `[{"name": "macvlan-conf", "cni-args": {"x": "`+strings.Repeat("x", largeAnnotation)+`"}}]`)
	end, err := n.keeper.turns.take(t.Context(), "default", SmallAttach+1)
	if err != nil {
		t.Fatal(err)
	}
	n.newNetns("/run/netns/s1")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err = n.serve(ctx, "ADD", n.request("s1", "web")); err == nil || !strings.Contains(err.Error(), "wait for other pods") {
		t.Errorf("got %v", err)
	}
	end()
	n.mustAdd("s1", "web")
}

// configOf returns a config of a number of bytes.
func configOf(bytes int) string {
	head := `{"cniVersion":"1.0.0","type":"macvlan","master":"eth0","x":"`
	return head + strings.Repeat("x", bytes-len(head)-2) + `"}`
}

// memoryChild makes this test's program the child of TestMemoryOfManyAttaches.
const memoryChild = "FAIRLEAD_MEMORY_CHILD"

// S7: a reboot starts all pods at once. Tenants' pods have as many and as large networks as they
// may, and the others two of the usual size. All are attached and released again, and the
// memory stays below the parts of the limit that are planned for that. One pod with more gets
// the reason. The child has that limit.
func TestMemoryOfManyAttaches(t *testing.T) {
	if os.Getenv(memoryChild) != "" {
		attachMany(t)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemoryOfManyAttaches$", "-test.v")
	cmd.Env = append(os.Environ(), memoryChild+"=1", "GOMEMLIMIT="+strconv.Itoa(memoryAllowed))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "peak") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// memoryAllowed is the sum of the parts that Attaches and a process without work have.
const memoryAllowed = LargeAttaches + 250*SmallAttach + 250*RecordCopies*network.MaxPodConfigBytes + 48<<20

// attachMany attaches and releases.
func attachMany(t *testing.T) {
	const large, small = 100, 150
	n := newNode(t)
	n.nad("large", "", configOf(network.MaxPodConfigBytes/network.MaxNetworks))
	n.nad("largest", "", configOf(network.MaxConfigBytes))
	n.pod("greedy", strings.Repeat("largest,", network.MaxNetworks-1)+"largest")
	n.newNetns("/run/netns/greedy")
	_, err := n.serve(t.Context(), "ADD", n.request("greedy", "greedy"))
	if err == nil || !strings.Contains(err.Error(), "bytes in the configs of all networks of the pod, the limit is 262144; use fewer networks") {
		t.Errorf("a pod above the limit: %v", err)
	}
	for i := range large + small {
		networks := "macvlan-conf,tuned"
		if i < large {
			networks = strings.Repeat("large,", network.MaxNetworks-1) + "large"
		}
		name := fmt.Sprint("pod", i)
		n.pod(name, networks)
		n.newNetns("/run/netns/" + name)
	}
	for i := range large { // four tenants
		p := n.cluster.Pods[fmt.Sprint("default/pod", i)]
		p.Namespace = fmt.Sprint("tenant", i%4)
		p.Annotations[network.NetworksAnnotation] = strings.ReplaceAll(p.Annotations[network.NetworksAnnotation], "large", "default/large")
		n.cluster.Pods[p.Namespace+"/"+p.Name] = p
	}
	stop, peak := make(chan struct{}), make(chan int)
	go watchAnonymous(stop, peak)
	var group sync.WaitGroup
	for i := range large + small {
		name := fmt.Sprint("pod", i)
		r := n.request(name, name)
		if i < large {
			r.Pod.Namespace = fmt.Sprint("tenant", i%4)
			r.Args = strings.ReplaceAll(r.Args, "K8S_POD_NAMESPACE=default", "K8S_POD_NAMESPACE="+r.Pod.Namespace)
		}
		group.Go(func() { // ends with its Attach
			if _, err := n.serve(t.Context(), "ADD", r); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	group.Wait()
	attached := n.ledger.Entries()
	for _, e := range attached {
		if e.Pod.Namespace != "default" && len(n.sandbox(e.ID).Attachments) != network.MaxNetworks+1 {
			t.Errorf("sandbox %s is incomplete", e.ID)
		}
	}
	if len(attached) != large+small {
		t.Errorf("%d sandboxes are on record", len(attached))
	}
	for _, e := range attached {
		r := n.request(e.ID, e.Pod.Name)
		r.Pod = e.Pod
		group.Go(func() { // ends with its Release
			if _, err := n.serve(t.Context(), "DEL", r); err != nil {
				t.Errorf("%s: %v", e.ID, err)
			}
		})
	}
	group.Wait()
	n.wantClean()
	close(stop)
	most := <-peak
	t.Logf("%d sandboxes, %d of them with %d networks, %d bytes: peak %d MiB, allowed %d MiB", large+small, large,
		network.MaxNetworks, network.MaxPodConfigBytes, most>>20, memoryAllowed>>20)
	if most > memoryAllowed {
		t.Error("that is too much")
	}
}

// watchAnonymous notes the highest memory of this process that the kernel cannot take back.
func watchAnonymous(stop <-chan struct{}, peak chan<- int) {
	most := 0
	for tick := time.Tick(5 * time.Millisecond); ; {
		text, _ := os.ReadFile("/proc/self/status")
		_, rest, _ := strings.Cut(string(text), "RssAnon:")
		if words := strings.Fields(rest); len(words) > 0 {
			kib, _ := strconv.Atoi(words[0])
			most = max(most, kib<<10)
		}
		select {
		case <-stop:
			peak <- most
			return
		case <-tick:
		}
	}
}
