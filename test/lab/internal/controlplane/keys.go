package controlplane

import (
	"fmt"
	"os"
	"path/filepath"

	"fairlead.dev/fairlead/test/lab/internal/config"
	"fairlead.dev/fairlead/test/lab/internal/pki"
)

// WriteKeys makes the run's certificates and kubeconfigs unless they exist.
func WriteKeys(l config.Layout, ports config.Ports, nodes []config.Node) error {
	marker := filepath.Join(l.PKI(), "complete")
	if _, err := os.Stat(marker); err == nil {
		return nil
	}
	if err := os.MkdirAll(l.PKI(), 0o700); err != nil {
		return err
	}
	k := keys{dir: l.PKI(), onHost: fmt.Sprintf("https://127.0.0.1:%d", ports.APIServer),
		inGuest: fmt.Sprintf("https://%s:%d", config.GuestHostIP, ports.APIServer)}
	if err := k.make(nodes); err != nil {
		return fmt.Errorf("make the lab's keys: %w", err)
	}
	return os.WriteFile(marker, nil, 0o600)
}

type keys struct {
	dir             string
	ca              *pki.Authority
	onHost, inGuest string // the API server's address
}

// client is a party that talks to the API server.
type client struct {
	file    string
	subject pki.Subject
	server  string // empty: no kubeconfig
}

func (k *keys) make(nodes []config.Node) error {
	var err error
	if k.ca, err = pki.NewAuthority("fairlead-lab"); err != nil {
		return err
	}
	if err := k.write("ca", k.ca.Pair); err != nil {
		return err
	}
	account, err := pki.ServiceAccountKey()
	if err != nil {
		return err
	}
	if err := k.write("service-account", account); err != nil {
		return err
	}
	for _, c := range k.clients(nodes) {
		if err := k.issue(c); err != nil {
			return err
		}
	}
	return nil
}

func (k *keys) clients(nodes []config.Node) []client {
	admins := []string{"system:masters"}
	list := []client{
		{"apiserver", pki.Subject{Name: "kube-apiserver",
			IPs: []string{"127.0.0.1", config.GuestHostIP, config.ServiceFirst},
			DNS: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}}, ""},
		{"apiserver-kubelet-client", pki.Subject{Name: "apiserver-kubelet-client", Groups: admins}, ""},
		{"admin", pki.Subject{Name: "admin", Groups: admins}, k.onHost},
		{"scheduler", pki.Subject{Name: "system:kube-scheduler"}, k.onHost},
		{"controller-manager", pki.Subject{Name: "system:kube-controller-manager"}, k.onHost},
		{"kube-proxy", pki.Subject{Name: "system:kube-proxy"}, k.inGuest},
	}
	for _, n := range nodes {
		list = append(list, client{n.Name, pki.Subject{
			Name: "system:node:" + n.Name, Groups: []string{"system:nodes"},
			DNS: []string{n.Name}, IPs: []string{n.IP(), "127.0.0.1"},
		}, k.inGuest})
	}
	return list
}

func (k *keys) issue(c client) error {
	pair, err := k.ca.Issue(c.subject)
	if err != nil {
		return err
	}
	if err := k.write(c.file, pair); err != nil || c.server == "" {
		return err
	}
	return os.WriteFile(filepath.Join(k.dir, c.file+".kubeconfig"), pki.Kubeconfig(c.server, k.ca.Cert, pair), 0o600)
}

func (k *keys) write(name string, p pki.Pair) error {
	if err := os.WriteFile(filepath.Join(k.dir, name+".crt"), p.Cert, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(k.dir, name+".key"), p.Key, 0o600)
}
