package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"fairlead.dev/fairlead/test/lab/internal/agentapi"
)

// restartDelay is short: tests restart the kubelet and wait for it.
const restartDelay = 300 * time.Millisecond

// unit is one service as the host describes it.
type unit struct {
	Name  string   `json:"name"`
	Args  []string `json:"args"`
	Ready string   `json:"ready"` // a path that exists when the next may start
}

// supervisor keeps the node's services running.
type supervisor struct {
	units  []unit
	logDir string

	mu    sync.Mutex // guards state
	state map[string]*agentapi.Service
}

func newSupervisor(file string) (*supervisor, error) {
	s := &supervisor{logDir: "/var/log/lab", state: map[string]*agentapi.Service{}}
	if file == "" {
		return s, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &s.units); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, u := range s.units {
		s.state[u.Name] = &agentapi.Service{Name: u.Name, Log: filepath.Join(s.logDir, u.Name+".log")}
	}
	return s, nil
}

// startAll starts the services in order, each once its predecessor is ready.
func (s *supervisor) startAll() {
	if err := os.MkdirAll(s.logDir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, "guestagent:", err)
	}
	go func() {
		for _, u := range s.units {
			go s.keep(u) // lives as long as the node
			for u.Ready != "" && !exists(u.Ready) {
				time.Sleep(50 * time.Millisecond)
			}
		}
	}()
}

// keep runs a service again and again.
func (s *supervisor) keep(u unit) {
	for {
		s.waitUntilWanted(u.Name)
		if err := s.once(u); err != nil {
			fmt.Fprintf(os.Stderr, "guestagent: %s: %v\n", u.Name, err)
		}
		time.Sleep(restartDelay)
		s.update(u.Name, func(st *agentapi.Service) { st.Restarts++ })
	}
}

func (s *supervisor) waitUntilWanted(name string) {
	for s.get(name).Stopped {
		time.Sleep(100 * time.Millisecond)
	}
}

func (s *supervisor) once(u unit) error {
	log, err := os.OpenFile(s.get(u.Name).Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(u.Args[0], u.Args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.update(u.Name, func(st *agentapi.Service) { st.PID = cmd.Process.Pid })
	err = cmd.Wait()
	s.update(u.Name, func(st *agentapi.Service) { st.PID = 0 })
	fmt.Fprintf(log, "guestagent: %s ended: %v\n", u.Name, cmd.ProcessState)
	return err
}

func (s *supervisor) list(w http.ResponseWriter, _ *http.Request) {
	list := []agentapi.Service{}
	for _, u := range s.units {
		list = append(list, s.get(u.Name))
	}
	json.NewEncoder(w).Encode(list)
}

// control does an action for the host. restart ends a service, which then comes back; kill
// does so without a chance to clean up. stop keeps it down until start.
func (s *supervisor) control(w http.ResponseWriter, r *http.Request) {
	name, verb := r.PathValue("name"), r.PathValue("verb")
	if !s.known(name) {
		http.Error(w, fmt.Sprintf("no service %q on this node", name), http.StatusNotFound)
		return
	}
	var sig syscall.Signal
	switch verb {
	case "restart":
		sig = syscall.SIGTERM
	case "kill":
		sig = syscall.SIGKILL
	case "stop":
		sig = syscall.SIGTERM
		s.update(name, func(st *agentapi.Service) { st.Stopped = true })
	case "start":
		s.update(name, func(st *agentapi.Service) { st.Stopped = false })
	default:
		http.Error(w, fmt.Sprintf("cannot %q a service: restart, kill, stop or start", verb), http.StatusBadRequest)
		return
	}
	if pid := s.get(name).PID; pid > 0 && sig != 0 {
		if err := syscall.Kill(pid, sig); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}

func (s *supervisor) known(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state[name] != nil
}

func (s *supervisor) get(name string) agentapi.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.state[name]
}

func (s *supervisor) update(name string, change func(*agentapi.Service)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.state[name])
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
