package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"fairlead.dev/fairlead/cni"
	"fairlead.dev/fairlead/cni/confdir"
	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/host"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/previous"
	"fairlead.dev/fairlead/pkg/profile"
	"fairlead.dev/fairlead/pkg/sandbox"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// newKeeper creates the keeper of the node's sandboxes.
func (p *parts) newKeeper() error {
	o, fs := p.o, sysfs.New(p.o.SysRoot)
	p.primary = confdir.NewPrimary(confdir.Options{Dir: o.CNIConfDir, NetAttachDefDir: o.NetAttachDefConfDir, Fixed: o.PrimaryConf,
		NetAttachDef: p.cluster.NetAttachDef, Log: p.log})
	defaults, err := network.ParseDefaultNetworks(o.DefaultNetworks)
	if err != nil {
		return fmt.Errorf("read --default-networks: %w", err)
	}
	chains := attach.New(attach.Deps{
		Sysfs: fs, Custody: p.custody, HostUse: p.hostUse, MayUseUplink: p.policies.mayUseUplink, MayHaveVF: mayHaveVF(p.node),
		Reset: p.resetPolicy, VLANLinkUsers: p.vlanLinkUsers, Rebinder: fs, Log: p.log, HostLocalDir: o.HostLocalDir,
		SecondaryDefaultRoutes: o.SecondaryDefaultRoutes,
	})
	p.keeper = sandbox.New(sandbox.Options{
		Ledger: p.ledger, Cluster: p.cluster, Devices: p.kubelet, Primary: p.primary, Kernel: sandbox.RealKernel(),
		Chains: chains, Links: attach.NewMender(chains), Previous: p.previousFiles(fs),
		HostExec: cni.NewHostExec(), PluginPath: o.CNIBinDir, DevInfoDir: o.DevInfoDir,
		NamespaceIsolation: o.NamespaceIsolation, GlobalNamespaces: o.GlobalNamespaces,
		DefaultNetworkNamespace: o.DefaultNetworkNamespace, AllowNamedDevices: o.AllowNamedDevices, EventPerInterface: o.EventPerInterface,
		NoHotplug: !o.Hotplug, SecondaryDefaultRoutes: o.SecondaryDefaultRoutes,
		DefaultNetworks: defaults, SystemNamespaces: o.SystemNamespaces, Policies: p.policies.current,
		Pool: p.pool, Pools: p.pools, Guard: p.guard, Recorded: func(vfs ...pci.Address) { p.repairs.Recorded(vfs...) }, Uplinks: p.node.uplinks, Now: time.Now, Log: p.log,
	})
	return nil
}

// previousFiles locates the records of the meta-plugin that made the node's pods before.
func (p *parts) previousFiles(fs sysfs.FS) previous.Files {
	booted, err := host.BootTime(p.o.SysRoot)
	if err != nil {
		p.log.Warn("boot time unknown; assuming that the pods of the previous meta-plugin are of this boot", "error", err)
	}
	return previous.Files{MultusDir: p.o.MultusDir, SRIOVDir: p.o.SRIOVCNIDir, VF: fs.VF, Booted: booted,
		DeviceInfoPath: func(name string) string { return filepath.Join(p.o.DevInfoDir, "cni", name) }}
}

// newServer creates the server that takes the runtime's CNI calls to the keeper.
func (p *parts) newServer() {
	o := p.o
	p.tombs = wire.Tombstones{Dir: o.tombstoneDir()}
	installer := confdir.Installer{
		Shim: o.ShimPath, BinDir: o.CNIBinDir, ConfDir: o.CNIConfDir, Socket: o.Socket, TombstoneDir: o.tombstoneDir(),
		AgentTimeout: o.CNIAgentTimeout, Timeout: o.CNITimeout,
	}
	p.installation = &installation{installer: installer, primary: p.primary, contest: &confdir.Contest{Installer: installer}, log: p.log}
	p.server = cni.New(cni.Options{
		Socket: o.Socket, Keeper: p.keeper, Cluster: p.cluster, Primary: p.primary, HostExec: cni.NewHostExec(),
		Tombstones: p.tombs, CNIPath: o.CNIBinDir, Now: time.Now, Log: p.log,
	})
}

// hostUse says how the host uses one of its netdevs: "with the address 10.0.0.1/24".
// Custody keeps it up to date; only a netdev without a PCI function is asked for.
func (p *parts) hostUse(netdev string) (string, error) {
	view := p.custody.View()
	function, known := view.Function(netdev)
	if !known {
		l, err := p.links.ByName(netdev)
		if err != nil {
			return "", err
		}
		use, err := p.links.Use(l.Index)
		return use.String(), err
	}
	for _, use := range view.Uses(function) {
		if use.Kind == custody.Host && use.Netdev == netdev {
			return use.How, nil
		}
	}
	return "", nil
}

// resetPolicy returns the policy of the VF group that a VF is in.
func (p *parts) resetPolicy(vf pci.Address) attach.ResetPolicy {
	pf, function, ok := p.inv.Snapshot().VF(vf)
	if !ok || pf.Address.IsZero() {
		return attach.ResetRestore
	}
	if g := profile.Group(p.node.currentModel().Profiles, pf, function.Index); g != nil && g.Rebind {
		return attach.ResetRebind
	}
	return attach.ResetRestore
}

// pool returns the resource that advertises a device; empty: none does.
func (p *parts) pool(address pci.Address) string {
	resource, _ := p.custody.View().Pooled(address)
	return resource
}

// pools returns the resources that the node is to advertise.
func (p *parts) pools() []string {
	var resources []string
	for _, pool := range p.node.currentModel().Pools {
		resources = append(resources, pool.Resource)
	}
	return resources
}

// guard keeps functions from being changed or allocated while an ADD reserves them.
func (p *parts) guard(ctx context.Context, fns ...pci.Address) (release func(), err error) {
	_, release, err = p.custody.Guard(ctx, fns...)
	return release, err
}

// vlanLinkUsers counts the interfaces on a shared VLAN link, except the given one.
func (p *parts) vlanLinkUsers(name, sandboxID, ifName string) (int, error) {
	users := 0
	for _, u := range p.ledger.VLANLinkUsers(name) {
		if u.SandboxID != sandboxID || u.IfName != ifName {
			users++
		}
	}
	return users, nil
}
