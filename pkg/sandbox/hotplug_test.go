package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/network"
)

// running makes a pod with the networks of an annotation.
func (n *node) running(annotation string, devices ...string) {
	n.t.Helper()
	n.pod("p", annotation, devices...)
	n.mustAdd("c1", "p")
	n.cluster.Events, n.world.Log = nil, nil
}

// annotate changes the pod's annotation, and has the keeper follow it.
func (n *node) annotate(annotation string) {
	n.t.Helper()
	p := n.cluster.Pods["default/p"]
	p.Annotations = map[string]string{network.NetworksAnnotation: annotation}
	n.cluster.Pods["default/p"] = p
	n.keeper.PodChanged("default", "p")
	n.plug()
}

func (n *node) plug() { n.keeper.plugger.round(n.t.Context()) }

// interfaces are those of the record.
func (n *node) interfaces() string {
	n.t.Helper()
	var all []string
	for _, a := range n.sandbox("c1").Attachments {
		text := a.IfName + " " + string(a.Phase)
		if a.Hotplug != "" {
			text += " " + string(a.Hotplug)
		}
		for _, m := range a.Members {
			if !m.Device.IsZero() {
				text += " " + m.Device.String()
			}
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func (n *node) wantInterfaces(want string) {
	n.t.Helper()
	if diff := cmp.Diff(want, n.interfaces()); diff != "" {
		n.t.Error(diff)
	}
}

// The cases of the dynamic networks controller, and more: interfaces follow the
// annotation of a running pod.
func TestInterfacesFollowTheAnnotation(t *testing.T) {
	for name, tc := range map[string]struct {
		from, to string
		devices  []string
		want     string
		events   []string
	}{
		"one is added": {"macvlan-conf", "macvlan-conf,bridge-conf@lan0", nil,
			"eth0 bound, net1 bound, lan0 bound", []string{"default/p Normal AddedInterface: Add lan0 [10.1.2.3/24] from default/bridge-conf"}},
		"the first is added": {"", "macvlan-conf", nil,
			"eth0 bound, net1 bound", []string{"default/p Normal AddedInterface: Add net1 [10.1.2.3/24] from default/macvlan-conf"}},
		"one is removed": {"macvlan-conf,bridge-conf", "bridge-conf", nil,
			"eth0 bound, net2 bound", []string{"default/p Normal RemovedInterface: Remove net1 from default/macvlan-conf"}},
		"all are removed": {"macvlan-conf,bridge-conf", "", nil,
			"eth0 bound", []string{"default/p Normal RemovedInterface: Remove net1 from default/macvlan-conf, net2 from default/bridge-conf"}},
		"one is replaced": {"macvlan-conf", "bridge-conf", nil, "eth0 bound, net1 bound",
			[]string{"default/p Normal AddedInterface: Add net1 [10.1.2.3/24] from default/bridge-conf", "default/p Normal RemovedInterface: Remove net1 from default/macvlan-conf"}},
		"a VF of the pod's is added": {"", "fast", []string{vf1}, "eth0 bound, net1 bound " + vf1,
			[]string{"default/p Normal AddedInterface: Add net1 [10.1.2.3/24] from default/fast"}},
		"the pod's second VF is added": {"fast", "fast,fast@data0", []string{vf1, vf2}, "eth0 bound, net1 bound " + vf1 + ", data0 bound " + vf2,
			[]string{"default/p Normal AddedInterface: Add data0 [10.1.2.3/24] from default/fast"}},
		"a VF moves to another name": {"fast", "fast@data0", []string{vf1}, "eth0 bound, data0 bound " + vf1,
			[]string{"default/p Normal AddedInterface: Add data0 [10.1.2.3/24] from default/fast", "default/p Normal RemovedInterface: Remove net1 from default/fast"}},
		"only the text changes": {"macvlan-conf", ` [{"name": "macvlan-conf"}]`, nil, "eth0 bound, net1 bound", nil},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.running(tc.from, tc.devices...)
			n.annotate(tc.to)
			n.wantInterfaces(tc.want)
			slices.Sort(n.cluster.Events)
			if diff := cmp.Diff(tc.events, n.cluster.Events, cmp.Transformer("nil", func(e []string) string { return strings.Join(e, "\n") })); diff != "" {
				t.Error(diff)
			}
			status := n.cluster.Status["default/p"]
			for _, a := range n.sandbox("c1").Attachments {
				if !strings.Contains(status, fmt.Sprintf("%q", a.IfName)) {
					t.Errorf("%s is not in the network status:\n%s", a.IfName, status)
				}
			}
			if got := strings.Count(status, `"interface"`); got != len(n.sandbox("c1").Attachments) {
				t.Errorf("the status has %d interfaces:\n%s", got, status)
			}
			n.world.Log = nil
			n.keeper.PodChanged("default", "p")
			n.plug()
			if n.world.Trace() != "\n" {
				t.Errorf("a pod that follows its annotation was changed:\n%s", n.world.Trace())
			}
			if _, err := n.call("DEL", "c1", "p"); err != nil {
				t.Fatal(err)
			}
			n.wantClean()
		})
	}
}

// The primary and the default networks stay, whatever the annotation says.
func TestDefaultNetworksAreNotUnplugged(t *testing.T) {
	n := newNode(t)
	n.restart(func(o *Options) {
		o.DefaultNetworks = []network.Selection{{Namespace: "default", Name: "macvlan-conf", ByDefault: true}}
	})
	n.running("bridge-conf")
	n.restart(func(o *Options) { o.DefaultNetworks = nil }) // other options are for other pods
	n.annotate("")
	n.wantInterfaces("eth0 bound, net1 bound")
}

// A pod of an agent that recorded no annotation, and one whose agent is told so, stay.
func TestPodsThatDoNotFollow(t *testing.T) {
	n := newNode(t)
	n.running("")
	s := n.sandbox("c1")
	s.Annotation = ""
	if err := n.ledger.PutSandbox(s); err != nil {
		t.Fatal(err)
	}
	n.annotate("macvlan-conf")
	n.wantInterfaces("eth0 bound")
	n = newNode(t)
	n.running("")
	n.restart(func(o *Options) { o.NoHotplug = true })
	n.annotate("macvlan-conf")
	n.wantInterfaces("eth0 bound")
}

// A failure is reported once, and tried again with pauses; an annotation that is wrong is
// not. The pod keeps its interfaces.
func TestFailuresOfHotplug(t *testing.T) {
	for name, tc := range map[string]struct {
		annotation, event string
		again             bool
	}{
		"no such network":       {"macvlan-conf,absent", "net-attach-def default/absent", true},
		"no device":             {"macvlan-conf,fast", "fairlead.dev/fast", true},
		"a name in use":         {"macvlan-conf,bridge-conf@eth0", `"eth0" of network default/bridge-conf is already the interface`, false},
		"not an annotation":     {"[", "annotation k8s.v1.cni.cncf.io/networks", false},
		"the plugin fails":      {"macvlan-conf,bridge-conf", "mailbox timeout", true},
		"the namespace's rules": {"macvlan-conf,other/lan", "namespace isolation", true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.restart(func(o *Options) { o.NamespaceIsolation = true })
			n.running("macvlan-conf")
			if name == "the plugin fails" {
				n.world.Failing("add")
			}
			for range 3 {
				n.annotate(tc.annotation)
			}
			n.wantInterfaces("eth0 bound, net1 bound")
			warned := slices.DeleteFunc(slices.Clone(n.cluster.Events), func(e string) bool { return !strings.Contains(e, "InterfacesNotChanged") })
			if len(warned) != 1 || !strings.Contains(warned[0], tc.event) {
				t.Errorf("events %q, want one with %q", n.cluster.Events, tc.event)
			}
			if _, again := n.keeper.plugger.nextDue(); again != tc.again {
				t.Errorf("tried again: %t", again)
			}
			n.world.Fail = nil
			n.annotate("bridge-conf") // the next annotation is followed
			n.wantInterfaces("eth0 bound, net1 bound")
			if n.sandbox("c1").Attachments[1].Network != "default/bridge-conf" {
				t.Error("net1 is not the bridge")
			}
		})
	}
}

// A failure that passes is made up for without a further event of the API server.
func TestHotplugIsTriedAgain(t *testing.T) {
	n := newNode(t)
	n.running("")
	n.world.Failing("add")
	n.annotate("bridge-conf")
	n.wantInterfaces("eth0 bound")
	n.world.Fail = nil
	n.plug()
	n.wantInterfaces("eth0 bound") // not yet
	n.now = n.now.Add(2 * firstRetry)
	n.plug()
	n.wantInterfaces("eth0 bound, net1 bound")
}

// The agent dies at each step of a change, or a step fails: the next agent ends with the
// pod's annotation, nothing is left over, and the pod's other networks are never touched.
func TestHotplugFailsAtEveryStep(t *testing.T) {
	for _, crash := range []bool{false, true} {
		for at := 1; ; at++ {
			n := newNode(t)
			n.running("macvlan-conf,fast@data0", vf1)
			before, hit := n.world.Steps, false
			dead := false
			n.world.Fail = func(step int, _ string) error {
				if step == before+at {
					hit = true
				}
				if dead = dead || crash && hit; dead || step == before+at {
					return errors.New("boom")
				}
				return nil
			}
			n.annotate("bridge-conf,fast@data1")
			n.world.Fail = nil
			n.restart(func(*Options) {})
			n.now = n.now.Add(maxRetry)
			if err := n.keeper.Reconcile(t.Context()); err != nil {
				t.Errorf("step %d: %v", at, err)
			}
			n.keeper.PodChanged("default", "p")
			n.plug()
			n.wantInterfaces("eth0 bound, net1 bound, data1 bound " + vf1)
			if strings.Contains(n.world.Trace(), "DEL c1 eth0") {
				t.Errorf("step %d: the primary was released:\n%s", at, n.world.Trace())
			}
			if _, err := n.call("DEL", "c1", "p"); err != nil {
				t.Fatal(err)
			}
			n.wantClean()
			if t.Failed() {
				t.Fatalf("crash %t, step %d:\n%s", crash, at, n.world.Trace())
			}
			if !hit {
				break
			}
		}
	}
}

// An edit that comes while the pod's ADD runs finds no sandbox. It is followed afterwards.
func TestAnAnnotationThatChangesDuringTheADD(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf")
	n.world.Configure = func(string) {
		p := n.cluster.Pods["default/p"]
		p.Annotations = map[string]string{network.NetworksAnnotation: "macvlan-conf,bridge-conf"}
		n.cluster.Pods["default/p"] = p
	}
	n.mustAdd("c1", "p")
	n.wantInterfaces("eth0 bound, net1 bound")
	n.plug()
	n.wantInterfaces("eth0 bound, net1 bound, net2 bound")
}

// A call for the sandbox goes first.
func TestHotplugWaitsForCalls(t *testing.T) {
	n := newNode(t)
	n.running("")
	unlock, _ := n.keeper.locks.tryLock("c1")
	n.annotate("bridge-conf")
	n.wantInterfaces("eth0 bound")
	unlock()
	n.now = n.now.Add(time.Second)
	n.plug()
	n.wantInterfaces("eth0 bound, net1 bound")
	if strings.Contains(strings.Join(n.cluster.Events, "\n"), "InterfacesNotChanged") {
		t.Error("waiting was reported as a failure:", n.cluster.Events)
	}
}
