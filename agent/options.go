// Package agent joins the parts of the node agent: inventory, profiles, device plugin,
// meta-CNI, ledger, cluster. It holds the order in which they start and the loop that turns
// declared state into node state. Each step itself is in the package that it calls.
package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"fairlead.dev/fairlead/pkg/network"
)

// Options are the agent's settings. Paths are as the agent sees them; paths that programs on
// the host use too are the same there.
type Options struct {
	Build string // the program's version, for the log and fairleadctl

	NodeName  string // the node's name in the API server
	Namespace string // the namespace of the agent's own objects
	DaemonSet string // the agent's own DaemonSet; empty: the agent never uninstalls itself

	Kubeconfig string // empty: in-cluster

	ProfilesDir           string // NICProfile files
	ProfilesConfigMap     string // in Namespace; every key is a file with NICProfiles
	PoliciesDir           string // AttachmentPolicy files
	PoliciesConfigMap     string // in Namespace; every key is a file with AttachmentPolicies
	DevicePluginConfigMap string // in Namespace; key NodeName, or else config.json
	DevicePluginConfig    string // the same as a file
	DevicePluginPrefix    string // for resource names without a prefix in the two above
	ResourcePrefix        string // for resource names without a prefix in profiles

	CNIBinDir  string // where the shim is installed and the host finds plugins
	CNIConfDir string
	// NetAttachDefConfDir has files for net-attach-defs with an empty spec, besides CNIConfDir;
	// empty: only CNIConfDir has.
	NetAttachDefConfDir string
	// PrimaryConf is a file name in CNIConfDir, an absolute path, or namespace/name of a
	// net-attach-def; empty: the first file of CNIConfDir that is not ours.
	PrimaryConf        string
	ShimPath           string        // the shim binary to install; empty: nothing is installed
	CNIAgentTimeout    time.Duration // how long the shim waits for an agent that is away
	CNITimeout         time.Duration // limit of a whole CNI call
	NamespaceIsolation bool
	GlobalNamespaces   []string // used with NamespaceIsolation
	// AllowNamedDevices lets pods and net-attach-defs name devices that the kubelet has not
	// given to the pod.
	AllowNamedDevices bool
	// Hotplug makes the interfaces of running pods follow their networks annotations.
	Hotplug bool
	// SecondaryDefaultRoutes lets the default routes of secondary networks take the place of
	// the primary's.
	SecondaryDefaultRoutes bool
	// EventPerInterface reports each interface of a pod by an event of its own.
	EventPerInterface bool
	// DefaultNetworkNamespace is the namespace of networks that replace a pod's primary
	// network, if the pod names no namespace.
	DefaultNetworkNamespace string
	// DefaultNetworks are net-attach-defs, as [namespace/]name, that all pods get, except in
	// SystemNamespaces.
	DefaultNetworks  []string
	SystemNamespaces []string

	Socket         string // the shim's; mode 0600
	StateSocket    string // fairleadctl's; mode 0600
	StateDir       string // ledger and tombstones
	DevInfoDir     string
	DevicePlugins  string // the kubelet's device plugin directory
	PodResources   string // the kubelet's pod resources socket
	HostLocalDir   string // host-local's state, shared with the stock plugin
	MultusDir      string // Multus' records of the pods that it made; empty: no such pod is released
	SRIOVCNIDir    string // the same of sriov-cni
	SysRoot        string // prefix of /sys, for tests
	ReconcileEvery time.Duration
	MemoryLimit    int64 // bytes, of the agent's container; 0: none
}

// Defaults returns the documented names and the kubelet's own paths.
func Defaults() Options {
	return Options{
		NodeName:                os.Getenv("NODE_NAME"),
		Namespace:               "fairlead-system",
		DaemonSet:               "fairlead-agent",
		ProfilesDir:             "/etc/fairlead/profiles.d",
		ProfilesConfigMap:       "fairlead-profiles",
		PoliciesDir:             "/etc/fairlead/policies.d",
		PoliciesConfigMap:       "fairlead-policies",
		DevicePluginConfigMap:   "fairlead-device-plugin",
		DevicePluginConfig:      "/etc/pcidp/config.json",
		DevicePluginPrefix:      "intel.com", // the device plugin's own default
		ResourcePrefix:          "fairlead.dev",
		CNIBinDir:               "/opt/cni/bin",
		CNIConfDir:              "/etc/cni/net.d",
		NetAttachDefConfDir:     "/etc/cni/multus/net.d", // the default of Multus
		ShimPath:                "/fairlead",
		CNIAgentTimeout:         30 * time.Second,  // covers an agent's restart, so that the pod is not retried with backoff
		CNITimeout:              110 * time.Second, // below the kubelet's two minutes for StopPodSandbox: the agent ends the call, not the runtime
		Hotplug:                 true,
		GlobalNamespaces:        []string{"default"}, // the default of Multus
		DefaultNetworkNamespace: "kube-system",       // the default of Multus
		SystemNamespaces:        []string{"kube-system"},
		Socket:                  "/run/fairlead/cni.sock",
		StateSocket:             "/run/fairlead/agent.sock",
		StateDir:                "/var/lib/fairlead",
		DevInfoDir:              "/var/run/k8s.cni.cncf.io/devinfo",
		DevicePlugins:           "/var/lib/kubelet/device-plugins",
		PodResources:            "/var/lib/kubelet/pod-resources/kubelet.sock",
		HostLocalDir:            "/var/lib/cni/networks",
		MultusDir:               "/var/lib/cni/multus", // the default of Multus' cniDir
		SRIOVCNIDir:             "/var/lib/cni/sriov",
		SysRoot:                 "/",
		ReconcileEvery:          3 * time.Minute,
	}
}

var (
	nodeNameRE = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
	prefixRE   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
)

// Validate reports all invalid options in one error.
func (o Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !nodeNameRE.MatchString(o.NodeName) {
		bad("--node-name %q is not a node name; set it, or the environment's NODE_NAME, to spec.nodeName", o.NodeName)
	}
	if !prefixRE.MatchString(o.ResourcePrefix) {
		bad("--resource-prefix %q is not a DNS name, such as fairlead.dev", o.ResourcePrefix)
	}
	if !prefixRE.MatchString(o.DevicePluginPrefix) {
		bad("--device-plugin-prefix %q is not a DNS name, such as intel.com", o.DevicePluginPrefix)
	}
	for flag, path := range map[string]string{
		"--cni-bin-dir": o.CNIBinDir, "--cni-conf-dir": o.CNIConfDir, "--state-dir": o.StateDir,
		"--socket": o.Socket, "--state-socket": o.StateSocket, "--device-plugin-dir": o.DevicePlugins,
		"--pod-resources": o.PodResources, "--host-local-dir": o.HostLocalDir, "--devinfo-dir": o.DevInfoDir,
	} {
		if !filepath.IsAbs(path) {
			bad("%s %q is not an absolute path", flag, path)
		}
	}
	for flag, path := range map[string]string{
		"--multus-dir": o.MultusDir, "--sriov-cni-dir": o.SRIOVCNIDir, "--net-attach-def-conf-dir": o.NetAttachDefConfDir,
	} {
		if path != "" && !filepath.IsAbs(path) {
			bad("%s %q is not an absolute path", flag, path)
		}
	}
	if !validPrimary(o.PrimaryConf) {
		bad("--primary-conf %q is neither the name of a file in %s, nor an absolute path, nor namespace/name of a net-attach-def", o.PrimaryConf, o.CNIConfDir)
	}
	if _, err := network.ParseDefaultNetworks(o.DefaultNetworks); err != nil {
		bad("--default-networks: %w", err)
	}
	// The shim counts in seconds, up to an hour.
	if d := o.CNIAgentTimeout; d < 0 || d > time.Hour || d%time.Second != 0 {
		bad("--cni-agent-timeout %s is not a whole number of seconds from 0s to 1h", d)
	}
	if d := o.CNITimeout; d < time.Second || d > time.Hour || d%time.Second != 0 {
		bad("--cni-timeout %s is not a whole number of seconds from 1s to 1h", d)
	}
	if o.ReconcileEvery < 10*time.Second {
		bad("--reconcile-every %s is below 10s", o.ReconcileEvery)
	}
	if o.MemoryLimit < 0 {
		bad("--memory-limit %d is below 0", o.MemoryLimit)
	}
	return errors.Join(errs...)
}

var netAttachDefRE = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

func validPrimary(s string) bool {
	if filepath.IsAbs(s) {
		return s == filepath.Clean(s) && s != "/"
	}
	return s == "" || s == filepath.Base(s) && s != "." && s != ".." || netAttachDefRE.MatchString(s)
}

func (o Options) ledgerPath() string   { return filepath.Join(o.StateDir, "ledger.db") }
func (o Options) tombstoneDir() string { return filepath.Join(o.StateDir, "tombstones") }
func (o Options) cleanPath() string    { return filepath.Join(o.StateDir, "clean-vfs.json") }
func (o Options) problemsPath() string { return filepath.Join(o.StateDir, "problems.json") }

func (o Options) memoryPath() string { return filepath.Join(o.StateDir, "declared.json") }

func (o Options) policyMemoryPath() string { return filepath.Join(o.StateDir, "policies.json") }
