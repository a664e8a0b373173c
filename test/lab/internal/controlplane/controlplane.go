// Package controlplane runs etcd, the API server, the scheduler and the
// controller manager on the host's loopback, for one run of the lab.
package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/fairlead/test/lab/internal/config"
	"fairlead.dev/fairlead/test/lab/internal/proc"
)

// readyLimit is many times the time of a component on two busy cores (4 s).
const readyLimit = 2 * time.Minute

// ControlPlane is the set of processes.
type ControlPlane struct {
	Layout   config.Layout
	Ports    config.Ports
	Procs    proc.Table
	Programs string   // folder of the Kubernetes programs
	Etcd     string   // the program
	Egress   []string // command line of the egress proxy
}

// component is one process and how to check that it serves.
type component struct {
	name  string
	args  []string
	ready string // URL; empty: nothing to ask
}

// Components returns the names of the processes, in starting order.
func Components() []string {
	return []string{"etcd", "egress", "kube-apiserver", "kube-scheduler", "kube-controller-manager"}
}

// Up starts the components that do not run, in order, and waits until each serves.
func (c ControlPlane) Up(ctx context.Context, status func(format string, args ...any)) error {
	if err := c.writeEgressConfig(); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	for _, comp := range c.components() {
		status("%s", comp.name)
		if _, running := c.Procs.Running(comp.name); !running {
			if _, err := c.Procs.Start(comp.name, c.Layout.Log(comp.name), comp.args...); err != nil {
				return err
			}
		}
		if err := c.wait(ctx, client, comp); err != nil {
			return err
		}
	}
	return c.waitDefaultServiceAccount(ctx, client)
}

// Down ends the processes, the last first.
func (c ControlPlane) Down() error {
	names := Components()
	for i := len(names) - 1; i >= 0; i-- {
		if err := c.Procs.Stop(names[i], 5*time.Second); err != nil {
			return err
		}
	}
	return nil
}

func (c ControlPlane) components() []component {
	return []component{
		{"etcd", c.etcdArgs(), fmt.Sprintf("http://127.0.0.1:%d/health", c.Ports.EtcdClient)},
		{"egress", c.Egress, ""},
		{"kube-apiserver", c.apiServerArgs(), c.apiURL("/readyz")},
		{"kube-scheduler", c.schedulerArgs(), fmt.Sprintf("https://127.0.0.1:%d/healthz", c.Ports.Scheduler)},
		{"kube-controller-manager", c.controllerManagerArgs(), fmt.Sprintf("https://127.0.0.1:%d/healthz", c.Ports.ControllerManager)},
	}
}

func (c ControlPlane) apiURL(path string) string {
	return fmt.Sprintf("https://127.0.0.1:%d%s", c.Ports.APIServer, path)
}

// client returns an HTTP client with the administrator's certificate. It does not check servers:
// scheduler and controller manager make certificates of their own.
func (c ControlPlane) client() (*http.Client, error) {
	dir := c.Layout.PKI()
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "admin.crt"), filepath.Join(dir, "admin.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, InsecureSkipVerify: true},
	}}, nil
}

func (c ControlPlane) wait(ctx context.Context, client *http.Client, comp component) error {
	deadline := time.Now().Add(readyLimit)
	for {
		err := probe(ctx, client, comp.ready)
		if err == nil {
			return nil
		}
		_, running := c.Procs.Running(comp.name)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !running:
			return fmt.Errorf("%s ended\n%s:\n%s", comp.name, c.Layout.Log(comp.name), proc.Tail(c.Layout.Log(comp.name), 30))
		case time.Now().After(deadline):
			return fmt.Errorf("%s does not serve after %s: %w\n%s:\n%s", comp.name, readyLimit, err,
				c.Layout.Log(comp.name), proc.Tail(c.Layout.Log(comp.name), 30))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func probe(ctx context.Context, client *http.Client, url string) error {
	if url == "" {
		return nil
	}
	_, err := get(ctx, client, url)
	return err
}

func get(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %.300s", url, resp.Status, b)
	}
	return string(b), nil
}

// waitDefaultServiceAccount waits for the controller that makes it: without
// it the first pod of a namespace is refused.
func (c ControlPlane) waitDefaultServiceAccount(ctx context.Context, client *http.Client) error {
	comp := component{name: "kube-controller-manager", ready: c.apiURL("/api/v1/namespaces/default/serviceaccounts/default")}
	return c.wait(ctx, client, comp)
}

func (c ControlPlane) writeEgressConfig() error {
	text := fmt.Sprintf(`apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport: {uds: {udsName: %q}}
`, c.Layout.Socket("egress"))
	return os.WriteFile(c.egressConfig(), []byte(text), 0o644)
}

func (c ControlPlane) egressConfig() string { return filepath.Join(c.Layout.Run, "egress.yaml") }
