package controlplane

import (
	"fmt"
	"path/filepath"

	"fairlead.dev/fairlead/test/lab/internal/config"
)

// etcdArgs returns etcd's command line. Nothing survives the run, so nothing is synced to
// disk.
func (c ControlPlane) etcdArgs() []string {
	client := fmt.Sprintf("http://127.0.0.1:%d", c.Ports.EtcdClient)
	peer := fmt.Sprintf("http://127.0.0.1:%d", c.Ports.EtcdPeer)
	return []string{c.Etcd,
		"--data-dir", filepath.Join(c.Layout.Run, "etcd"),
		"--unsafe-no-fsync",
		"--listen-client-urls", client,
		"--advertise-client-urls", client,
		"--listen-peer-urls", peer,
		"--initial-advertise-peer-urls", peer,
		"--initial-cluster", "default=" + peer,
		"--log-level", "warn",
	}
}

// apiServerArgs returns the API server's command line. The advertised address is the host
// as every guest sees it, so the kubernetes Service works in pods.
func (c ControlPlane) apiServerArgs() []string {
	return []string{filepath.Join(c.Programs, "kube-apiserver"),
		"--etcd-servers", fmt.Sprintf("http://127.0.0.1:%d", c.Ports.EtcdClient),
		"--bind-address", "127.0.0.1",
		"--secure-port", fmt.Sprint(c.Ports.APIServer),
		"--advertise-address", config.GuestHostIP,
		"--service-cluster-ip-range", config.ServiceNet,
		"--client-ca-file", c.pki("ca.crt"),
		"--tls-cert-file", c.pki("apiserver.crt"),
		"--tls-private-key-file", c.pki("apiserver.key"),
		"--authorization-mode", "Node,RBAC",
		"--enable-admission-plugins", "NodeRestriction",
		"--kubelet-client-certificate", c.pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key", c.pki("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority", c.pki("ca.crt"),
		"--kubelet-preferred-address-types", "InternalIP",
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-key-file", c.pki("service-account.crt"),
		"--service-account-signing-key-file", c.pki("service-account.key"),
		"--egress-selector-config-file", c.egressConfig(),
		"--allow-privileged",
		"--profiling=false",
		"--v", "1",
	}
}

func (c ControlPlane) schedulerArgs() []string {
	return append([]string{filepath.Join(c.Programs, "kube-scheduler"),
		"--secure-port", fmt.Sprint(c.Ports.Scheduler), "--v", "2"},
		c.clientArgs("scheduler")...)
}

// controllerManagerArgs returns the controller manager's command line. A node under
// emulation may be slow to report.
func (c ControlPlane) controllerManagerArgs() []string {
	return append([]string{filepath.Join(c.Programs, "kube-controller-manager"),
		"--secure-port", fmt.Sprint(c.Ports.ControllerManager),
		"--use-service-account-credentials",
		"--service-account-private-key-file", c.pki("service-account.key"),
		"--root-ca-file", c.pki("ca.crt"),
		"--cluster-signing-cert-file", c.pki("ca.crt"),
		"--cluster-signing-key-file", c.pki("ca.key"),
		"--node-monitor-grace-period", "120s",
		"--v", "2"},
		c.clientArgs("controller-manager")...)
}

func (c ControlPlane) clientArgs(name string) []string {
	kubeconfig := c.pki(name + ".kubeconfig")
	return []string{
		"--kubeconfig", kubeconfig,
		"--authentication-kubeconfig", kubeconfig,
		"--authorization-kubeconfig", kubeconfig,
		"--bind-address", "127.0.0.1",
		"--leader-elect=false",
	}
}

func (c ControlPlane) pki(file string) string { return filepath.Join(c.Layout.PKI(), file) }
