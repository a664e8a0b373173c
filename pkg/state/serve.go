package state

import (
	"context"
	"encoding/json"
	"net/http"
)

// Handler serves the state at Path, and the agent's readiness at ReadyPath.
const (
	Path      = "/v1/state"
	ReadyPath = "/v1/ready"
)

// Handler serves `GET /v1/state` as JSON, and `GET /v1/ready`, which is 204 if ready returns
// nil. It does not check who asks: only root can open the agent's socket.
func Handler(current func(context.Context) (State, error), ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+ReadyPath, func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET "+Path, func(w http.ResponseWriter, r *http.Request) {
		s, err := current(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		body, err := json.Marshal(s)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		// If the reader has gone away, there is nobody to report it to.
		_, _ = w.Write(append(body, '\n'))
	})
	return mux
}
