package sandbox_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/sandbox"
	"fairlead.dev/fairlead/pkg/sandbox/sandboxtest"
)

// bridge is a primary network of one plugin.
type bridge struct{}

func (bridge) Conf() (network.ConfList, error) {
	return network.ParseConfList([]byte(`{"cniVersion":"1.0.0","name":"cluster","type":"bridge"}`), "cluster")
}

func (bridge) ByName(string) (network.ConfList, error) {
	return network.ConfList{}, network.ErrNotFound
}

// A door makes a Request of each call and passes it to the keeper, which has the pod's
// networks made in order and keeps their record.
func ExampleKeeper() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	l, err := ledger.Open(filepath.Join(dir, "ledger.db"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	t := &testing.T{}
	world, cluster := sandboxtest.NewWorld(t), sandboxtest.NewCluster()
	cluster.NAD(t, "storage", "", `{"cniVersion":"1.0.0","type":"macvlan","master":"eth0"}`)
	cluster.AddPod("db-0", "storage@data0")

	keeper := sandbox.New(sandbox.Options{
		Ledger: l, Cluster: cluster, Devices: &sandboxtest.Devices{}, Chains: world, Primary: bridge{}, HostExec: world,
		Kernel: sandbox.Kernel{
			Identify:          func(path string) (ledger.Netns, error) { return ledger.Netns{Path: path, Inode: 1}, nil },
			LastIfindex:       func(string) int { return 1 },
			MoveDefaultRoutes: func(string, string, []netip.Addr) error { return nil },
			KeepDefaultRoutes: func(string, []string, []string) ([]sandbox.MovedRoute, error) { return nil, nil },
		},
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	request := sandbox.Request{ID: "c1", Netns: "/run/netns/c1", IfName: "eth0", At: time.Now(),
		Pod: ledger.PodRef{Namespace: "default", Name: "db-0", UID: "uid-db-0"}}

	result, err := keeper.Attach(context.Background(), request)
	fmt.Println(result.Interfaces[0].Name, err)
	record, _, _ := l.Sandbox("c1")
	for _, a := range record.Attachments {
		fmt.Println(a.IfName, a.Network, a.Phase)
	}
	fmt.Print(world.Trace())
	err = keeper.Release(context.Background(), request)
	fmt.Printf("left: %q %v\n", world.Left(), err)
	// Output:
	// eth0 <nil>
	// eth0 cluster bound
	// data0 default/storage bound
	// prepare data0 macvlan
	// exec ADD c1 eth0 bridge
	// bind c1 data0 macvlan
	// left: "" <nil>
}
