package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/test/lab/guest"
	"fairlead.dev/fairlead/test/lab/internal/config"
	"fairlead.dev/fairlead/test/lab/internal/controlplane"
	"fairlead.dev/fairlead/test/lab/internal/guestos"
	"fairlead.dev/fairlead/test/lab/internal/proc"
	"fairlead.dev/fairlead/test/lab/internal/progress"
	"fairlead.dev/fairlead/test/lab/internal/vm"
)

func newUp() *cobra.Command {
	var onlyPrepare bool
	var portOffset int
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the lab, and make its missing parts first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := openLab()
			if err != nil {
				return err
			}
			ports, err := config.NewPorts(portOffset)
			if err != nil {
				return err
			}
			return l.up(cmd.Context(), ports, onlyPrepare)
		},
	}
	cmd.Flags().BoolVar(&onlyPrepare, "only-prepare", false, "only fill the cache: packages, programs, images, disk")
	cmd.Flags().IntVar(&portOffset, "port-offset", 0, "add this to every port on loopback")
	return cmd
}

func (l *lab) up(ctx context.Context, ports config.Ports, onlyPrepare bool) error {
	if err := l.lock(); err != nil {
		return err
	}
	made, err := l.prepare(ctx)
	if err != nil || onlyPrepare {
		return err
	}
	u := &starter{lab: l, made: made}
	if err := u.begin(ports); err != nil {
		return err
	}
	if err := l.step(ctx, "control plane", u.controlPlane); err != nil {
		return err
	}
	if err := l.step(ctx, "nodes boot", u.boot); err != nil {
		return err
	}
	if err := l.step(ctx, "nodes Ready", u.waitReady); err != nil {
		return err
	}
	u.state.Ready = true
	if err := l.layout.WriteState(u.state); err != nil {
		return err
	}
	l.report.Note("the lab is up: go run ./test/lab kubectl get nodes; KUBECONFIG=%s", u.state.Kubeconfig)
	return nil
}

// starter starts the parts that do not run.
type starter struct {
	*lab
	made  prepared
	state config.State
}

// begin continues a run or opens a new one.
func (u *starter) begin(ports config.Ports) error {
	state, err := u.layout.ReadState()
	switch {
	case errors.Is(err, config.ErrNotRunning):
		return u.beginNew(ports)
	case err != nil:
		return err
	}
	if !state.Ready && !u.anyNodeRuns() {
		u.report.Note("the last start did not get far; starting over")
		if err := u.stopAll(); err != nil {
			return err
		}
		return u.beginNew(ports)
	}
	u.state = state
	if _, err := os.Stat(state.Disk); err != nil {
		return fmt.Errorf("the running lab's base disk is gone: %w; take the lab down first: go run ./test/lab down", err)
	}
	if ports != state.Ports {
		return errors.New("the lab runs on other ports; take it down first: go run ./test/lab down")
	}
	if state.Disk != u.made.disk || state.Initramfs != u.made.initramfs {
		u.report.Note("the running nodes are of an older make; to renew them: go run ./test/lab down, then up")
	}
	return nil
}

func (u *starter) anyNodeRuns() bool {
	for _, n := range config.Nodes() {
		if _, running := u.procs.Running(vm.ProcessName(n.Name)); running {
			return true
		}
	}
	return false
}

func (u *starter) beginNew(ports config.Ports) error {
	if err := checkPorts(ports); err != nil {
		return err
	}
	if err := os.RemoveAll(u.layout.Run); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(u.layout.Run, "log"), 0o700); err != nil {
		return err
	}
	u.state = config.State{
		Started:    time.Now(),
		Ports:      ports,
		Token:      rand.Text(),
		Kubeconfig: filepath.Join(u.layout.PKI(), "admin.kubeconfig"),
		Kubectl:    filepath.Join(u.made.kubernetes, "kubectl"),
		Accel:      u.made.accel,
		Disk:       u.made.disk,
		Kernel:     u.made.kernel.Image(),
		Initramfs:  u.made.initramfs,
	}
	for _, n := range config.Nodes() {
		u.state.Nodes = append(u.state.Nodes, n.Name)
	}
	return u.layout.WriteState(u.state)
}

func checkPorts(p config.Ports) error {
	loopback := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	tcp := []string{loopback(p.EtcdClient), loopback(p.EtcdPeer), loopback(p.APIServer), loopback(p.ControllerManager), loopback(p.Scheduler)}
	var udp []string
	for i, n := range config.Nodes() {
		tcp = append(tcp, fmt.Sprintf("%s:%d", n.HostIP(), p.Agent), fmt.Sprintf("%s:%d", n.HostIP(), p.Kubelet))
		udp = append(udp, loopback(p.Data+i), loopback(p.LAN+i))
	}
	for network, addrs := range map[string][]string{"tcp": tcp, "udp": udp} {
		for _, a := range addrs {
			if err := proc.CheckPort(network, a); err != nil {
				return err
			}
		}
	}
	return nil
}

func (u *starter) controlPlane(ctx context.Context, s *progress.Step) error {
	if err := controlplane.WriteKeys(u.layout, u.state.Ports, config.Nodes()); err != nil {
		return err
	}
	self, err := u.copySelf()
	if err != nil {
		return err
	}
	c := controlplane.ControlPlane{
		Layout: u.layout, Ports: u.state.Ports, Procs: u.procs,
		Programs: u.made.kubernetes, Etcd: u.made.etcd,
		Egress: []string{self, "egress-proxy"},
	}
	return c.Up(ctx, s.Status)
}

// copySelf copies this program to a place from which go run does not delete it.
func (u *starter) copySelf() (string, error) {
	path := filepath.Join(u.layout.Run, "lab")
	if _, running := u.procs.Running("egress"); running {
		return path, nil
	}
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, b, 0o755)
}

// boot starts the machines that do not run and waits for their agents.
func (u *starter) boot(ctx context.Context, s *progress.Step) error {
	r := u.runner(u.state.Ports)
	started := 0
	for _, n := range config.Nodes() {
		if _, running := u.procs.Running(vm.ProcessName(n.Name)); running {
			continue
		}
		if err := u.start(ctx, r, n); err != nil {
			return err
		}
		started++
	}
	s.Result("%d started, %s", started, u.state.Accel)
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range config.Nodes() {
		g.Go(func() error { return r.WaitAgent(ctx, n, agentOf(n, u.state)) })
	}
	return g.Wait()
}

func (u *starter) start(ctx context.Context, r vm.Runner, n config.Node) error {
	if _, err := os.Stat(u.layout.Overlay(n.Name)); err != nil {
		if err := r.CreateOverlay(ctx, n, u.state.Disk); err != nil {
			return err
		}
	}
	initrd, err := u.nodeInitrd(n)
	if err != nil {
		return err
	}
	return r.Start(n, vm.Boot{Accel: u.state.Accel, Kernel: u.state.Kernel, Initramfs: initrd})
}

// nodeInitrdPath returns the place of a node's initramfs. The file is kept for the run: after a
// power cut the node boots from it again.
func (l *lab) nodeInitrdPath(n config.Node) string {
	return filepath.Join(l.layout.Run, n.Name+".initrd")
}

// nodeInitrd writes the node's keys and configuration after the common archive.
func (u *starter) nodeInitrd(n config.Node) (string, error) {
	own, err := guest.NodeFiles(n, u.state.Ports)
	if err != nil {
		return "", err
	}
	own["token"] = []byte(u.state.Token + "\n")
	for to, from := range map[string]string{
		"ca.crt":                "ca.crt",
		"kubelet.crt":           n.Name + ".crt",
		"kubelet.key":           n.Name + ".key",
		"kubelet.kubeconfig":    n.Name + ".kubeconfig",
		"kube-proxy.kubeconfig": "kube-proxy.kubeconfig",
	} {
		if own[to], err = os.ReadFile(filepath.Join(u.layout.PKI(), from)); err != nil {
			return "", err
		}
	}
	files := map[string]guestos.File{}
	for name, data := range own {
		files["lab/node/"+name] = guestos.File{Mode: 0o600, Data: data}
	}
	path := u.nodeInitrdPath(n)
	return path, guestos.WriteNodeInitrd(path, u.state.Initramfs, files)
}
