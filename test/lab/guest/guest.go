// Package guest embeds the texts of the lab's virtual machines: scripts, package lists and configuration. Everything here is small and
// changes often, so it travels in the initramfs and not on the disk, which
// takes minutes to make.
package guest

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"strings"
	"text/template"

	"fairlead.dev/fairlead/test/lab/internal/config"
)

//go:embed files
var files embed.FS

// File returns one of the files by name.
func File(name string) []byte {
	b, err := files.ReadFile("files/" + name)
	if err != nil {
		panic(err) // embedded: a typo in this program
	}
	return b
}

// Lines returns a file's lines without comments and blank lines.
func Lines(name string) []string {
	var out []string
	for line := range strings.Lines(string(File(name))) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// nodeData is the input of the templates.
type nodeData struct {
	config.Node
	Peers                    []config.Node
	HostIP, PodNet           string
	GuestNet, ServiceFirst   string
	LANPrefix                string
	APIServerPort, AgentPort int
}

// NodeFiles renders one node's configuration: file name to content, to be
// laid below /lab/node in the guest.
func NodeFiles(n config.Node, ports config.Ports) (map[string][]byte, error) {
	d := nodeData{
		Node: n, HostIP: config.GuestHostIP, PodNet: config.PodNet, GuestNet: config.GuestNet,
		ServiceFirst: config.ServiceFirst, LANPrefix: config.LANPrefix, APIServerPort: ports.APIServer,
	}
	for _, p := range config.Nodes() {
		if p.Name != n.Name {
			d.Peers = append(d.Peers, p)
		}
	}
	out := map[string][]byte{}
	for _, name := range []string{"env", "kubelet.yaml", "kube-proxy.yaml", "10-lab.conflist"} {
		b, err := render(name+".tmpl", d)
		if err != nil {
			return nil, err
		}
		out[name] = b
	}
	services, err := json.MarshalIndent(services(n), "", "  ")
	if err != nil {
		return nil, err
	}
	out["services.json"] = services
	return out, nil
}

func render(name string, data any) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").Parse(string(File(name)))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// service is one process that the guest agent keeps running.
type service struct {
	Name  string   `json:"name"`
	Args  []string `json:"args"`
	Ready string   `json:"ready,omitempty"` // exists when the next may start
}

// ServiceNames are the supervised processes of a node, in starting order.
func ServiceNames() []string { return []string{"containerd", "kubelet", "kube-proxy"} }

func services(n config.Node) []service {
	return []service{
		{Name: "containerd", Ready: "/run/containerd/containerd.sock",
			Args: []string{"/usr/bin/containerd", "--config", "/lab/containerd.toml"}},
		{Name: "kubelet", Args: []string{"/opt/lab/bin/kubelet",
			"--config", "/lab/node/kubelet.yaml",
			"--kubeconfig", "/lab/node/kubelet.kubeconfig",
			"--hostname-override", n.Name,
			"--node-ip", n.IP(),
			"--node-labels", fmt.Sprintf("fairlead.dev/lab-node=%d", n.Index),
			// cAdvisor's share of an idle node's work, which is expensive under emulation
			"--housekeeping-interval", "5m",
			"--global-housekeeping-interval", "10m",
			"--v", "2"}},
		{Name: "kube-proxy", Args: []string{"/opt/lab/bin/kube-proxy",
			"--config", "/lab/node/kube-proxy.yaml",
			"--hostname-override", n.Name,
			"--v", "1"}},
	}
}
