package main

import (
	"io"
	"net"
	"net/http"
	"time"
)

// connect dials from within the node: the API server reaches pods and
// Services this way.
func connect(w http.ResponseWriter, r *http.Request) {
	up, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer up.Close()
	down, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer down.Close()
	if _, err := io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	go func() { // ends when either side closes
		io.Copy(up, buffered)
		up.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(down, up)
}
