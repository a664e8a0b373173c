package state

import (
	"context"
	"net/http"
)

// ManifestsPath has the objects of the API server that the agent has cached.
const ManifestsPath = "/v1/manifests"

// WithManifests adds `GET /v1/manifests` to a Handler: a List of Kubernetes' objects.
func WithManifests(handler http.Handler, cached func() ([]byte, error)) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	mux.HandleFunc("GET "+ManifestsPath, func(w http.ResponseWriter, _ *http.Request) {
		body, err := cached()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // a reader that has gone away is nobody's error
	})
	return mux
}

// Manifests asks for the agent's cached objects, as a List in JSON.
func (c *Client) Manifests(ctx context.Context) ([]byte, error) { return c.get(ctx, ManifestsPath) }
