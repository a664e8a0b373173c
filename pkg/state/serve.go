package state

import (
	"context"
	"encoding/json"
	"net/http"
)

// Path is where Handler serves the state.
const Path = "/v1/state"

// Handler serves `GET /v1/state` as JSON. It has no say over who may ask: the
// agent's socket is readable by root alone.
func Handler(current func(context.Context) (State, error)) http.Handler {
	mux := http.NewServeMux()
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
		// A reader that has gone away is nobody's error.
		_, _ = w.Write(append(body, '\n'))
	})
	return mux
}
