package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/problem"
)

// eventually waits until holds returns true, at most for a minute.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for late := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) count(part string) int { return strings.Count(l.String(), part) }

func TestPodComesFromTheCacheUnlessItCannotKnow(t *testing.T) {
	s := newAPIServer(t)
	s.put(podPath, podObject("u1"))
	static := podObject("mirror")
	static.meta()["name"] = "static"
	static.meta()["annotations"] = mirrorOf("u9")
	s.put("/api/v1/namespaces/nfv/pods/static", static)
	elsewhere := podObject("u3")
	elsewhere.meta()["name"] = "elsewhere"
	elsewhere["spec"] = map[string]any{"nodeName": "node2"}
	s.put("/api/v1/namespaces/nfv/pods/elsewhere", elsewhere)
	c := start(t, s)
	tests := []struct {
		what, name, uid string
		want            string // the UID, or else the error
		gets            int
	}{
		{"in the cache", "upf", "u1", "u1", 0},
		{"in the cache, any UID", "upf", "", "u1", 0},
		{"another UID", "upf", "u2", "get pod nfv/upf: the pod with UID u2 is gone, and another (UID u1) has its name: not found", 1},
		{"a static pod by the runtime's UID", "static", "u9", "mirror", 0},
		{"unknown", "other", "", "get pod nfv/other: the API server has no such object: not found", 1},
		{"of another node", "elsewhere", "u3", "u3", 1},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			before := s.gets("pods")
			p, err := c.Pod(t.Context(), "nfv", tt.name, tt.uid)
			got := p.UID
			if err != nil {
				got = err.Error()
				if !errors.Is(err, network.ErrNotFound) {
					t.Errorf("%v is not ErrNotFound", err)
				}
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if n := s.gets("pods") - before; n != tt.gets {
				t.Errorf("%d requests, want %d", n, tt.gets)
			}
		})
	}
	p, err := c.Pod(t.Context(), "nfv", "upf", "u1")
	want := network.Pod{Namespace: "nfv", Name: "upf", UID: "u1", Annotations: map[string]string{"k8s.v1.cni.cncf.io/networks": "data"}}
	if d := cmp.Diff(want, p); d != "" || err != nil {
		t.Errorf("%v -want +got\n%s", err, d)
	}
}

// m#499: a pod that was recreated under its old name is never taken for the old one.
func TestPodMadeAnew(t *testing.T) {
	s := newAPIServer(t)
	s.put(podPath, podObject("u1"))
	c := start(t, s)
	s.remove(podPath)
	s.put(podPath, podObject("u2"))
	if p, err := c.Pod(t.Context(), "nfv", "upf", "u2"); err != nil || p.UID != "u2" {
		t.Errorf("got %+v, %v", p, err)
	}
	eventually(t, "the cache has the new pod", func() bool {
		before := s.gets("pods")
		_, err := c.Pod(t.Context(), "nfv", "upf", "u2")
		return err == nil && s.gets("pods") == before
	})
}

// mirrorOf returns the annotations that the kubelet gives to the mirror of a static pod.
func mirrorOf(uid string) map[string]any {
	return map[string]any{staticPodUID: uid, staticPodMirror: uid, staticPodSource: "file"}
}

// Harden: only a static pod's mirror is known by another UID than its own. A pod that is
// created again under its name, with its predecessor's UID in an annotation, is another pod.
func TestOnlyAMirrorPassesForItsStaticPod(t *testing.T) {
	for _, tt := range []struct {
		name        string
		annotations map[string]any
		mirror      bool
	}{
		{"the kubelet's mirror of a manifest", mirrorOf("u9"), true},
		{"of a manifest from a URL", map[string]any{staticPodUID: "u9", staticPodMirror: "u9", staticPodSource: "http"}, true},
		{"the hash only", map[string]any{staticPodUID: "u9"}, false},
		{"the mark only", map[string]any{staticPodMirror: "u9", staticPodSource: "file"}, false},
		{"another mark", map[string]any{staticPodUID: "u9", staticPodMirror: "u8", staticPodSource: "file"}, false},
		{"an empty mark", map[string]any{staticPodUID: "u9", staticPodMirror: "", staticPodSource: "file"}, false},
		{"a pod of the API server", map[string]any{staticPodUID: "u9", staticPodMirror: "u9", staticPodSource: "api"}, false},
		{"no source", map[string]any{staticPodUID: "u9", staticPodMirror: "u9"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newAPIServer(t)
			pod := podObject("u2")
			pod.meta()["annotations"] = tt.annotations
			s.put(podPath, pod)
			c := start(t, s)
			_, err := c.Pod(t.Context(), "nfv", "upf", "u9")
			if got := err == nil; got != tt.mirror || !tt.mirror && !errors.Is(err, network.ErrNotFound) {
				t.Errorf("found by the UID u9: %t (%v), want %t", got, err, tt.mirror)
			}
		})
	}
}

func TestTerminal(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(s int64) *metav1.Time { m := metav1.Unix(s, 0); return &m }
	tests := map[string]struct {
		pod  corev1.Pod
		want bool
	}{
		"running":              {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning}}, false},
		"succeeded":            {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodSucceeded}}, true},
		"failed":               {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed}}, true},
		"within its grace":     {corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: at(1010)}}, false},
		"its grace is over":    {corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: at(999)}}, true},
		"nothing is known yet": {corev1.Pod{}, false},
	}
	for name, tt := range tests {
		if got := terminal(&tt.pod, now); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// The remedies differ for a missing object, a forbidden request and an unreachable server.
func TestErrorsSayInWhichWay(t *testing.T) {
	s := newAPIServer(t)
	c := start(t, s)
	group := schema.GroupResource{Resource: "pods"}
	tests := []struct {
		refusal error
		want    string
	}{
		{apierrors.NewForbidden(group, "upf", errors.New("no role")), `get pod nfv/upf: the agent's ServiceAccount lacks the permission: apply the permissions of its manifest again: `},
		// m#852: stale credentials are reported as such.
		{apierrors.NewUnauthorized("token expired"), `get pod nfv/upf: the API server does not accept the agent's credentials: `},
		{apierrors.NewInternalError(errors.New("etcd")), `get pod nfv/upf: the API server at ` + s.url + ` refuses: `},
	}
	for _, tt := range tests {
		s.setRefusal(func(string, string) error { return tt.refusal })
		_, err := c.Pod(t.Context(), "nfv", "upf", "u1")
		if err == nil || errors.Is(err, network.ErrNotFound) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("got %v, want %s…", err, tt.want)
		}
	}
	s.close()
	_, err := c.Pod(t.Context(), "nfv", "upf", "u1")
	if err == nil || errors.Is(err, network.ErrNotFound) || !strings.HasPrefix(err.Error(), "get pod nfv/upf: the API server at "+s.url+" is unreachable: ") {
		t.Errorf("got %v", err)
	}
}

// m#1461: the timeout is an option, and is kept.
func TestRequestTimeout(t *testing.T) {
	s := newAPIServer(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	// The request keeps the server's mutex meanwhile: the server has nothing else to do.
	s.setRefusal(func(string, string) error { <-release; return nil })
	c := newCluster(t, s)
	c.o.RequestTimeout = time.Millisecond
	_, err := c.Pod(t.Context(), "nfv", "upf", "u1")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "is unreachable") {
		t.Errorf("got %v", err)
	}
}

func TestReady(t *testing.T) {
	s := newAPIServer(t)
	s.setUnknown(nadsResource, true) // no reason to delay pods: the CRD may never be installed
	c := newCluster(t, s)
	want := "the pods of node node1 have not been read yet: the API server at " + s.url + " has not answered"
	if err := c.Ready(); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	s.setRefusal(func(string, string) error {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("no role"))
	})
	c.run(t)
	eventually(t, "Ready says why", func() bool {
		err := c.Ready()
		return err != nil && strings.Contains(err.Error(), "watch pods: the agent's ServiceAccount lacks the permission")
	})
	s.setRefusal(func(string, string) error { return nil })
	eventually(t, "it is ready", func() bool { return c.Ready() == nil })
	s.close()
	if err := c.Ready(); err != nil {
		t.Errorf("an API server that goes away makes it unready: %v", err)
	}
}

func TestNetAttachDef(t *testing.T) {
	s := newAPIServer(t)
	s.put(nadPath, nadObject(`{"type": "sriov", "vlan": 100}`))
	c := start(t, s)
	eventually(t, "the net-attach-defs are cached", c.networks.HasSynced)
	d, err := c.NetAttachDef(t.Context(), "nfv", "data")
	if err != nil || d.Resource != "fairlead.dev/fast" || d.List.Plugins[0].Type != "sriov" {
		t.Errorf("got %+v, %v", d, err)
	}
	if n := s.gets(nadsResource); n != 0 {
		t.Errorf("%d requests for what is cached", n)
	}
	s.put(nadPath, nadObject(`{"type": "macvlan"}`))
	eventually(t, "the edit is seen", func() bool {
		d, err := c.NetAttachDef(t.Context(), "nfv", "data")
		return err == nil && d.List.Plugins[0].Type == "macvlan"
	})
	_, err = c.NetAttachDef(t.Context(), "nfv", "none")
	if !errors.Is(err, network.ErrNotFound) || err.Error() != "get net-attach-def nfv/none: the API server has no such object: not found" {
		t.Errorf("got %v", err)
	}
	s.put(nadPath, nadObject(`{`))
	eventually(t, "a broken one is an error", func() bool {
		_, err := c.NetAttachDef(t.Context(), "nfv", "data")
		return err != nil && strings.Contains(err.Error(), "nfv/data") && !errors.Is(err, network.ErrNotFound)
	})
}

// All pods share one parsed definition, or one error, until the object changes: an ADD
// decodes nothing of it (test/decodes counts on that).
func TestNetAttachDefIsParsedOnce(t *testing.T) {
	s := newAPIServer(t)
	const brokenPath = "/apis/k8s.cni.cncf.io/v1/namespaces/nfv/network-attachment-definitions/broken"
	s.put(nadPath, nadObject(`{"type": "sriov"}`))
	broken := nadObject(`{`)
	broken.meta()["name"] = "broken"
	s.put(brokenPath, broken)
	c := start(t, s)
	eventually(t, "the net-attach-defs are cached", c.networks.HasSynced)
	first := parsed(t, c, "data")
	_, firstErr := c.NetAttachDef(t.Context(), "nfv", "broken")
	if firstErr == nil {
		t.Fatal("no error of a broken one")
	}
	for range 3 {
		if parsed(t, c, "data") != first {
			t.Error("it is parsed again")
		}
		if _, err := c.NetAttachDef(t.Context(), "nfv", "broken"); err != firstErr {
			t.Errorf("it is parsed again: %v", err)
		}
	}
	cached, _ := c.cachedNetwork("nfv/data")
	again := &nadv1.NetworkAttachmentDefinition{ObjectMeta: cached.ObjectMeta}
	parser := networkParser{c.cachedNetwork, newBudget()}
	if got, err := parser.parseNetwork(again); err != nil || got != any(cached) {
		t.Errorf("listed again, unchanged: %v, %v", got, err)
	}
	s.put(nadPath, nadObject(`{"type": "sriov", "vlan": 1}`))
	eventually(t, "the edit is parsed", func() bool { return parsed(t, c, "data") != first })
	if _, err := c.NetAttachDef(t.Context(), "nfv", "broken"); err != firstErr {
		t.Errorf("another object's change has it parsed again: %v", err)
	}
}

// parsed identifies the memory of a parsed definition.
func parsed(t *testing.T, c cluster, name string) *network.Plugin {
	t.Helper()
	d, err := c.NetAttachDef(t.Context(), "nfv", name)
	if err != nil {
		t.Fatal(err)
	}
	return &d.List.Plugins[0]
}

// The CRD may be missing when the agent starts, and come later.
func TestNetAttachDefWithoutCRD(t *testing.T) {
	s := newAPIServer(t)
	s.setUnknown(nadsResource, true)
	s.put(nadPath, nadObject(`{"type": "macvlan"}`))
	c := start(t, s)
	_, err := c.NetAttachDef(t.Context(), "nfv", "data")
	const want = "get net-attach-def nfv/data: the cluster does not have the CRD (for net-attach-defs, apply deployments/crds): not found"
	if err == nil || err.Error() != want || !errors.Is(err, network.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	s.setUnknown(nadsResource, false)
	if _, err := c.NetAttachDef(t.Context(), "nfv", "data"); err != nil {
		t.Errorf("right after the CRD came: %v", err)
	}
	eventually(t, "they are cached", c.networks.HasSynced)
}

// A failing watch is logged and reported as a problem until it is up again; a second failure is
// reported like the first.
func TestWatchProblems(t *testing.T) {
	s := newAPIServer(t)
	s.put(nodePath, nodeObject("a"))
	c := newCluster(t, s)
	var log lines
	c.log = slog.New(slog.NewTextHandler(&log, nil))
	got := func() string { return problem.Join(c.Problems(), "\n") }
	const unread = " has not answered (not read since the agent's start)"
	if n := strings.Count(got(), unread); n != 5 {
		t.Errorf("before Run, %d of 5 watches have not begun:\n%s", n, got())
	}
	forbid := func(method, path string) error {
		if strings.Contains(path, "configmaps") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "", errors.New("no role"))
		}
		return nil
	}
	s.setRefusal(forbid)
	c.run(t)
	only := func(prefix, end string) func() bool {
		return func() bool {
			p := c.Problems()
			return len(p) == 1 && strings.HasPrefix(p[0].Text, prefix) && strings.HasSuffix(p[0].Text, end)
		}
	}
	const may = "watch configmap profiles: the agent's ServiceAccount lacks the permission: apply the permissions"
	eventually(t, "the refused ConfigMap is the only problem", only(may, "(not read since the agent's start)"))
	s.setRefusal(func(string, string) error { return nil })
	eventually(t, "it is over", func() bool { return got() == "" })
	s.setRefusal(forbid)
	s.dropWatches()
	eventually(t, "it is a problem again", only(may, "(the last content read stays in effect)"))
	s.setRefusal(func(string, string) error { return nil })
	eventually(t, "it is over again", func() bool { return got() == "" })
	if failed, restored := log.count("level=WARN"), log.count("watch of the API server restored"); failed != 2 || restored != 2 {
		t.Errorf("%d failures and %d recoveries are logged, want 2 and 2:\n%s", failed, restored, log.String())
	}
	s.remove(nodePath)
	eventually(t, "the node that is not there is a problem", only("the API server has no node node1", "set --node-name to the node's name there"))
}

// An API server that goes away refuses connections: the reflector then retries without calling
// its error handler.
func TestAPIServerThatGoesAwayIsAProblem(t *testing.T) {
	s := newAPIServer(t)
	s.put(nodePath, nodeObject("a"))
	c := start(t, s)
	eventually(t, "all is well", func() bool { return len(c.Problems()) == 0 })
	s.close()
	eventually(t, "each watch is a problem", func() bool {
		p := c.Problems()
		return len(p) == 5 && !slices.ContainsFunc(p, func(p problem.Problem) bool {
			return !strings.Contains(p.Text, " is unreachable: ") || strings.Contains(p.Text, "timeoutSeconds")
		})
	})
}

// No event reports a ConfigMap that was deleted while the agent was away.
func TestAbsentConfigMapIsToldOf(t *testing.T) {
	c := newCluster(t, newAPIServer(t))
	c.run(t)
	select {
	case <-c.changed:
	case <-t.Context().Done():
	}
	if _, exists, known := c.ConfigMap("fairlead-system", "profiles"); exists || !known {
		t.Errorf("exists %t, known %t when told", exists, known)
	}
}

// dp#276: an edit is reported at once; a node's heartbeat is not.
func TestDeclared(t *testing.T) {
	s := newAPIServer(t)
	before := newCluster(t, s)
	if _, known := before.NodeLabels(); known {
		t.Error("labels are known before Run")
	}
	if _, _, known := before.ConfigMap("fairlead-system", "profiles"); known {
		t.Error("the ConfigMap is known before Run")
	}
	s.put(nodePath, nodeObject("a"))
	c := start(t, s)
	<-c.changed // the labels are there
	<-c.changed // the ConfigMap is known not to exist
	if labels, known := c.NodeLabels(); !known || labels["rack"] != "a" {
		t.Errorf("labels %v, known %t", labels, known)
	}
	if _, exists, known := c.ConfigMap("fairlead-system", "profiles"); exists || !known {
		t.Errorf("an absent ConfigMap: exists %t, known %t", exists, known)
	}
	if _, _, known := c.ConfigMap("default", "profiles"); known {
		t.Error("a ConfigMap of another namespace is known")
	}
	if _, _, known := c.ConfigMap("fairlead-system", "other"); known {
		t.Error("a ConfigMap that isn't watched is known")
	}
	s.put(mapPath, mapObject("x"))
	<-c.changed
	if data, exists, _ := c.ConfigMap("fairlead-system", "profiles"); !exists || data["a.yaml"] != "x" {
		t.Errorf("got %v, %t", data, exists)
	}
	s.put(nodePath, nodeObject("a")) // a heartbeat
	s.put(mapPath, mapObject("x"))   // no edit
	s.put(nodePath, nodeObject("b"))
	<-c.changed
	eventually(t, "the label is seen", func() bool { labels, _ := c.NodeLabels(); return labels["rack"] == "b" })
	s.remove(mapPath)
	<-c.changed
	if _, exists, known := c.ConfigMap("fairlead-system", "profiles"); exists || !known {
		t.Errorf("a deleted ConfigMap: exists %t, known %t", exists, known)
	}
	if n := len(c.changed); n != 0 {
		t.Errorf("%d calls of Changed for changes that were none", n)
	}
}

// A pod is reported when it is first seen, and when its networks annotation changes.
func TestPodChanged(t *testing.T) {
	s := newAPIServer(t)
	s.put(podPath, podObject("u1"))
	c := start(t, s)
	next := func(what string) {
		t.Helper()
		select {
		case pod := <-c.podsChanged:
			if pod != "nfv/upf" {
				t.Errorf("%s: %s", what, pod)
			}
		case <-time.After(10 * time.Second):
			t.Fatal(what, "was not reported")
		}
	}
	next("the first sight")
	other := podObject("u1")
	other["metadata"].(map[string]any)["labels"] = map[string]any{"a": "b"}
	s.put(podPath, other)
	edited := podObject("u1")
	edited["metadata"].(map[string]any)["annotations"] = map[string]any{"k8s.v1.cni.cncf.io/networks": "data,more"}
	s.put(podPath, edited)
	next("the edit")
	s.remove(podPath)
	s.put(podPath, podObject("u2"))
	next("the pod that follows")
	if len(c.podsChanged) > 0 {
		t.Errorf("a change of labels was reported")
	}
}

func TestWaitDeclaredEndsWithItsContext(t *testing.T) {
	s := newAPIServer(t)
	c := newCluster(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c.WaitDeclared(ctx) {
		t.Error("declared without an answer")
	}
}

// m#1527, m#1468: only a certain uninstall counts.
func TestUninstalled(t *testing.T) {
	forbid := func(s *apiServer) {
		s.setRefusal(func(string, string) error {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "daemonsets"}, "fairlead-agent", errors.New("no role"))
		})
	}
	deleting := ownObject("d1")
	deleting.meta()["deletionTimestamp"] = "2026-01-02T03:04:05Z"
	gone := func(t *testing.T, c cluster) {
		c.server.remove(ownPath)
		eventually(t, "the watch saw it go", func() bool { c.own.mu.Lock(); defer c.own.mu.Unlock(); return c.own.deleted })
	}
	tests := []struct {
		name   string
		before object // nil: never existed
		then   func(*testing.T, cluster)
		want   bool
	}{
		{"it is there: a restart", ownObject("d1"), func(*testing.T, cluster) {}, false},
		{"it was deleted", ownObject("d1"), func(_ *testing.T, c cluster) { c.server.remove(ownPath) }, true},
		{"it is being deleted", ownObject("d1"), func(_ *testing.T, c cluster) { c.server.put(ownPath, deleting) }, true},
		{"it was made anew", ownObject("d1"), func(t *testing.T, c cluster) { gone(t, c); c.server.put(ownPath, ownObject("d2")) }, false},
		{"the permissions went first", ownObject("d1"), func(_ *testing.T, c cluster) { forbid(c.server); c.server.remove(ownPath) }, true},
		{"no permission", ownObject("d1"), func(_ *testing.T, c cluster) { forbid(c.server) }, false},
		{"no answer", ownObject("d1"), func(_ *testing.T, c cluster) { c.server.close() }, false},
		{"no answer, but it was seen to go", ownObject("d1"), func(t *testing.T, c cluster) { gone(t, c); c.server.close() }, true},
		{"it was never there under this name", nil, func(*testing.T, cluster) {}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newAPIServer(t)
			if tt.before != nil {
				s.put(ownPath, tt.before)
			}
			c := start(t, s)
			if tt.before != nil {
				eventually(t, "it is seen", func() bool { c.own.mu.Lock(); defer c.own.mu.Unlock(); return c.own.uid != "" })
			}
			tt.then(t, c)
			if tt.name == "the permissions went first" {
				eventually(t, "the watch saw it go", func() bool { c.own.mu.Lock(); defer c.own.mu.Unlock(); return c.own.deleted })
			}
			if got := c.Uninstalled(t.Context()); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
	c, err := newForConfig(&rest.Config{Host: newAPIServer(t).url}, Options{NodeName: "node1"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Uninstalled(t.Context()) {
		t.Error("an agent without DaemonSet was uninstalled")
	}
}

func TestSetNetworkStatus(t *testing.T) {
	s := newAPIServer(t)
	s.put(podPath, podObject("u1"))
	c := start(t, s)
	ref := ledger.PodRef{Namespace: "nfv", Name: "upf", UID: "u1"}
	if err := c.SetNetworkStatus(t.Context(), ref, `[{"name": "x"}]`); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	annotations := s.objects[podPath].meta()["annotations"].(map[string]any)
	s.mu.Unlock()
	if annotations[network.StatusAnnotation] != `[{"name": "x"}]` || annotations["k8s.v1.cni.cncf.io/networks"] != "data" {
		t.Errorf("the pod has the annotations %v", annotations)
	}
	if got := s.patched(); len(got) != 1 || got[0] != podPath+"/status" {
		t.Errorf("patched %q: only the status subresource may be, which leaves the spec alone", got)
	}
	ref.UID = "u0"
	if err := c.SetNetworkStatus(t.Context(), ref, "[]"); !errors.Is(err, network.ErrNotFound) {
		t.Errorf("another pod's UID: %v", err)
	}
	if err := c.SetNetworkStatus(t.Context(), ledger.PodRef{Namespace: "nfv", Name: "none", UID: "u"}, "[]"); !errors.Is(err, network.ErrNotFound) {
		t.Errorf("no pod: %v", err)
	}
	s.setRefusal(func(method, _ string) error {
		if method != "PATCH" {
			return nil
		}
		return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "upf", errors.New("no role"))
	})
	if err := c.SetNetworkStatus(t.Context(), ref, "[]"); err == nil || !strings.HasPrefix(err.Error(), "write the network status of pod nfv/upf: the agent's ServiceAccount lacks the permission") {
		t.Errorf("got %v", err)
	}
}

// A rejection that does not concern the UID does not mean that the pod is gone. The error says
// whether it is final, and what to do.
func TestSetNetworkStatusRefused(t *testing.T) {
	s := newAPIServer(t)
	s.put(podPath, podObject("u1"))
	c := start(t, s)
	policy := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "upf", errors.New("ValidatingAdmissionPolicy 'p' denied request: no annotations"))
	policy.ErrStatus.Reason, policy.ErrStatus.Code = metav1.StatusReasonInvalid, 422 // as the API server encodes it
	policy.ErrStatus.Details.Causes = []metav1.StatusCause{{Message: "no annotations"}}
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "upf", errors.New("the object has been modified"))
	for want, refusal := range map[string]error{
		"exempt the agent's ServiceAccount from that policy: ": policy,
		"refuses: ": conflict,
	} {
		s.setRefusal(func(string, string) error { return refusal })
		err := c.SetNetworkStatus(t.Context(), ledger.PodRef{Namespace: "nfv", Name: "upf", UID: "u1"}, "[]")
		if err == nil || errors.Is(err, network.ErrNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q that is not ErrNotFound", err, want)
		}
	}
}

func TestSetNetworkStatusOfAStaticPod(t *testing.T) {
	s := newAPIServer(t)
	mirror := podObject("mirror")
	mirror.meta()["annotations"] = mirrorOf("u9")
	s.put(podPath, mirror)
	c := start(t, s)
	if err := c.SetNetworkStatus(t.Context(), ledger.PodRef{Namespace: "nfv", Name: "upf", UID: "u9"}, "[]"); err != nil {
		t.Error(err)
	}
}

func TestEvents(t *testing.T) {
	s := newAPIServer(t)
	c := start(t, s)
	c.Event(ledger.PodRef{Namespace: "nfv", Name: "upf", UID: "u1"}, "Warning", "NoNetworkFound", strings.Repeat("é", 600))
	e := <-s.created
	involved, _ := e["involvedObject"].(map[string]any)
	source, _ := e["source"].(map[string]any)
	message, _ := e["message"].(string)
	got := fmt.Sprint(e.text("namespace"), involved["kind"], involved["name"], involved["uid"], e["type"], e["reason"], source["component"], source["host"])
	if want := fmt.Sprint("nfv", "Pod", "upf", "u1", "Warning", "NoNetworkFound", "fairlead-agent", "node1"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(message) > maxMessage || !strings.HasSuffix(message, "é …") {
		t.Errorf("message of %d bytes ends in %q", len(message), message[len(message)-6:])
	}
	c.NodeEvent("Warning", "VFRepaired", "x") // as kubectl describe node looks for it
	e = <-s.created
	involved, _ = e["involvedObject"].(map[string]any)
	if got, want := fmt.Sprint(e.text("namespace"), involved["kind"], involved["name"], involved["uid"], e["reason"]), fmt.Sprint("default", "Node", "node1", "node1", "VFRepaired"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// A pod in trouble does not flood the API server. The other pod's event arrives after all
	// events of the first have been handled.
	for i := range 100 {
		c.Event(ledger.PodRef{Namespace: "nfv", Name: "noisy", UID: "u2"}, "Warning", fmt.Sprint("Reason", i), "x")
	}
	c.Event(ledger.PodRef{Namespace: "nfv", Name: "last", UID: "u3"}, "Normal", "Last", "x")
	noisy := 0
	for e := range s.created {
		involved, _ := e["involvedObject"].(map[string]any)
		if involved["name"] == "last" {
			break
		}
		noisy++
	}
	if noisy == 0 || noisy > 30 {
		t.Errorf("%d events of one pod were written", noisy)
	}
}

// reports 13: an event of the node, where kubectl describe looks for it.
func TestNodeEvent(t *testing.T) {
	s := newAPIServer(t)
	start(t, s).NodeEvent("Warning", "CNIConfigurationRemoved", "x")
	e := <-s.created
	involved, _ := e["involvedObject"].(map[string]any)
	got := fmt.Sprint(e.text("namespace"), involved["kind"], involved["name"], involved["uid"], e["reason"], e["message"])
	if want := fmt.Sprint("default", "Node", "node1", "node1", "CNIConfigurationRemoved", "x"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// meta-cni D2, lab "a device requested by an init container only": the cache keeps the
// requests of extended resources, in the order of the containers, and no other part of a spec.
func TestRequestsOfAPod(t *testing.T) {
	container := func(name string, resources ...corev1.ResourceName) corev1.Container {
		c := corev1.Container{Name: name, Image: "i", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1"), "hugepages-2Mi": resource.MustParse("1Gi")}}}
		for _, r := range resources {
			c.Resources.Requests[r] = resource.MustParse("1")
		}
		return c
	}
	sidecar := container("proxy", "x.io/fast")
	sidecar.RestartPolicy = ptr(corev1.ContainerRestartPolicyAlways)
	full := corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{container("setup", "x.io/fast"), sidecar},
		Containers:     []corev1.Container{container("idle"), container("app", "x.io/slow", "kubernetes.io/batteries")},
	}}
	got, err := stripPod(&full)
	if err != nil {
		t.Fatal(err)
	}
	want := []network.Request{
		{Resource: "x.io/fast", Container: "setup", Init: true}, {Resource: "x.io/fast", Container: "proxy"}, {Resource: "x.io/slow", Container: "app"},
	}
	spec := got.(*corev1.Pod).Spec
	if d := cmp.Diff(want, requests(spec)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if len(spec.Containers) != 1 || spec.Containers[0].Image != "" || len(spec.Containers[0].Resources.Requests) != 1 {
		t.Errorf("the cache keeps %+v", spec.Containers)
	}
}

func ptr[T any](v T) *T { return &v }

func TestStrip(t *testing.T) {
	full := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "a", Name: "b", UID: "c", Labels: map[string]string{"l": "x"},
			Annotations:   map[string]string{"k": "v", network.NetworksAnnotation: "a", corev1.LastAppliedConfigAnnotation: "{…}"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		},
		Spec:   corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Message: "m"},
	}
	got, err := stripPod(&full)
	if err != nil {
		t.Fatal(err)
	}
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b", UID: "c", Annotations: map[string]string{network.NetworksAnnotation: "a"}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if len(full.Annotations) != 3 {
		t.Error("the object that was handed in has been changed")
	}
	tombstone := cache.DeletedFinalStateUnknown{Key: "a/b"}
	for _, strip := range []cache.TransformFunc{stripPod, networkParser{}.parseNetwork, stripMeta, stripConfigMap} {
		if got, err := strip(tombstone); err != nil || got != any(tombstone) {
			t.Errorf("a tombstone became %v, %v", got, err)
		}
	}
}

func TestNew(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	_, err := New("", Options{NodeName: "node1"})
	if err == nil || !strings.HasPrefix(err.Error(), "connect to the API server: not in a pod with a ServiceAccount, and no kubeconfig given: ") {
		t.Errorf("got %v", err)
	}
	_, err = New("/absent", Options{NodeName: "node1"})
	if err == nil || !strings.HasPrefix(err.Error(), "connect to the API server: read kubeconfig /absent: ") {
		t.Errorf("got %v", err)
	}
	s := newAPIServer(t)
	s.put(podPath, podObject("u1"))
	config, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "x",
		"clusters": []any{map[string]any{"name": "x", "cluster": map[string]any{"server": s.url}}},
		"contexts": []any{map[string]any{"name": "x", "context": map[string]any{"cluster": "x", "user": ""}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(path, Options{}); err == nil || !strings.Contains(err.Error(), "the node's name is not set") {
		t.Errorf("got %v", err)
	}
	c, err := New(path, Options{NodeName: "node1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Pod(t.Context(), "nfv", "upf", "u1"); err != nil {
		t.Error(err)
	}
}
