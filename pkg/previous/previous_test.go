package previous

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	id = "8f2c9be1"
	vf = "0000:3b:02.1"
	pf = "0000:3b:00.0"
)

// node has the files of a node on which Multus and sriov-cni made a pod with a VF on
// net1 and a macvlan with the name data0.
type node struct {
	t testing.TB
	Files
}

func newNode(t testing.TB) node {
	t.Helper()
	dir := t.TempDir()
	n := node{t, Files{MultusDir: filepath.Join(dir, "multus"), SRIOVDir: filepath.Join(dir, "sriov"),
		VF: func(a pci.Address) (device.VF, error) {
			if a.String() != vf {
				return device.VF{}, &fs.PathError{Op: "open", Path: a.String(), Err: fs.ErrNotExist}
			}
			return device.VF{Address: a, PF: pci.MustParseAddress(pf), Index: 3}, nil
		},
		DeviceInfoPath: func(name string) string { return "/devinfo/" + name },
	}}
	n.write(n.scratchPath(id), "["+strings.Join([]string{
		scratch("", "", `{"cniVersion":"0.3.1","name":"cluster","plugins":[{"type":"flannel"},{"type":"portmap","capabilities":{"portMappings":true}}]}`, "list"),
		scratch("nfv/fast", "", `{"cniVersion":"0.3.1","name":"fast","type":"sriov","vlan":100,"deviceID":"`+vf+`","ipam":{"type":"host-local"}}`,
			`"deviceID":"`+vf+`","resourceName":"intel.com/fast"`),
		scratch("nfv/lan", "data0", `{"cniVersion":"0.3.1","type":"macvlan","master":"eth1"}`, ""),
	}, ",")+"]")
	n.write(n.resultPath("cluster", id, "eth0"), `{"kind":"cniCacheV1","containerId":"8f2c9be1","ifName":"eth0","networkName":"cluster",
		"cniArgs":[["IgnoreUnknown","1"],["K8S_POD_NAME","upf-0"]],
		"capabilityArgs":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]},
		"result":{"cniVersion":"0.3.1","interfaces":[{"name":"eth0","sandbox":"/run/netns/x"}],"ips":[{"version":"4","interface":0,"address":"10.244.1.7/24"}]}}`)
	n.write(n.vfPath(id, "net1"), `{"cniVersion":"0.3.1","name":"fast","type":"sriov","ipam":{"type":"host-local"},
		"OrigVfState":{"HostIFName":"ens1f0v3","SpoofChk":true,"Trust":false,"AdminMAC":"00:00:00:00:00:00","EffectiveMAC":"02:00:00:00:00:0A",
			"Vlan":0,"VlanQoS":0,"VlanProto":33024,"MinTxRate":0,"MaxTxRate":0,"LinkState":0,"MTU":1500},
		"DPDKMode":false,"Master":"ens1f0","MAC":"02:AA:00:00:00:01","vlan":100,"vlanQoS":0,"deviceID":"`+vf+`","VFID":3,"ContIFNames":"net1",
		"min_tx_rate":null,"max_tx_rate":null,"trust":"on","spoofchk":"off","mtu":9000}`)
	n.write(filepath.Join(n.SRIOVDir, "pci", vf), "/run/netns/x")
	return n
}

// scratch is one element of a file of MultusDir. Multus writes the parsed config beside
// the bytes, of which only the kind counts.
func scratch(name, ifName, conf, more string) string {
	parsed := `"Conf":{"type":"x"},"ConfList":{}`
	if more == "list" {
		parsed, more = `"Conf":{},"ConfList":{"plugins":[{"type":"flannel"}]}`, ""
	}
	if more != "" {
		more = "," + more
	}
	return fmt.Sprintf(`{%s,"Name":%q,"ifnameRequest":%q,"Bytes":%q%s}`, parsed, name, ifName, base64.StdEncoding.EncodeToString([]byte(conf)), more)
}

func (n node) write(path, text string) {
	n.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

func (n node) left() []string {
	n.t.Helper()
	var files []string
	for _, dir := range []string{n.MultusDir, n.SRIOVDir} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				rel, _ := filepath.Rel(filepath.Dir(dir), path)
				files = append(files, rel)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			n.t.Fatal(err)
		}
	}
	return files
}

const args = "IgnoreUnknown=1;K8S_POD_NAME=upf-0;FROM=request"

func (n node) find() Found {
	n.t.Helper()
	found, err := n.Attachments(id, "eth0", args)
	if err != nil {
		n.t.Fatal(err)
	}
	return found
}

// The files of a pod become attachments that the agent can release: the VF by itself, the
// rest by the programs that made it.
func TestAttachments(t *testing.T) {
	found := newNode(t).find()
	if len(found.Skipped) > 0 || found.EarlierBoot {
		t.Errorf("skipped %v, earlier boot %v", found.Skipped, found.EarlierBoot)
	}
	raw, err := json.MarshalIndent(found.Attachments, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "attachments.json")
	if *update {
		if err := os.WriteFile(golden, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(raw)+"\n"); diff != "" {
		t.Error(diff)
	}
}

func TestForgetRemovesTheFilesOfOneSandbox(t *testing.T) {
	n := newNode(t)
	n.write(n.scratchPath("other"), "[]")
	n.write(n.vfPath("other", "net1"), `{"deviceID":"0000:3b:02.2"}`)
	n.write(filepath.Join(n.SRIOVDir, "pci", "0000:3b:02.2"), "/run/netns/y")
	s := ledger.Sandbox{ID: id, Attachments: n.find().Attachments}
	for range 2 { // a crash may come between removing the files and the record
		if err := n.Forget(s); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"multus/other", "sriov/other-net1", "sriov/pci/0000:3b:02.2"}, n.left()); diff != "" {
		t.Error(diff)
	}
}

func TestWithoutFiles(t *testing.T) {
	n := newNode(t)
	for _, id := range []string{"unknown", "", "..", "../" + id, "results/cluster-8f2c9be1-eth0"} {
		found, err := n.Attachments(id, "eth0", args)
		if err != nil || len(found.Attachments) > 0 {
			t.Errorf("%q: %v, %v", id, found, err)
		}
	}
	if found, err := (Files{}).Attachments(id, "eth0", args); err != nil || len(found.Attachments) > 0 {
		t.Errorf("no directory: %v, %v", found, err)
	}
}

// A network that cannot be read does not keep the others from being released; a file that
// cannot be read is an error.
func TestDamagedFiles(t *testing.T) {
	for name, tc := range map[string]struct {
		damage  func(n node)
		skipped string // empty: an error, which has the text of err
		err     string
	}{
		"list of networks":  {damage: func(n node) { n.write(n.scratchPath(id), "[{") }, err: "read the networks of the sandbox in "},
		"a network":         {damage: func(n node) { n.write(n.scratchPath(id), "["+scratch("a/b", "", `{"cniVersion":`, "")+"]") }, skipped: "network a/b, interface eth0: "},
		"a type of ours":    {damage: func(n node) { n.write(n.scratchPath(id), "["+scratch("a/b", "", `{"type":"fairlead"}`, "")+"]") }, skipped: "fairlead"},
		"an interface name": {damage: func(n node) { n.write(n.scratchPath(id), "["+scratch("a/b", "../x", `{"type":"a"}`, "")+"]") }, skipped: `"../x" is no name of an interface`},
		"the VF's state":    {damage: func(n node) { n.write(n.vfPath(id, "net1"), "") }, skipped: "network nfv/fast, interface net1: read the VF's state in "},
		"the VF's address":  {damage: func(n node) { n.write(n.vfPath(id, "net1"), `{"deviceID":"x"}`) }, skipped: `field "deviceID"`},
		"a cached result":   {damage: func(n node) { n.write(n.resultPath("cluster", id, "eth0"), "{") }, skipped: "read the cached result "},
		"size":              {damage: func(n node) { n.write(n.scratchPath(id), strings.Repeat(" ", maxFile+1)) }, err: "more than 4 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			tc.damage(n)
			found, err := n.Attachments(id, "eth0", args)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil || len(found.Skipped) != 1 || !strings.Contains(found.Skipped[0].Error(), tc.skipped) {
				t.Errorf("skipped %v, error %v, want %q", found.Skipped, err, tc.skipped)
			}
		})
	}
}

// The modes of sriov-cni, and releases of it that recorded less.
func TestVFs(t *testing.T) {
	for name, tc := range map[string]struct{ file, want string }{
		"userspace driver": {`{"deviceID":"` + vf + `","DPDKMode":true,"Master":"ens1f0","MAC":"02:aa:00:00:00:01","OrigVfState":{"AdminMAC":"02:00:00:00:00:09"}}`,
			"vfio ens1f0 netdev= mac= asked=MAC 02:aa:00:00:00:01; original MAC 02:00:00:00:00:09"},
		"802.1ad":         {`{"deviceID":"` + vf + `","vlan":7,"OrigVfState":{"HostIFName":"v3","Vlan":5,"VlanQoS":2,"VlanProto":34984}}`, "sriov  netdev=v3 mac= asked=VLAN 7; original VLAN 5 QoS 2 802.1ad"},
		"rates":           {`{"deviceID":"` + vf + `","min_tx_rate":5,"max_tx_rate":10,"OrigVfState":{"HostIFName":"v3","MaxTxRate":100}}`, "sriov  netdev=v3 mac= asked=rate 5 to 10 Mbit/s; original rate 0 to 100 Mbit/s"},
		"link state":      {`{"deviceID":"` + vf + `","link_state":"enable","OrigVfState":{"HostIFName":"v3","LinkState":2}}`, "sriov  netdev=v3 mac= asked=link state enable; original link state disable"},
		"a new state":     {`{"deviceID":"` + vf + `","link_state":"enable","OrigVfState":{"HostIFName":"v3","LinkState":9}}`, "sriov  netdev=v3 mac= asked=link state enable; original "},
		"the VF is gone":  {`{"deviceID":"0000:3b:07.7","Master":"ens1f0","vlan":7,"OrigVfState":{"HostIFName":"v9"}}`, "sriov ens1f0 netdev=v9 mac= asked=VLAN 7; original VLAN 0"},
		"no state at all": {`{"deviceID":"` + vf + `"}`, "sriov  netdev= mac= asked=; original "},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.write(n.vfPath(id, "net1"), tc.file)
			found := n.find()
			i := slices.IndexFunc(found.Attachments, func(a ledger.Attachment) bool { return a.IfName == "net1" })
			if i < 0 {
				t.Fatal(found.Skipped)
			}
			if diff := cmp.Diff(tc.want, text(found.Attachments[i].Members[0])); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func text(m ledger.Member) string {
	was := m.VF.Original
	netdev := ""
	if was.Netdev != nil {
		netdev = was.Netdev.Name
	}
	var asked, original []string
	for _, k := range device.KnobsAt(device.AtPF) {
		if !k.Has(m.VF.Asked) {
			continue
		}
		asked = append(asked, k.Name+" "+k.Text(m.VF.Asked))
		if k.Has(was.Settings) {
			original = append(original, k.Name+" "+k.Text(was.Settings))
		}
	}
	return fmt.Sprintf("%s %s netdev=%s mac=%s asked=%s; original %s", m.Plugin, was.PFName, netdev, was.MAC, strings.Join(asked, ", "), strings.Join(original, ", "))
}

// After a boot every VF is new, so files from before it must not restore one.
func TestFilesOfAnEarlierBoot(t *testing.T) {
	n := newNode(t)
	n.Booted = time.Now().Add(time.Hour)
	if !n.find().EarlierBoot {
		t.Error("files older than the boot are not noticed")
	}
	n.Booted = time.Now().Add(-time.Hour)
	if n.find().EarlierBoot {
		t.Error("files of this boot count as older")
	}
}
