// Command guestagent runs in every node of the lab: it executes commands for
// the host, receives files, supervises containerd, the kubelet and kube-proxy,
// and opens connections for the host to places that only the node can reach. It is not a
// part of Fairlead and knows nothing of it.
package main

import (
	"crypto/subtle"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"

	"fairlead.dev/fairlead/test/lab/internal/agentapi"
)

func main() { os.Exit(run()) }

func run() int {
	listen := flag.String("listen", ":7000", "address to serve on")
	tokenFile := flag.String("token-file", "/lab/node/token", "file with the password")
	unitsFile := flag.String("services", "", "file with the services to supervise, JSON")
	flag.Parse()
	token, err := os.ReadFile(*tokenFile)
	if err != nil {
		fmt.Fprintln(os.Stderr, "guestagent:", err)
		return 1
	}
	super, err := newSupervisor(*unitsFile)
	if err != nil {
		fmt.Fprintln(os.Stderr, "guestagent:", err)
		return 1
	}
	super.startAll()
	fmt.Fprintln(os.Stderr, "guestagent:", http.ListenAndServe(*listen, handler(strings.TrimSpace(string(token)), super)))
	return 1
}

// handler routes requests that carry the password.
func handler(token string, super *supervisor) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /exec", execute)
	mux.HandleFunc("POST /put", put)
	mux.HandleFunc("GET /services", super.list)
	mux.HandleFunc("POST /services/{name}/{verb}", super.control)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get(agentapi.HeaderToken)), []byte(token)) != 1 {
			http.Error(w, "wrong token", http.StatusForbidden)
			return
		}
		if r.Method == http.MethodConnect {
			connect(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
