//go:build lab

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/test/lab/client"
	"fairlead.dev/fairlead/test/scenario"
)

var installed = flag.Bool("installed", false, "use the Fairlead that is in the lab already")

// root is the repository's.
const root = "../.."

// currentImage is what `make image` builds and deployments/fairlead.yaml names.
const currentImage = "fairlead.dev/fairlead-agent:dev"

// cluster is the lab, for all tests. Those that need this tree's Fairlead in it begin
// with install.
var cluster *scenario.Cluster

// inLab says that this tree's Fairlead is installed and runs.
var inLab bool

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		return m.Run() // it runs no test
	}
	if err := prepare(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	code := m.Run()
	// The reasons come last: each failed test prints long logs.
	for _, f := range failed {
		fmt.Println("e2e: failed:", f)
	}
	for _, l := range leftOut {
		fmt.Println("e2e: left out:", l)
	}
	return code
}

// prepare opens the lab.
func prepare(ctx context.Context) error {
	started := time.Now()
	say := func(format string, args ...any) {
		fmt.Printf("    %4.0f s  %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, args...))
	}
	err := client.Reserve(ctx, "the end-to-end tests", func(who string) { say("the lab is in use by %s; waiting for its end", who) })
	if err != nil {
		return err
	}
	lab, err := client.Open()
	if err != nil {
		return err
	}
	cluster, err = scenario.NewCluster(lab, say)
	return err
}

// install installs this tree's Fairlead, unless a test has done so before.
func install(t testing.TB) {
	t.Helper()
	if *installed || inLab {
		return
	}
	if err := cluster.Install(t.Context(), root); err != nil {
		failed = append(failed, t.Name()+": installing Fairlead: "+err.Error())
		t.Fatalf("install Fairlead: %v\n%s", err, cluster.Diagnose(context.Background()))
	}
	inLab = true
}

// failed lists the facts that do not hold, with the reason. The tests run one after another.
var failed []string

// leftOut lists the tests that could not be run, with the reason.
var leftOut []string

// report makes each fact a test. If one does not hold, it prints the state and logs of
// pods and agents once.
func report(t *testing.T, facts scenario.Facts, namespaces ...string) {
	t.Helper()
	for _, fact := range facts {
		t.Run(strings.TrimSpace(fact.Claim), func(t *testing.T) {
			if fact.Err != nil {
				failed = append(failed, t.Name()+": "+fact.Err.Error())
				t.Error(fact.Err)
				return
			}
			t.Log(fact.Measured)
		})
	}
	if facts.Failed() > 0 {
		t.Log(cluster.Diagnose(t.Context(), namespaces...))
	}
}

// must ends the test if its preconditions cannot be set up.
func must(t *testing.T, err error, namespaces ...string) {
	t.Helper()
	if err != nil {
		failed = append(failed, t.Name()+": "+err.Error())
		t.Fatalf("%v\n%s", err, cluster.Diagnose(context.Background(), namespaces...))
	}
}

// leaveNothing deletes the namespaces after a test, so that a failed test does not keep
// VFs from the next one.
func leaveNothing(t *testing.T, namespaces ...string) {
	t.Helper()
	t.Cleanup(func() {
		if err := cluster.Delete(context.Background(), namespaces...); err != nil {
			failed = append(failed, t.Name()+": "+err.Error())
			t.Error(err)
		}
	})
}
