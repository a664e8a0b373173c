//go:build lab

package admission

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// The tokens of a cluster administrator, and of a user without any rights of her own.
const (
	adminToken = "admin-of-this-test"
	janesToken = "jane-of-this-test"
)

// server is a running API server.
type server struct {
	url  string
	http *http.Client
}

// start runs etcd and kube-apiserver until the test ends.
func start(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	etcdURL, peerURL := "http://"+freeAddress(t), "http://"+freeAddress(t)
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	key := writeKey(t, filepath.Join(dir, "service-account.key"))
	tokens := filepath.Join(dir, "tokens.csv")
	if err := os.WriteFile(tokens, []byte(adminToken+`,admin,1,"system:masters"`+"\n"+janesToken+",jane,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, program(t, "etcd-*/etcd"), "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
		"--listen-client-urls", etcdURL, "--advertise-client-urls", etcdURL,
		"--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL, "--initial-cluster", "default="+peerURL)
	run(t, dir, program(t, "kubernetes-*/kube-apiserver"), "--etcd-servers", etcdURL, "--cert-dir", filepath.Join(dir, "certs"),
		"--bind-address", "127.0.0.1", "--secure-port", port, "--service-cluster-ip-range", "10.0.0.0/24",
		"--authorization-mode", "RBAC", "--token-auth-file", tokens, "--disable-admission-plugins", "ServiceAccount",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", key,
		"--service-account-signing-key-file", key, "--allow-privileged", "--profiling=false", "--v", "1")
	s := &server{url: "https://" + address, http: &http.Client{Timeout: 20 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}} // a certificate that the server made for itself
	s.until(t, "the API server is ready", func() error { return s.do(t.Context(), adminToken, "GET", "/readyz", "", nil, nil) })
	return s
}

// program finds a program in the lab's cache.
func program(t *testing.T, pattern string) string {
	t.Helper()
	root := os.Getenv("FAIRLEAD_CACHE")
	if root == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		root = filepath.Join(home, ".cache", "fairlead")
	}
	found, err := filepath.Glob(filepath.Join(root, "lab", pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s in %s/lab: 'go run ./test/lab up' makes it", pattern, root)
	}
	return found[len(found)-1]
}

func run(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, filepath.Base(program)+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s:\n%s", log.Name(), text[max(0, len(text)-1000):])
		}
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func writeKey(t *testing.T, file string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// until repeats try until it succeeds.
func (s *server) until(t *testing.T, event string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("wait until %s: %v", event, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// do makes one request. The error has the server's answer.
func (s *server) do(ctx context.Context, token, method, path, contentType string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

// create makes an object of a YAML text.
func (s *server) create(t *testing.T, path, text string) {
	t.Helper()
	data, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.do(t.Context(), adminToken, "POST", path, "application/json", data, nil); err != nil {
		t.Fatal(err)
	}
}
