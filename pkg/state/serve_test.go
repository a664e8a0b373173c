package state

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// serve answers on a unix socket as the agent does, and returns its path.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(listener) // ends with Close below
	t.Cleanup(func() { server.Close() })
	return socket
}

func TestClientGetsWhatTheHandlerServes(t *testing.T) {
	want := Build(input())
	socket := serve(t, Handler(func(context.Context) (State, error) { return want, nil }, func() error { return nil }))
	got, err := NewClient(socket).State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the state changed on its way (-want +got):\n%s", diff)
	}
}

func TestClientErrorsSayWhatToDo(t *testing.T) {
	failing := serve(t, Handler(func(context.Context) (State, error) { return State{}, errors.New("ledger: input/output error") }, func() error { return nil }))
	other := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"a":1}`)) }))
	stale := filepath.Join(t.TempDir(), "agent.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()

	tests := []struct{ name, socket, want string }{
		{"no socket", filepath.Join(t.TempDir(), "no.sock"), "the agent is not running on this node"},
		{"stopped agent", stale, "kubectl -n fairlead-system logs -l app.kubernetes.io/name=fairlead-agent"},
		{"agent that has no state", failing, "500 Internal Server Error: ledger: input/output error"},
		{"something else", other, "it names no node"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := NewClient(test.socket).State(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("State() = %v, want an error with %q", err, test.want)
			}
		})
	}
}

// A hanging agent must not make its caller hang, whether before its answer or in it.
func TestClientDoesNotWaitForEver(t *testing.T) {
	release := make(chan struct{})
	silent := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	halfway := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"node":`))
		w.(http.Flusher).Flush()
		<-release
	}))
	t.Cleanup(func() { close(release) })
	for name, socket := range map[string]string{"silent": silent, "halfway": halfway} {
		c := NewClient(socket)
		if c.patience != 15*time.Second {
			t.Errorf("%s: patience %s", name, c.patience)
		}
		c.patience = 50 * time.Millisecond
		if _, err := c.State(t.Context()); err == nil || !strings.Contains(err.Error(), "has not answered within 50ms") {
			t.Errorf("%s: State() = %v, want an error that names the wait", name, err)
		}
	}
}

func TestHandlerAnswersOnlyItsPath(t *testing.T) {
	socket := serve(t, Handler(func(context.Context) (State, error) { return Build(input()), nil }, func() error { return nil }))
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	for request, want := range map[string]int{"GET /v1/state": 200, "GET /": 404, "POST /v1/state": 405} {
		method, path, _ := strings.Cut(request, " ")
		r, err := http.NewRequestWithContext(t.Context(), method, "http://agent"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s = %d, want %d", request, response.StatusCode, want)
		}
	}
}

func TestReady(t *testing.T) {
	none := func(context.Context) (State, error) { return State{}, errors.New("nobody asks for it") }
	if err := NewClient(serve(t, Handler(none, func() error { return nil }))).Ready(t.Context()); err != nil {
		t.Errorf("an agent that serves: %v", err)
	}
	err := NewClient(serve(t, Handler(none, func() error { return errors.New("it is starting") }))).Ready(t.Context())
	if err == nil || !strings.Contains(err.Error(), "it is starting") {
		t.Errorf("an agent that does not serve yet: %v", err)
	}
}
