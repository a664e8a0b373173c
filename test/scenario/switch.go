package scenario

import (
	"context"
	_ "embed"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
)

// SwitchNamespace is where the pod is that runs while its node is switched.
const SwitchNamespace = "switched"

// switchScript makes a pod's networks as Multus, sriov-cni and the stock macvlan plugin do,
// with the files that these leave.
//
//go:embed switch.sh
var switchScript string

// Switch is a node that is switched from Multus to Fairlead under a running pod.
type Switch struct {
	c      *Cluster
	root   string
	before []string // the VFs before the pod had one
}

// StartSwitch removes Fairlead, and creates a pod with a VF and a macvlan as Multus would.
func StartSwitch(ctx context.Context, c *Cluster, root string) (*Switch, error) {
	s := &Switch{c: c, root: root}
	if err := c.clear(ctx); err != nil {
		return nil, err
	}
	var err error
	if s.before, err = c.nodes().snapshot(ctx); err != nil {
		return nil, err
	}
	if err := c.createNamespaces(ctx, SwitchNamespace); err != nil {
		return nil, err
	}
	if err := c.apply(ctx, Pod{Name: "old", Node: "1"}.Manifest(SwitchNamespace)); err != nil {
		return nil, err
	}
	if err := c.waitReady(ctx, SwitchNamespace); err != nil {
		return nil, err
	}
	c.Say("making the pod's networks as Multus and sriov-cni do")
	return s, s.makeNetworks(ctx)
}

// The networks of the pod, besides the cluster's.
const (
	switchVF      = `{"cniVersion":"0.3.1","name":"switched-vf","type":"sriov","vlan":141,"trust":"on","deviceID":"%s","ipam":{"type":"host-local","subnet":"10.141.0.0/24"}}`
	switchMacvlan = `{"cniVersion":"0.3.1","name":"switched-lan","type":"macvlan","master":"pf1","ipam":{"type":"host-local","subnet":"10.142.0.0/24"}}`
)

func (s *Switch) makeNetworks(ctx context.Context) error {
	all, err := s.c.nodes().vfs(ctx, "node1")
	if err != nil {
		return err
	}
	pod, err := s.c.Pod(ctx, SwitchNamespace, "old")
	if err != nil {
		return err
	}
	primary, err := s.c.Lab.Exec(ctx, "node1", "cat /etc/cni/net.d/10-lab.conflist")
	if err != nil {
		return err
	}
	for _, v := range all {
		if v.Driver != "igbvf" || v.Netdev == "" {
			continue
		}
		vf := fmt.Sprintf(switchVF, v.Address)
		delegates := fmt.Sprintf(`[{"Bytes":%q},{"Name":"switched/vf","Bytes":%q,"deviceID":%q},{"Name":"switched/lan","Bytes":%q}]`,
			encoded(primary), encoded(vf), v.Address, encoded(switchMacvlan))
		vars := fmt.Sprintf("uid=%s pf=%s index=%d vf=%s address=%s delegates='%s' macvlan='%s'\n",
			pod.UID, v.PF, v.Index, v.Netdev, v.Address, delegates, switchMacvlan)
		_, err := s.c.Lab.Exec(ctx, "node1", vars+switchScript)
		return err
	}
	return fmt.Errorf("node1 has no VF with a netdev")
}

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// Check installs Fairlead under the pod, and then deletes the pod.
func (s *Switch) Check(ctx context.Context) Facts {
	var f Facts
	f.check("Fairlead is installed under the running pod, whose networks stay", func() (string, error) {
		for _, file := range []string{"deployments/crds/network-attachment-definitions.yaml", "deployments/fairlead.yaml"} {
			if err := s.c.applyFile(ctx, filepath.Join(s.root, file)); err != nil {
				return "", err
			}
		}
		if err := s.c.applyProfiles(ctx, filepath.Join(s.root, profilesFile)); err != nil {
			return "", err
		}
		if err := s.c.waitReady(ctx, agentNamespace); err != nil {
			return "", err
		}
		links, err := s.c.nodes().linksInPod(ctx, SwitchNamespace, "old")
		if err != nil {
			return "", err
		}
		return names(links), want("the pod's interfaces", sorted(names(links)), "eth0 net1 net2")
	})
	f.check("the pod's VF is not offered to other pods", func() (string, error) {
		return "3 of 4 VFs are allocatable", s.c.waitAllocatable(ctx, "node1", map[string]int64{"fairlead.dev/fast": 3})
	})
	f.check("the pod is deleted: its VF is as it was, and its addresses and files are gone", func() (string, error) { return s.ended(ctx) })
	f.check("the VF is offered again", func() (string, error) {
		return "4 of 4 VFs are allocatable", s.c.waitAllocatable(ctx, "node1", Capacity()["node1"])
	})
	return f
}

func (s *Switch) ended(ctx context.Context) (string, error) {
	if err := s.c.Delete(ctx, SwitchNamespace); err != nil {
		return "", err
	}
	return "nothing is left", poll(ctx, stateLimit, "the VF as it was", func() error {
		left, err := s.c.Lab.Exec(ctx, "node1", "find /var/lib/cni/multus /var/lib/cni/sriov /var/lib/cni/networks/switched-* -type f ! -name 'last_reserved_ip*' ! -name lock")
		if err != nil {
			return err
		}
		if err := want("files left on the node", strings.TrimSpace(left), ""); err != nil {
			return err
		}
		after, err := s.c.nodes().snapshot(ctx)
		if err != nil {
			return err
		}
		return difference(s.before, after)
	})
}
