package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// object is an API object as the server stores it.
type object map[string]any

func (o object) meta() map[string]any {
	m, _ := o["metadata"].(map[string]any)
	return m
}

func (o object) text(field string) string {
	s, _ := o.meta()[field].(string)
	return s
}

// apiServer answers as the real one does, for the few verbs in use: get, list, watch (with
// initial events), create, merge patch. It supports field selectors on name and node, and
// answers 404 without a body for an unknown kind.
type apiServer struct {
	t   testing.TB
	url string
	srv *httptest.Server

	closing sync.Once
	closed  chan struct{} // ends the watches, for which Close would wait

	mu       sync.Mutex // guards the fields below
	version  int
	objects  map[string]object // path -> object
	log      []change
	watchers map[chan struct{}]bool
	requests []string
	posted   []object
	unknown  map[string]bool                 // resources that no CRD declares
	refuse   func(method, path string) error // if set, an error to answer with
	created  chan object
	drop     chan struct{} // closed to end the current watches, then replaced
}

type change struct {
	version int
	kind    string // ADDED …
	path    string
	object  object
}

func newAPIServer(t testing.TB) *apiServer {
	s := &apiServer{
		t: t, objects: map[string]object{}, watchers: map[chan struct{}]bool{}, unknown: map[string]bool{},
		refuse: func(string, string) error { return nil }, created: make(chan object, 1000), closed: make(chan struct{}), drop: make(chan struct{}),
	}
	s.srv = httptest.NewServer(s)
	s.url = s.srv.URL
	t.Cleanup(s.close)
	return s
}

func (s *apiServer) close() {
	s.closing.Do(func() { close(s.closed) })
	s.srv.CloseClientConnections()
	s.srv.Close()
}

// put stores an object at its path, such as /api/v1/namespaces/a/pods/b.
func (s *apiServer) put(path string, o object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store(path, o)
}

func (s *apiServer) store(path string, o object) {
	s.version++
	kind := "ADDED"
	if s.objects[path] != nil {
		kind = "MODIFIED"
	}
	o = clone(o)
	o.meta()["resourceVersion"] = strconv.Itoa(s.version)
	s.objects[path] = o
	s.record(change{s.version, kind, path, o})
}

func (s *apiServer) remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	o := clone(s.objects[path])
	o.meta()["resourceVersion"] = strconv.Itoa(s.version)
	delete(s.objects, path)
	s.record(change{s.version, "DELETED", path, o})
}

func (s *apiServer) record(c change) {
	s.log = append(s.log, c)
	for w := range s.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func (s *apiServer) setRefusal(f func(method, path string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

// dropWatches ends the current watches, as a server's restart does.
func (s *apiServer) dropWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.drop)
	s.drop = make(chan struct{})
}

func (s *apiServer) setUnknown(resource string, unknown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unknown[resource] = unknown
}

// gets counts the requests for single objects of a resource.
func (s *apiServer) gets(resource string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if strings.HasPrefix(r, "GET ") && strings.Contains(r, "/"+resource+"/") {
			n++
		}
	}
	return n
}

// patched lists the paths that were patched.
func (s *apiServer) patched() (paths []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if path, ok := strings.CutPrefix(r, http.MethodPatch+" "); ok {
			paths = append(paths, path)
		}
	}
	return paths
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	err := s.refuse(r.Method, r.URL.Path)
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	isUnknown := slices.ContainsFunc(parts, func(p string) bool { return s.unknown[p] })
	s.mu.Unlock()
	switch {
	case err != nil:
		answerError(w, err)
	case isUnknown:
		http.NotFound(w, r)
	case r.Method == http.MethodPost:
		s.create(w, r)
	case r.Method == http.MethodPatch:
		s.patch(w, r)
	case r.URL.Query().Get("watch") != "":
		s.watch(w, r)
	case s.isCollection(parts):
		s.list(w, r)
	default:
		s.get(w, r)
	}
}

// isCollection distinguishes /api/v1/[namespaces/N/]RESOURCE from an object's path.
func (s *apiServer) isCollection(parts []string) bool {
	rest := parts[2:]
	if parts[0] == "apis" {
		rest = parts[3:]
	}
	if len(rest) > 1 && rest[0] == "namespaces" {
		rest = rest[2:]
	}
	return len(rest) == 1
}

func (s *apiServer) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	o := s.objects[r.URL.Path]
	s.mu.Unlock()
	if o == nil {
		answerError(w, apierrors.NewNotFound(schema.GroupResource{}, r.URL.Path))
		return
	}
	answer(w, http.StatusOK, shape(r, o))
}

func (s *apiServer) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	items := []object{}
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		if s.matches(r, path, s.objects[path]) {
			items = append(items, shape(r, s.objects[path]))
		}
	}
	version := strconv.Itoa(s.version)
	s.mu.Unlock()
	list := object{"kind": "List", "apiVersion": "v1", "metadata": map[string]any{"resourceVersion": version}, "items": items}
	if metaOnly(r) {
		list["kind"], list["apiVersion"] = "PartialObjectMetadataList", "meta.k8s.io/v1"
	} else if len(items) > 0 {
		list["kind"], list["apiVersion"] = fmt.Sprint(items[0]["kind"], "List"), items[0]["apiVersion"]
	}
	answer(w, http.StatusOK, list)
}

func (s *apiServer) watch(w http.ResponseWriter, r *http.Request) {
	woken := make(chan struct{}, 1)
	s.mu.Lock()
	dropped := s.drop
	s.watchers[woken] = true
	from, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	var events []object
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		from = s.version
		for path, o := range s.objects {
			if s.matches(r, path, o) {
				events = append(events, object{"type": "ADDED", "object": shape(r, o)})
			}
		}
		events = append(events, object{"type": "BOOKMARK", "object": shape(r, s.bookmark(r))})
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, woken)
	}()
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	for {
		for _, e := range events {
			if encoder.Encode(e) != nil {
				return
			}
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		events = nil
		s.mu.Lock()
		for _, c := range s.log {
			if c.version > from && s.matches(r, c.path, c.object) {
				events = append(events, object{"type": c.kind, "object": shape(r, c.object)})
			}
		}
		from = s.version
		s.mu.Unlock()
		if len(events) > 0 {
			continue
		}
		select {
		case <-woken:
		case <-r.Context().Done():
			return
		case <-s.closed:
			return
		case <-dropped:
			return
		}
	}
}

// bookmark ends the initial events of a watch.
func (s *apiServer) bookmark(r *http.Request) object {
	kind := map[string]string{"pods": "Pod", "configmaps": "ConfigMap", nadsResource: "NetworkAttachmentDefinition"}
	version := "v1"
	if strings.Contains(r.URL.Path, "k8s.cni.cncf.io") {
		version = "k8s.cni.cncf.io/v1"
	}
	return object{"kind": kind[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]], "apiVersion": version, "metadata": map[string]any{
		"resourceVersion": strconv.Itoa(s.version), "annotations": map[string]any{"k8s.io/initial-events-end": "true"},
	}}
}

// matches reports whether an object is in the collection and selected by its fields.
func (s *apiServer) matches(r *http.Request, path string, o object) bool {
	i := strings.LastIndex(path, "/")
	collection := path[:i]
	if collection != r.URL.Path && withoutNamespace(collection) != r.URL.Path {
		return false
	}
	key, want, _ := strings.Cut(r.URL.Query().Get("fieldSelector"), "=")
	switch key {
	case "metadata.name":
		return o.text("name") == want
	case "spec.nodeName":
		spec, _ := o["spec"].(map[string]any)
		return spec["nodeName"] == want
	case "":
		return true
	}
	s.t.Errorf("field selector %s", key)
	return false
}

func withoutNamespace(collection string) string {
	before, after, ok := strings.Cut(collection, "/namespaces/")
	if !ok {
		return collection
	}
	_, resource, _ := strings.Cut(after, "/")
	return before + "/" + resource
}

func (s *apiServer) create(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		answerError(w, err)
		return
	}
	scheme, err := newScheme()
	if err != nil {
		answerError(w, err)
		return
	}
	decoded, _, err := serializer.NewCodecFactory(scheme).UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		answerError(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	o := toObject(decoded)
	s.mu.Lock()
	s.posted = append(s.posted, o)
	s.mu.Unlock()
	s.created <- o
	answer(w, http.StatusCreated, o)
}

func (s *apiServer) patch(w http.ResponseWriter, r *http.Request) {
	var patch object
	if err := json.NewDecoder(r.Body).Decode(&patch); err != nil {
		answerError(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.TrimSuffix(r.URL.Path, "/status")
	o := s.objects[path]
	if o == nil {
		answerError(w, apierrors.NewNotFound(schema.GroupResource{}, r.URL.Path))
		return
	}
	if uid := patch.text("uid"); uid != "" && uid != o.text("uid") {
		answerError(w, apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, o.text("name"), field.ErrorList{
			field.Invalid(field.NewPath("metadata", "uid"), uid, "field is immutable"),
		}))
		return
	}
	o = clone(o)
	annotations, _ := o.meta()["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
	}
	added, _ := patch.meta()["annotations"].(map[string]any)
	maps.Copy(annotations, added)
	o.meta()["annotations"] = annotations
	s.store(path, o)
	answer(w, http.StatusOK, s.objects[path])
}

// shape returns the object in the form that the request asks for.
func shape(r *http.Request, o object) object {
	if !metaOnly(r) {
		return o
	}
	return object{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": o["metadata"]}
}

func metaOnly(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata")
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

func answerError(w http.ResponseWriter, err error) {
	status, ok := err.(apierrors.APIStatus)
	if !ok {
		status = apierrors.NewInternalError(err)
	}
	s := status.Status()
	s.Kind, s.APIVersion = "Status", "v1"
	answer(w, int(s.Code), s)
}

func clone(o object) object { return toObject(o) }

func toObject(v any) object {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		panic(err)
	}
	return o
}

// cluster is a running Client with its server.
type cluster struct {
	*Client
	server      *apiServer
	changed     chan struct{}
	podsChanged chan string // for which PodChanged was called
}

const (
	podPath  = "/api/v1/namespaces/nfv/pods/upf"
	nadPath  = "/apis/k8s.cni.cncf.io/v1/namespaces/nfv/network-attachment-definitions/data"
	nodePath = "/api/v1/nodes/node1"
	mapPath  = "/api/v1/namespaces/fairlead-system/configmaps/profiles"
	ownPath  = "/apis/apps/v1/namespaces/fairlead-system/daemonsets/fairlead-agent"
)

func podObject(uid string) object {
	return object{
		"kind": "Pod", "apiVersion": "v1",
		"metadata": map[string]any{"namespace": "nfv", "name": "upf", "uid": uid, "annotations": map[string]any{"k8s.v1.cni.cncf.io/networks": "data"}},
		"spec":     map[string]any{"nodeName": "node1"},
	}
}

func nadObject(config string) object {
	return object{
		"kind": "NetworkAttachmentDefinition", "apiVersion": "k8s.cni.cncf.io/v1",
		"metadata": map[string]any{"namespace": "nfv", "name": "data", "annotations": map[string]any{"k8s.v1.cni.cncf.io/resourceName": "fairlead.dev/fast"}},
		"spec":     map[string]any{"config": config},
	}
}

func nodeObject(label string) object {
	return object{"kind": "Node", "apiVersion": "v1", "metadata": map[string]any{"name": "node1", "labels": map[string]any{"rack": label}}}
}

func mapObject(text string) object {
	return object{
		"kind": "ConfigMap", "apiVersion": "v1", "metadata": map[string]any{"namespace": "fairlead-system", "name": "profiles"},
		"data": map[string]any{"a.yaml": text},
	}
}

func ownObject(uid string) object {
	return object{"kind": "DaemonSet", "apiVersion": "apps/v1", "metadata": map[string]any{"namespace": "fairlead-system", "name": "fairlead-agent", "uid": uid}}
}

// newCluster creates a Client that does not run yet.
func newCluster(t *testing.T, s *apiServer) cluster {
	t.Helper()
	changed, pods := make(chan struct{}, 100), make(chan string, 100)
	c, err := newForConfig(&rest.Config{Host: s.url}, Options{
		NodeName: "node1", Namespace: "fairlead-system", DaemonSet: "fairlead-agent", ConfigMaps: []string{"profiles"},
		Changed: func() { changed <- struct{}{} }, PodChanged: func(namespace, name string) { pods <- namespace + "/" + name },
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return cluster{c, s, changed, pods}
}

// start creates a Client and waits until its caches are filled.
func start(t *testing.T, s *apiServer) cluster {
	t.Helper()
	c := newCluster(t, s)
	c.run(t)
	if !cache.WaitForCacheSync(t.Context().Done(), c.pods.HasSynced, c.own.informer.HasSynced) || !c.WaitDeclared(t.Context()) {
		t.Fatal("the caches were not filled")
	}
	return c
}

func (c cluster) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}
