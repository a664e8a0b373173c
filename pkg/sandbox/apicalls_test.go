package sandbox

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/network"
)

// devices C11: an ADD of four networks is two writes, a DEL none and no read.
// pkg/kube's TestWritesOfAnAdd counts the requests that these calls cause.
func TestCallsToTheAPIServer(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf, fast, bridge-conf", vf1)
	n.mustAdd("c1", "p")
	if n.cluster.Patches != 1 || len(n.cluster.Events) != 1 {
		t.Errorf("an ADD made %d patches, and the events %q", n.cluster.Patches, n.cluster.Events)
	}
	n.cluster.Patches, n.cluster.Lookups, n.cluster.Events = 0, 0, nil
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	if n.cluster.Patches != 0 || n.cluster.Lookups != 0 || len(n.cluster.Events) != 0 {
		t.Errorf("a DEL made %d patches, %d lookups, and the events %q", n.cluster.Patches, n.cluster.Lookups, n.cluster.Events)
	}
}

func TestEventPerInterface(t *testing.T) {
	n := newNode(t)
	n.restart(func(o *Options) { o.EventPerInterface = true })
	n.nad("fb", "fairlead.dev/fast", `{"cniVersion":"1.0.0","type":"sriov","fallback":["macvlan"]}`)
	n.pod("q", "fb")
	n.mustAdd("c2", "q")
	want := []string{
		"default/q Normal AddedInterface: Add eth0 [10.1.2.3/24] from cluster",
		"default/q Normal AddedInterface: Add net1 [10.1.2.3/24] from default/fb",
		"default/q Normal Fallback: network default/fb (interface net1) is macvlan in place of sriov: the pod has no device",
	}
	if diff := cmp.Diff(want, n.cluster.Events); diff != "" {
		t.Error(diff)
	}
}

// A status that the API server refuses, or whose pod is gone, is not tried again.
func TestARefusedStatusIsFinal(t *testing.T) {
	for _, answer := range []error{network.ErrRefused, network.ErrNotFound} {
		t.Run(answer.Error(), func(t *testing.T) {
			n := newNode(t)
			n.pod("p", "macvlan-conf")
			n.cluster.StatusErr = fmt.Errorf("no: %w", answer)
			n.mustAdd("c1", "p")
			n.retryDue(t.Context())
			if n.sandbox("c1").Status != nil || n.cluster.Patches != 1 {
				t.Errorf("status owed: %t, %d patches", n.sandbox("c1").Status != nil, n.cluster.Patches)
			}
		})
	}
}

// Failures that may end are retried with longer and longer pauses.
func TestOwedStatusesBackOff(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf")
	n.cluster.StatusErr = errors.New("the API server answers 503")
	n.mustAdd("c1", "p")
	var pauses []time.Duration
	for range 7 {
		pause, again := n.keeper.statuses.round(t.Context())
		if !again {
			t.Fatal("it is not retried")
		}
		pauses = append(pauses, pause)
	}
	want := []time.Duration{15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute}
	if diff := cmp.Diff(want, pauses); diff != "" {
		t.Error(diff)
	}
	n.cluster.StatusErr = nil
	if _, again := n.keeper.statuses.round(t.Context()); again || n.cluster.Status["default/p"] == "" {
		t.Error("it is not written at last")
	}
	n.cluster.StatusErr = errors.New("the API server answers 503")
	n.pod("q", "")
	n.mustAdd("c2", "q")
	if pause, _ := n.keeper.statuses.round(t.Context()); pause != 15*time.Second {
		t.Errorf("the next failure pauses for %s", pause)
	}
}

// reports 23, meta-cni C8: the pod starts, and one event names all that has no effect.
func TestFieldsWithoutEffectAreInOneEvent(t *testing.T) {
	n := newNode(t)
	n.nad("typo", "", `{"cniVersion":"1.0.0","type":"macvlan","mastr":"eth0"}`)
	n.pod("p", `[{"name":"macvlan-conf","ip":["10.0.0.1/24"],"portMappings":[{"hostPort":80,"containerPort":80}]},{"name":"typo"}]`)
	n.mustAdd("c1", "p")
	want := `default/p Warning FieldIgnored: without effect: annotation k8s.v1.cni.cncf.io/networks: network 1 (default/macvlan-conf): the key "ip" is unknown and ignored; the nearest known one is "ips". ` +
		`network default/macvlan-conf (net1): portMappings of the pod's annotation: no plugin of the network declares that capability. ` +
		`network default/typo (net2): field "mastr": plugin macvlan has no such field; the nearest one is "master"`
	if len(n.cluster.Events) != 2 || n.cluster.Events[0] != want {
		t.Errorf("events %q, want %q and the one of the interfaces", n.cluster.Events, want)
	}
}

// reports 1: a network whose resource no device plugin has is made without a device,
// whether the pod requests the resource or not.
func TestMarkerResource(t *testing.T) {
	n := newNode(t)
	n.o.Pools = func() []string { return []string{"fairlead.dev/fast"} }
	n.keeper = New(n.o)
	n.nad("ovs-net", "ovs.example/br1", `{"cniVersion":"0.4.0","type":"ovs","bridge":"br1","vlan":100}`)
	n.nad("lan", "bridge.example/br1", `{"cniVersion":"1.0.0","type":"macvlan","master":"eth0"}`)
	n.pod("p", "ovs-net, lan, fast", vf1)
	n.mustAdd("c1", "p")
	for _, a := range n.sandbox("c1").Attachments[1:3] {
		if !a.Members[0].Device.IsZero() {
			t.Errorf("%s got device %s", a.Network, a.Members[0].Device)
		}
	}
	n.nad("fats", "fairlead.dev/fats", `{"cniVersion":"1.0.0","type":"sriov"}`)
	n.pod("q", "fats")
	if _, err := n.call("ADD", "c2", "q"); err == nil || !strings.Contains(err.Error(), "the nearest name is fairlead.dev/fast") {
		t.Errorf("error %v, want one that names the pool", err)
	}
}

// meta-cni D2: a pod that requests the resource waits for its VF, and gets no fallback while the
// kubelet does not list the pod.
func TestNoFallbackForAPodThatRequestsTheResource(t *testing.T) {
	n := newNode(t)
	n.nad("fb", "fairlead.dev/fast", `{"cniVersion":"1.0.0","type":"sriov","fallback":["macvlan"]}`)
	n.pod("p", "fb")
	pod := n.cluster.Pods["default/p"]
	pod.Requests = []network.Request{{Resource: "fairlead.dev/fast", Container: "app"}}
	n.cluster.Pods["default/p"] = pod
	_, err := n.call("ADD", "c1", "p")
	var failed *Error
	if !errors.As(err, &failed) || failed.Kind != TryAgain || !errors.Is(err, network.ErrNotListed) {
		t.Fatalf("got %v", err)
	}
	n.kubelet.ByPod["default/p"] = map[string][]string{"fairlead.dev/fast": {vf1}}
	n.mustAdd("c1", "p")
	if n.world.VFs[vf1] != "c1" {
		t.Errorf("%s belongs to %q", vf1, n.world.VFs[vf1])
	}
}
