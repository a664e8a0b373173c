package sandbox

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/previous"
)

// multusPod leaves sandbox c9 as Multus and sriov-cni make it: eth0, a VF on net1, a
// bridge on net2.
func (n *node) multusPod() {
	n.t.Helper()
	files := previous.Files{MultusDir: filepath.Join(n.dir, "multus"), SRIOVDir: filepath.Join(n.dir, "sriov"),
		VF: func(a pci.Address) (device.VF, error) {
			return device.VF{Address: a, PF: pci.MustParseAddress("0000:3b:00.0"), Index: 1}, nil
		},
		DeviceInfoPath: func(name string) string { return filepath.Join(n.o.DevInfoDir, "cni", name) }}
	var list []string
	for _, conf := range []string{primaryConf, `{"cniVersion":"0.4.0","name":"fast","type":"sriov","deviceID":"` + vf1 + `"}`, `{"cniVersion":"0.4.0","name":"lan","type":"bridge"}`} {
		list = append(list, fmt.Sprintf(`{"Bytes":%q}`, base64.StdEncoding.EncodeToString([]byte(conf))))
	}
	n.writeFile(filepath.Join(files.MultusDir, "c9"), "["+strings.Join(list, ",")+"]")
	n.writeFile(filepath.Join(files.SRIOVDir, "c9-net1"), `{"deviceID":"`+vf1+`","vlan":7,"OrigVfState":{"HostIFName":"v1"}}`)
	n.writeFile(filepath.Join(files.SRIOVDir, "pci", vf1), "/run/netns/c9")
	n.world.VFs[vf1] = "c9"
	for _, made := range []string{"eth0 bridge", "eth0 portmap", "net1 sriov", "net2 bridge"} {
		n.world.Exists["c9 "+made] = true
	}
	n.restart(func(o *Options) { o.Previous = files })
}

func (n *node) writeFile(path, text string) {
	n.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) multusFiles() string {
	n.t.Helper()
	var files []string
	for _, pattern := range []string{"multus/*", "sriov/c9*", "sriov/pci/*"} {
		found, err := filepath.Glob(filepath.Join(n.dir, pattern))
		if err != nil {
			n.t.Fatal(err)
		}
		files = append(files, found...)
	}
	return strings.Join(files, " ")
}

// A pod that Multus has made ends under Fairlead: all its networks are released, by the
// files of Multus and sriov-cni, which are then removed (m#1239, cni#219).
func TestDelOfAPodThatMultusMade(t *testing.T) {
	n := newNode(t)
	n.multusPod()
	if _, err := n.call("DEL", "c9", "p"); err != nil {
		t.Fatal(err)
	}
	want := `put c9 releasing eth0=exec/intent net1=sriov/intent net2=exec/intent
release c9 net1 sriov
exec DEL c9 net2 bridge
exec DEL c9 eth0 portmap
exec DEL c9 eth0 bridge
delete c9
`
	if diff := cmp.Diff(sortedMiddle(want), sortedMiddle(n.world.Trace())); diff != "" {
		t.Error(diff)
	}
	n.wantClean()
	if left := n.multusFiles(); left != "" {
		t.Error("files are left:", left)
	}
}

// sortedMiddle takes the release of the VF, which runs beside the programs, to the front.
func sortedMiddle(trace string) string {
	const vf = "release c9 net1 sriov\n"
	first, rest, _ := strings.Cut(trace, "\n")
	return first + "\n" + vf + strings.Replace(rest, vf, "", 1)
}

// The same if the agent was away, at every step that can fail or be the last one.
func TestDelOfAPodThatMultusMadeFailsAtEveryStep(t *testing.T) {
	for at := 1; ; at++ {
		n := newNode(t)
		n.multusPod()
		before, hit := n.world.Steps, false
		n.world.Fail = func(step int, name string) error {
			if step != before+at {
				return nil
			}
			hit = true
			return errors.New("boom")
		}
		_, err := n.call("DEL", "c9", "p")
		n.world.Fail = nil
		if err != nil { // only because it could not be recorded: the runtime asks again
			if at > 1 {
				t.Errorf("step %d: DEL failed: %v", at, err)
			}
			_, err = n.call("DEL", "c9", "p")
		}
		n.now = n.now.Add(maxRetry)
		n.restart(func(*Options) {})
		n.retryDue(t.Context())
		n.wantClean()
		if err != nil || n.multusFiles() != "" {
			t.Errorf("step %d: %v, files left: %q", at, err, n.multusFiles())
		}
		if !hit {
			return
		}
	}
}

// cni#219: the VF of an old pod may be another's by now, and after a boot it is a new one.
// sandboxtest fails the test if it is touched.
func TestAVFThatIsAnotherPodsByNow(t *testing.T) {
	n := newNode(t)
	n.multusPod()
	delete(n.world.VFs, vf1)
	delete(n.world.Exists, "c9 net1 sriov")
	n.pod("new", "fast", vf1)
	n.mustAdd("c1", "new")
	if _, err := n.call("DEL", "c9", "p"); err != nil {
		t.Fatal(err)
	}
	if n.world.VFs[vf1] != "c1" {
		t.Error("the new pod has lost its VF")
	}
	if _, err := n.call("DEL", "c1", "new"); err != nil {
		t.Fatal(err)
	}
	n.wantClean()
}

func TestAVFOfAnEarlierBoot(t *testing.T) {
	n := newNode(t)
	n.multusPod()
	n.world.VFs[vf1] = "somebody"
	n.restart(func(o *Options) {
		files := o.Previous.(previous.Files)
		files.Booted = time.Now().Add(time.Hour)
		o.Previous = files
	})
	if _, err := n.call("DEL", "c9", "p"); err != nil {
		t.Fatal(err)
	}
	if n.world.VFs[vf1] != "somebody" || n.multusFiles() != "" {
		t.Errorf("VF of %q, files %q", n.world.VFs[vf1], n.multusFiles())
	}
}

// An ADD that needs the VF waits until it is on record as the old pod's, and then for the
// release.
func TestTakingOverIsGuarded(t *testing.T) {
	n := newNode(t)
	n.multusPod()
	var guarded, recorded []pci.Address
	n.restart(func(o *Options) {
		o.Recorded = func(devices ...pci.Address) { recorded = devices }
		o.Guard = func(_ context.Context, devices ...pci.Address) (func(), error) {
			guarded = devices
			if _, _, held := n.ledger.Holder(pci.MustParseAddress(vf1)); held {
				t.Error("the VF was taken before the guard")
			}
			return func() {
				if id, _, _ := n.ledger.Holder(pci.MustParseAddress(vf1)); id != "c9" {
					t.Errorf("the VF is of %q when the guard ends", id)
				}
			}, nil
		}
	})
	if _, err := n.call("DEL", "c9", "p"); err != nil {
		t.Fatal(err)
	}
	vf := pci.MustParseAddress(vf1)
	if !slices.Equal(guarded, []pci.Address{vf}) || !slices.Equal(recorded, []pci.Address{vf}) {
		t.Errorf("guarded %v, told of %v", guarded, recorded)
	}
}

// The interfaces of such pods are not on record, so no program may collect garbage.
func TestNoGCWhilePodsOfMultusRun(t *testing.T) {
	n := newNode(t)
	n.nad("vrf", "", `{"cniVersion":"1.1.0","type":"vrf"}`)
	n.multusPod()
	n.pod("q", "vrf")
	n.mustAdd("c1", "q")
	if networks, err := n.keeper.ProgramNetworks(); err != nil || len(networks) != 0 {
		t.Errorf("%v, %v", networks, err)
	}
	if _, err := n.call("DEL", "c9", "p"); err != nil {
		t.Fatal(err)
	}
	if networks, err := n.keeper.ProgramNetworks(); err != nil || len(networks) != 1 {
		t.Errorf("%v, %v", networks, err)
	}
}

// m#948: a damaged file is no reason to keep a pod in Terminating.
func TestDamagedFilesOfMultus(t *testing.T) {
	n := newNode(t)
	n.multusPod()
	n.writeFile(filepath.Join(n.dir, "multus", "c9"), "")
	if _, err := n.call("DEL", "c9", "p"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(n.world.Trace(), "exec DEL c9 eth0 bridge") {
		t.Errorf("the primary network was not released:\n%s", n.world.Trace())
	}
}
