// Command fairlead-agent is the node agent: device plugin, meta-CNI and NIC profiles of one
// node. It reads its flags and calls agent.Run.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/agent"
)

// build is set by the linker: -X main.build=… (see the Makefile).
var build = "dev"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "fairlead-agent:", err)
		return 1
	}
	return 0
}

func command() *cobra.Command {
	o, level := agent.Defaults(), new(slog.LevelVar)
	o.Build = build
	cmd := &cobra.Command{
		Use:   "fairlead-agent",
		Short: "The node agent: configures NICs, advertises VFs, attaches networks to pods",
		Long: `fairlead-agent runs on every node (as the DaemonSet of deployments/fairlead.yaml).
It applies NIC profiles, advertises pools of VFs to the kubelet, serves the CNI shim
"fairlead", and keeps a record of every device that a pod holds.`,
		Version:       build,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			if err := o.Validate(); err != nil {
				return err
			}
			return agent.Run(cmd.Context(), o, log)
		},
	}
	flags(cmd, &o, level)
	return cmd
}

func flags(cmd *cobra.Command, o *agent.Options, level *slog.LevelVar) {
	f := cmd.Flags()
	f.StringVar(&o.NodeName, "node-name", o.NodeName, "name of this node (default: environment NODE_NAME)")
	f.StringVar(&o.Namespace, "namespace", o.Namespace, "namespace of the agent's own ConfigMaps and DaemonSet")
	f.StringVar(&o.DaemonSet, "daemonset", o.DaemonSet, "name of the agent's own DaemonSet: when it is deleted, the node's CNI configuration is restored; empty: never")
	f.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "kubeconfig file (default: the pod's service account)")
	f.StringVar(&o.ProfilesDir, "profiles-dir", o.ProfilesDir, "directory of NICProfile files (*.yaml, *.yml, *.json)")
	f.StringVar(&o.ProfilesConfigMap, "profiles-configmap", o.ProfilesConfigMap, "ConfigMap of NICProfile files; empty: not used")
	f.StringVar(&o.PoliciesDir, "policies-dir", o.PoliciesDir, "directory of AttachmentPolicy files (*.yaml, *.yml, *.json)")
	f.StringVar(&o.PoliciesConfigMap, "policies-configmap", o.PoliciesConfigMap, "ConfigMap of AttachmentPolicy files; empty: not used")
	f.StringVar(&o.DevicePluginConfigMap, "device-plugin-configmap", o.DevicePluginConfigMap, "ConfigMap with a device plugin's configuration in the key of the node's name, or else config.json; empty: not used")
	f.StringVar(&o.DevicePluginConfig, "device-plugin-config", o.DevicePluginConfig, "the same as a file, used if the ConfigMap does not exist")
	f.StringVar(&o.DevicePluginPrefix, "device-plugin-prefix", o.DevicePluginPrefix, "prefix of the device plugin's resource names without resourcePrefix")
	f.StringVar(&o.ResourcePrefix, "resource-prefix", o.ResourcePrefix, "prefix of resource names without prefix in profiles")
	f.StringVar(&o.CNIBinDir, "cni-bin-dir", o.CNIBinDir, "directory in which the shim is installed")
	f.StringVar(&o.CNIConfDir, "cni-conf-dir", o.CNIConfDir, "directory of the runtime's CNI configurations, including the primary network's")
	f.StringVar(&o.PrimaryConf, "primary-conf", o.PrimaryConf, "the primary network: a file name in --cni-conf-dir, an absolute path, or namespace/name of a net-attach-def (default: the first file that is not Fairlead's)")
	f.StringVar(&o.NetAttachDefConfDir, "net-attach-def-conf-dir", o.NetAttachDefConfDir, "directory of files for net-attach-defs with an empty spec, searched before --cni-conf-dir; empty: none")
	f.StringVar(&o.ShimPath, "shim", o.ShimPath, "the shim binary to install; empty: install nothing")
	f.DurationVar(&o.CNIAgentTimeout, "cni-agent-timeout", o.CNIAgentTimeout, "how long the shim waits for an agent that is away, in an ADD, CHECK or GC")
	f.DurationVar(&o.CNITimeout, "cni-timeout", o.CNITimeout, "time limit of a whole CNI call; keep it below the kubelet's two minutes")
	f.BoolVar(&o.NamespaceIsolation, "namespace-isolation", o.NamespaceIsolation, "pods may use only net-attach-defs of their own and of the global namespaces")
	f.BoolVar(&o.AllowNamedDevices, "allow-named-devices", o.AllowNamedDevices, "pods and net-attach-defs may name devices (deviceID) that the kubelet has not given to the pod")
	f.BoolVar(&o.Hotplug, "hotplug", o.Hotplug, "let the interfaces of a running pod follow changes of its networks annotation")
	f.BoolVar(&o.SecondaryDefaultRoutes, "secondary-default-routes", o.SecondaryDefaultRoutes, "a default route that a secondary network's ipam or routers give takes the place of the primary network's")
	f.BoolVar(&o.EventPerInterface, "event-per-interface", o.EventPerInterface, "one event for each interface of a pod, instead of one that lists them all")
	f.StringVar(&o.DefaultNetworkNamespace, "default-network-namespace", o.DefaultNetworkNamespace, "namespace of the network that a pod's v1.multus-cni.io/default-network names without one; empty: the pod's own")
	f.StringSliceVar(&o.DefaultNetworks, "default-networks", o.DefaultNetworks, "net-attach-defs, [namespace/]name, that all pods get before those of their annotation; without a namespace: of --default-network-namespace")
	f.StringSliceVar(&o.SystemNamespaces, "system-namespaces", o.SystemNamespaces, "namespaces whose pods do not get the --default-networks")
	f.StringSliceVar(&o.GlobalNamespaces, "global-namespaces", o.GlobalNamespaces, "namespaces whose net-attach-defs all pods may use under --namespace-isolation; empty: not used")
	f.StringVar(&o.Socket, "socket", o.Socket, "unix socket for the shim")
	f.StringVar(&o.StateSocket, "state-socket", o.StateSocket, "unix socket for fairleadctl")
	f.StringVar(&o.StateDir, "state-dir", o.StateDir, "ledger and tombstones; must survive restarts and reboots")
	f.StringVar(&o.DevInfoDir, "devinfo-dir", o.DevInfoDir, "device-info files")
	f.StringVar(&o.DevicePlugins, "device-plugin-dir", o.DevicePlugins, "the kubelet's device plugin directory")
	f.StringVar(&o.PodResources, "pod-resources", o.PodResources, "the kubelet's pod resources socket")
	f.StringVar(&o.HostLocalDir, "host-local-dir", o.HostLocalDir, "state of host-local IPAM, shared with the stock plugin")
	f.StringVar(&o.MultusDir, "multus-dir", o.MultusDir, "records of the pods that Multus made (its cniDir), by which they are released; empty: they are not")
	f.StringVar(&o.SRIOVCNIDir, "sriov-cni-dir", o.SRIOVCNIDir, "the same of sriov-cni: the state of VFs before it changed them")
	f.DurationVar(&o.ReconcileEvery, "reconcile-every", o.ReconcileEvery, "how often records are compared with the node")
	f.Int64Var(&o.MemoryLimit, "memory-limit", o.MemoryLimit, "the memory limit of the agent's container in bytes, of which the agent uses 90 percent; 0: none")
	f.TextVar(level, "log-level", level, "debug, info, warn or error")
}
