package attach

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/previous"
)

// A VF that sriov-cni has put into a pod comes back by the state in sriov-cni's file, with
// and without the pod's namespace, and so does its address (PAINS 12).
func TestReleaseOfAVFThatSRIOVCNIConfigured(t *testing.T) {
	for name, meanwhile := range map[string]func(*fakeKernel){
		"the pod is alive":      func(*fakeKernel) {},
		"the namespace is gone": func(k *fakeKernel) { k.endNetns(podNS, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			k := newNode(t, igb)
			dir := t.TempDir()
			s := k.set(dir)
			before := k.state()
			was := prepared(t, s, "sriov", request(full, vf0Addr))
			if _, err := attacherOf(t, s, "sriov").Bind(context.Background(), env, &was, podNS); err != nil {
				t.Fatal(err)
			}
			// From here on there is only what sriov-cni and Multus would have written.
			att := filesOf(t, k, was)
			meanwhile(k)
			if err := attacherOf(t, s, "sriov").Release(context.Background(), env, stored(t, att), podNS); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(withoutEmptyPod(before), withoutEmptyPod(k.state())); diff != "" {
				t.Error(diff)
			}
			if left := taken(t, dir); len(left) > 0 {
				t.Errorf("addresses leaked: %v", left)
			}
		})
	}
}

func withoutEmptyPod(state string) string { return strings.Replace(state, "pod:\n", "", 1) }

// filesOf writes the files of an attachment with a VF, as sriov-cni and Multus do, and
// returns the attachment that they describe.
func filesOf(t *testing.T, k *fakeKernel, was ledger.Attachment) ledger.Attachment {
	t.Helper()
	state := was.Members[0].VF.Original
	dir := t.TempDir()
	files := previous.Files{MultusDir: dir, SRIOVDir: filepath.Join(dir, "sriov"), VF: k.set(t.TempDir()).Sysfs.VF}
	conf := fmt.Sprintf(`{"deviceID":%q,"Master":"eth1","VFID":%d,"MAC":"02:00:00:cc:00:01","vlan":100,"vlanQoS":3,"max_tx_rate":50,
		"spoofchk":"off","trust":"on","link_state":"auto","mtu":9000,"ipam":{"type":"host-local"},
		"OrigVfState":{"HostIFName":%q,"SpoofChk":%t,"Trust":%t,"AdminMAC":%q,"EffectiveMAC":%q,"Vlan":%d,"VlanQoS":%d,"MinTxRate":%d,"MaxTxRate":%d,"MTU":%d}}`,
		vf0Addr, state.Index, state.Netdev.Name, *state.SpoofCheck, *state.Trust, *state.AdminMAC, state.MAC, *state.VLAN, *state.QoS,
		orZero(state.MinTxRate), orZero(state.MaxTxRate), *state.MTU)
	if err := os.Mkdir(files.SRIOVDir, 0o755); err != nil {
		t.Fatal(err)
	}
	list := fmt.Sprintf(`[{"ifnameRequest":"net1","Bytes":%q}]`, base64.StdEncoding.EncodeToString(was.Members[0].Config))
	for path, text := range map[string]string{filepath.Join(files.SRIOVDir, "s1-net1"): conf, filepath.Join(dir, "s1"): list} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := files.Attachments("s1", "eth0", "")
	if err != nil || len(found.Skipped) > 0 || len(found.Attachments) != 1 {
		t.Fatalf("found %+v, %v", found, err)
	}
	return found.Attachments[0]
}
