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

// cluster is the lab with Fairlead installed, for all tests.
var cluster *scenario.Cluster

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	lab, err := client.Open()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	started := time.Now()
	cluster, err = scenario.NewCluster(lab, func(format string, args ...any) {
		fmt.Printf("    %4.0f s  %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, args...))
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	if *installed {
		return m.Run()
	}
	if err := cluster.Install(context.Background(), "../.."); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: installing Fairlead: %v\n%s", err, cluster.Diagnose(context.Background()))
		return 1
	}
	return m.Run()
}

// report makes each fact a test, and tells the pods' and agents' story once where
// one does not hold.
func report(t *testing.T, facts scenario.Facts, namespaces ...string) {
	t.Helper()
	for _, fact := range facts {
		t.Run(strings.TrimSpace(fact.Claim), func(t *testing.T) {
			if fact.Err != nil {
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

// must ends the test where what it stands on cannot be set up.
func must(t *testing.T, err error, namespaces ...string) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v\n%s", err, cluster.Diagnose(context.Background(), namespaces...))
	}
}

// leaveNothing deletes the namespaces behind a test, so that one that failed does not
// take the VFs from the next.
func leaveNothing(t *testing.T, namespaces ...string) {
	t.Helper()
	t.Cleanup(func() {
		if err := cluster.Delete(context.Background(), namespaces...); err != nil {
			t.Error(err)
		}
	})
}
