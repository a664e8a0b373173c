package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"fairlead.dev/fairlead/pkg/network"
)

// tenants is an API server with as many net-attach-defs and pods as tenants make. It writes
// each as it is asked for, and holds none of them.
type tenants struct {
	count  int
	kind   string // of the objects; there are no others
	path   string // of the kind
	object func(i int) string
	noList bool // it knows no watches that begin with the present objects
}

func (s tenants) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case strings.Contains(r.URL.Path, "/namespaces/t/"):
		i, err := strconv.Atoi(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
		if err != nil || i >= s.count {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, s.object(i))
	case !strings.HasSuffix(s.path, r.URL.Path[strings.LastIndex(r.URL.Path, "/"):]):
		http.NotFound(w, r)
	case q.Get("sendInitialEvents") == "true" && s.noList:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
	case q.Get("watch") != "":
		s.watch(w, r)
	default:
		s.list(w)
	}
}

func (s tenants) watch(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		for i := range s.count {
			fmt.Fprintf(w, `{"type":"ADDED","object":%s}`+"\n", s.object(i))
		}
		fmt.Fprintf(w, `{"type":"BOOKMARK","object":{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}`+"\n",
			s.kind, map[string]string{"Pod": "v1", "NetworkAttachmentDefinition": "k8s.cni.cncf.io/v1"}[s.kind])
	}
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

func (s tenants) list(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"kind":"%sList","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":[`, s.kind)
	for i := range s.count {
		if i > 0 {
			_, _ = io.WriteString(w, ",")
		}
		_, _ = io.WriteString(w, s.object(i))
	}
	_, _ = io.WriteString(w, `]}`)
}

// serve runs a Client on the objects until the test ends.
func (s tenants) serve(t *testing.T) *Client {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	c, err := newForConfig(&rest.Config{Host: srv.URL}, Options{NodeName: "node1", Namespace: "fairlead-system"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return c
}

// netAttachDefs makes net-attach-defs of one config.
func netAttachDefs(count int, config string) tenants {
	raw, _ := json.Marshal(config)
	spec := `"},"spec":{"config":` + string(raw) + `}}`
	return tenants{count: count, kind: "NetworkAttachmentDefinition", path: "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions",
		object: func(i int) string {
			n := strconv.Itoa(i)
			return `{"kind":"NetworkAttachmentDefinition","apiVersion":"k8s.cni.cncf.io/v1","metadata":{"namespace":"t","resourceVersion":"5","uid":"u` + n + `","name":"` + n + spec
		}}
}

// liveHeap returns the bytes that are in use, of Go's heap.
func liveHeap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// watchHeap notes the highest live heap, as the garbage collector finds it, until it is
// stopped. A test that is to see peaks collects often.
func watchHeap(t *testing.T) (peak func() int) {
	t.Helper()
	old := debug.SetGCPercent(20)
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	stop, highest := make(chan struct{}), make(chan int)
	go func() { // ends with stop
		most := 0
		for tick := time.Tick(5 * time.Millisecond); ; {
			metrics.Read(sample)
			most = max(most, int(sample[0].Value.Uint64()))
			select {
			case <-stop:
				highest <- most
				return
			case <-tick:
			}
		}
	}()
	return func() int {
		close(stop)
		debug.SetGCPercent(old)
		return <-highest
	}
}

// S16, S7: hundreds of net-attach-defs of 1.45 MB, the largest that an API server takes, in the
// caches of an agent. None can be used; each pod that names one gets the reason. The memory
// does not depend on their number or size, neither afterwards nor on the way, and not if the
// API server answers with one list. (1,000 of them took no more: docs/design/memory.md.)
func TestMemoryOfTheLargestNetAttachDefs(t *testing.T) {
	const allowed = 48 << 20
	config := `{"type":"macvlan","x":"` + strings.Repeat("x", 1_450_000) + `"}`
	for _, tt := range []struct {
		name   string
		count  int
		noList bool
	}{{"as one list", 200, true}, {"one by one", 50, false}} {
		t.Run(tt.name, func(t *testing.T) {
			s := netAttachDefs(tt.count, config)
			s.noList = tt.noList
			before := liveHeap()
			peak := watchHeap(t)
			c := s.serve(t)
			if !cache.WaitForCacheSync(t.Context().Done(), c.networks.HasSynced) {
				t.Fatal("the cache was not filled")
			}
			highest := peak() - before
			after := liveHeap() - before
			if n := len(c.networks.GetStore().ListKeys()); n != tt.count {
				t.Errorf("%d net-attach-defs are known, want %d", n, tt.count)
			}
			_, err := c.NetAttachDef(t.Context(), "t", "7")
			if want := fmt.Sprintf("net-attach-def t/7, spec.config: %d bytes, the limit is 65536; make the config smaller", len(config)); err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
			t.Logf("%d net-attach-defs of %d bytes: %.1f MiB, %.1f MiB on the way", tt.count, len(config), float64(after)/(1<<20), float64(highest)/(1<<20))
			if after > 8<<20 || highest > allowed {
				t.Errorf("%d bytes, %d on the way; want at most %d and %d", after, highest, 8<<20, allowed)
			}
		})
	}
}

// S16: net-attach-defs within the limits. Those above the budget are requested when a pod
// names them, and count with their size before that.
func TestMemoryOfManyNetAttachDefs(t *testing.T) {
	config := `{"type":"macvlan","x":"` + strings.Repeat("x", network.MaxConfigBytes-64) + `"}`
	const count = 600 // 38 MiB of text
	before := liveHeap()
	c := netAttachDefs(count, config).serve(t)
	if !cache.WaitForCacheSync(t.Context().Done(), c.networks.HasSynced) {
		t.Fatal("the cache was not filled")
	}
	if after := liveHeap() - before; after > NetworksBudget/2+(8<<20) {
		t.Errorf("%d bytes; large ones may have half of the budget of %d", after, NetworksBudget)
	}
	kept := 0
	for i := range count {
		name := fmt.Sprint(i)
		if n, ok := c.cachedNetwork("t/" + name); ok && n.kept {
			kept++
		} else if kept > 0 && i%50 == 0 {
			if d, err := c.NetAttachDef(t.Context(), "t", name); err != nil || d.List.Plugins[0].Type != "macvlan" {
				t.Errorf("above the budget: %+v, %v", d, err)
			}
		}
		if size := c.NetAttachDefSize("t", name); size < len(config) || size > 2*len(config) {
			t.Fatalf("net-attach-def %s has the size %d", name, size)
		}
	}
	if kept < 200 || kept > 300 {
		t.Errorf("%d of %d are kept", kept, count)
	}
	if size := c.NetAttachDefSize("t", "unknown"); size != network.MaxSize {
		t.Errorf("one that is unknown counts as %d, want %d", size, network.MaxSize)
	}
}

// S7: pods with annotations of 256 KiB, 131,000 networks in the short form.
func TestMemoryOfTheLargestPods(t *testing.T) {
	annotation := strings.Repeat("a,", 131_000)
	for _, noList := range []bool{true, false} {
		spec := fmt.Sprintf(`","annotations":{%q:%q,"other":"x"}},"spec":{"nodeName":"node1","containers":[{"name":"c","args":[%q]}]}}`,
			network.NetworksAnnotation, annotation, strings.Repeat("y", 256<<10))
		s := tenants{count: 100, kind: "Pod", path: "/api/v1/pods", noList: noList, object: func(i int) string {
			n := strconv.Itoa(i)
			return `{"kind":"Pod","apiVersion":"v1","metadata":{"namespace":"t","resourceVersion":"5","uid":"u` + n + `","name":"` + n + spec
		}}
		before := liveHeap()
		peak := watchHeap(t)
		c := s.serve(t)
		if !cache.WaitForCacheSync(t.Context().Done(), c.pods.HasSynced) {
			t.Fatal("the cache was not filled")
		}
		highest, after := peak()-before, liveHeap()-before
		if after > 8<<20 || highest > 32<<20 {
			t.Errorf("no list %t: %d bytes, %d on the way", noList, after, highest)
		}
		p, err := c.Pod(t.Context(), "t", "7", "u7")
		if err != nil {
			t.Fatal(err)
		}
		_, err = network.ParseSelections(p.Annotations[network.NetworksAnnotation], "t")
		if err == nil || !strings.Contains(err.Error(), "262000 bytes, the limit is 65536") {
			t.Errorf("got %v, want the size", err)
		}
	}
}

// The budget counts the kept objects, in whatever order events arrive.
func TestBudget(t *testing.T) {
	b := newBudget()
	for _, step := range []struct {
		do         string
		key        string
		uid        string
		size       int
		kept       bool
		used, keys int
	}{
		{"keep", "a", "1", 10 << 20, true, 10 << 20, 1},
		{"keep", "a", "1", 12 << 20, true, 12 << 20, 1},            // an update
		{"keep", "b", "2", 5 << 20, false, 12 << 20, 1},            // large ones have half of the budget
		{"keep", "c", "3", largeNetwork, true, 12<<20 + 16<<10, 2}, // small ones have all
		{"keep", "a", "4", 1 << 20, true, 1<<20 + 16<<10, 2},       // deleted and made again
		{"drop", "a", "1", 0, false, 1<<20 + 16<<10, 2},            // and its deletion arrives late
		{"drop", "a", "4", 0, false, 16 << 10, 1},
		{"drop", "b", "2", 0, false, 16 << 10, 1},
		{"keep", "b", "2", 5 << 20, true, 5<<20 + 16<<10, 2},
	} {
		kept := false
		if step.do == "keep" {
			kept = b.keep(step.key, types.UID(step.uid), step.size)
		} else {
			b.drop(step.key, types.UID(step.uid))
		}
		if kept != step.kept || b.used != step.used || len(b.kept) != step.keys {
			t.Errorf("%+v: kept %t, %d bytes of %d keys", step, kept, b.used, len(b.kept))
		}
	}
}
