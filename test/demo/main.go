// Command demo shows the main job on this machine: it starts the lab (Kubernetes,
// two nodes with SR-IOV NICs), installs Fairlead, and runs pods with VFs and the
// everyday scenarios. It checks every fact, and ends with a table of the facts and a
// drawing of nodes, NICs, VFs and pods. The lab stays up to look around. The exit
// code is 1 if a fact does not hold.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/view"
	"fairlead.dev/fairlead/test/lab/client"
	"fairlead.dev/fairlead/test/scenario"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := demo{out: os.Stdout, started: time.Now(), drawing: terminal(os.Stdout)}
	if err := d.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	return 0
}

// terminal returns the width and colour for drawing on a file.
func terminal(f *os.File) view.Options {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return view.Options{}
	}
	return view.Options{Width: int(size.Col), Colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

type demo struct {
	out     io.Writer
	started time.Time
	drawing view.Options
	cluster *scenario.Cluster
	facts   scenario.Facts
}

func (d *demo) run(ctx context.Context) error {
	if err := client.Reserve(ctx, "the demo", func(who string) { d.say("the lab is in use by %s; waiting for its end", who) }); err != nil {
		return err
	}
	d.step("starting the lab: Kubernetes and two nodes with SR-IOV NICs")
	if err := startLab(ctx); err != nil {
		return err
	}
	lab, err := client.Open()
	if err != nil {
		return err
	}
	if d.cluster, err = scenario.NewCluster(lab, d.say); err != nil {
		return err
	}
	d.step("installing Fairlead")
	if err := d.cluster.Install(ctx, "."); err != nil {
		return fmt.Errorf("install Fairlead: %w\n%s", err, d.cluster.Diagnose(ctx))
	}
	if err := d.mainJob(ctx); err != nil {
		return err
	}
	if err := d.everyday(ctx); err != nil {
		return err
	}
	return d.conclude(ctx)
}

// startLab runs the lab's own program, which installs and caches its requirements and
// reports its progress.
func startLab(ctx context.Context) error {
	if _, err := os.Stat("deployments/fairlead.yaml"); err != nil {
		return fmt.Errorf("find the repository (run it in its root): %w", err)
	}
	up := exec.CommandContext(ctx, "go", "run", "./test/lab", "up")
	up.Stdout, up.Stderr = os.Stdout, os.Stderr
	up.Cancel = func() error { return up.Process.Signal(os.Interrupt) } // the lab takes back the parts that are up
	if err := up.Run(); err != nil {
		return fmt.Errorf("the lab did not start (its messages are above): %w", err)
	}
	return nil
}

func (d *demo) mainJob(ctx context.Context) error {
	d.step("the main job: pods on two nodes, each with a VF")
	job, err := scenario.StartMainJob(ctx, d.cluster)
	if err != nil {
		return fmt.Errorf("start the main job: %w\n%s", err, d.cluster.Diagnose(ctx, scenario.MainNamespace))
	}
	for _, chapter := range []struct {
		title string
		check func(context.Context) scenario.Facts
	}{
		{"who reaches whom", job.Connectivity},
		{"VFs as asked, read at the PF", job.Knobs},
		{"a VF in userspace", job.Userspace},
		{"no VF left: the declared fallback", job.Fallback},
		{"the agent is killed while pods are deleted", job.AgentKilled},
		{"the kubelet is restarted", job.KubeletRestarted},
		{"all pods are deleted", job.GiveBack},
	} {
		d.step(chapter.title)
		d.note(chapter.check(ctx))
	}
	return nil
}

func (d *demo) everyday(ctx context.Context) error {
	d.step("everyday scenarios: deployments/examples/scenarios as users apply them")
	everyday, err := scenario.StartEveryday(ctx, d.cluster)
	if err != nil {
		return fmt.Errorf("start the everyday scenarios: %w\n%s", err, d.cluster.Diagnose(ctx, scenario.EverydayNamespaces()...))
	}
	d.note(everyday.Check(ctx))
	return nil
}

func (d *demo) conclude(ctx context.Context) error {
	states, err := d.cluster.States(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\n%s\n%s\n%s\n%s", heading("FACTS"), factTable(d.facts, d.drawing), heading("NODES, NICS, VFS, PODS"), view.Topology(states, d.drawing))
	fmt.Fprintf(d.out, lookAround, d.cluster.Lab.Kubeconfig())
	if failed := d.facts.Failed(); failed > 0 {
		return fmt.Errorf("%d of %d facts do not hold", failed, len(d.facts))
	}
	fmt.Fprintf(d.out, "\nAll %d facts hold. The demo took %s.\n", len(d.facts), time.Since(d.started).Round(time.Second))
	return nil
}

const lookAround = `
The lab stays up. To look around:
  go run ./test/lab kubectl get pods -A -o wide
  go run ./test/lab kubectl -n s13 exec one-vf -- ip addr
  go run ./test/lab kubectl -n fairlead-system exec ds/fairlead-agent -- /fairleadctl topology
  go run ./test/lab exec node1 ip link show pf0
  export KUBECONFIG=%s
To take it down:
  go run ./test/lab down
`
