package previous

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

// delegate is one network in a file of MultusDir.
type delegate struct {
	Name          string `json:"Name"` // namespace/name of the net-attach-def; empty for the cluster's network
	IfName        string `json:"ifnameRequest"`
	DeviceID      string `json:"deviceID"`
	ResourceName  string `json:"resourceName"`
	Conf          []byte `json:"Bytes"` // a plugin's config, or a list, with the device
	interfaceName string // in the pod
}

// Attachments reads the networks of a sandbox that Multus has made. primary is the name of
// the primary interface, and args the CNI_ARGS for networks whose own are not cached.
// Without a file of the sandbox, Found is empty.
func (f Files) Attachments(id, primary, args string) (Found, error) {
	if f.MultusDir == "" || !plainName(id) {
		return Found{}, nil
	}
	raw, err := read(f.scratchPath(id))
	if err != nil || raw == nil {
		return Found{}, err
	}
	var delegates []delegate
	if err := json.Unmarshal(raw, &delegates); err != nil {
		return Found{}, fmt.Errorf("read the networks of the sandbox in %s: %w", f.scratchPath(id), err)
	}
	found := Found{EarlierBoot: f.beforeBoot(f.scratchPath(id))}
	for i, d := range delegates {
		d.interfaceName = interfaceName(d, primary, i)
		a, err := f.attachment(id, args, d)
		if err != nil {
			found.Skipped = append(found.Skipped, fmt.Errorf("network %s, interface %s: %w", cmp.Or(d.Name, "of the cluster"), d.interfaceName, err))
			continue
		}
		found.Attachments = append(found.Attachments, a)
	}
	return found, nil
}

func (f Files) scratchPath(id string) string { return filepath.Join(f.MultusDir, id) }

// interfaceName follows Multus: the first network is the primary.
func interfaceName(d delegate, primary string, i int) string {
	switch {
	case d.IfName != "":
		return d.IfName
	case i == 0:
		return primary
	}
	return "net" + strconv.Itoa(i)
}

func (f Files) beforeBoot(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !f.Booted.IsZero() && info.ModTime().Before(f.Booted)
}

// attachment makes the record of one network. Its plugins are programs, as they were,
// except for a VF of sriov-cni.
func (f Files) attachment(id, args string, d delegate) (ledger.Attachment, error) {
	if !plainName(d.interfaceName) {
		return ledger.Attachment{}, fmt.Errorf("%q is no name of an interface", d.interfaceName)
	}
	list, err := network.ParseConfList(d.Conf, strings.ReplaceAll(d.Name, "/", "-"))
	if err != nil {
		return ledger.Attachment{}, err
	}
	cached, err := f.cached(list.Name, id, d.interfaceName)
	if err != nil {
		return ledger.Attachment{}, err
	}
	if list, err = network.ResolvePrimary(list, cached.Capabilities); err != nil {
		return ledger.Attachment{}, err
	}
	a := ledger.Attachment{Network: cmp.Or(d.Name, list.Name), IfName: d.interfaceName, Phase: ledger.Intent, CNIVersion: list.CNIVersion,
		CNIArgs: cmp.Or(cached.args(), args), Resource: d.ResourceName, Result: cached.result()}
	if namespace, name, ok := strings.Cut(d.Name, "/"); ok && d.DeviceID != "" {
		a.DeviceInfo = f.DeviceInfoPath(fmt.Sprintf("%s-%s-%s_%s", namespace, name, id, d.interfaceName))
	}
	for i, plugin := range list.Plugins {
		m := ledger.Member{Type: plugin.Type, Plugin: "binary", Config: list.Member(i).JSON()}
		if plugin.Type == "sriov" {
			if err := f.fillVF(&m, id, d.interfaceName); err != nil {
				return ledger.Attachment{}, err
			}
		}
		a.Members = append(a.Members, m)
	}
	return a, nil
}

// cachedCall is a file of results/: an ADD as libcni caches it.
type cachedCall struct {
	Args         [][2]string     `json:"cniArgs"`
	Capabilities map[string]any  `json:"capabilityArgs"`
	Result       json.RawMessage `json:"result"`
}

func (f Files) resultPath(cniName, id, ifName string) string {
	return filepath.Join(f.MultusDir, "results", fmt.Sprintf("%s-%s-%s", cniName, id, ifName))
}

// cached reads the ADD of an interface; it is empty if there is no file.
func (f Files) cached(cniName, id, ifName string) (cachedCall, error) {
	var c cachedCall
	if !plainName(cniName) {
		return c, nil
	}
	path := f.resultPath(cniName, id, ifName)
	raw, err := read(path)
	if err != nil || raw == nil {
		return c, err
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("read the cached result %s: %w", path, err)
	}
	return c, nil
}

// args is the CNI_ARGS value.
func (c cachedCall) args() string {
	var parts []string
	for _, kv := range c.Args {
		parts = append(parts, kv[0]+"="+kv[1])
	}
	return strings.Join(parts, ";")
}

// result returns the result as the ledger keeps it; nil if there is no valid one.
func (c cachedCall) result() json.RawMessage {
	if len(c.Result) == 0 {
		return nil
	}
	parsed, err := create.CreateFromBytes(c.Result)
	if err != nil {
		return nil // a DEL without it is better than none
	}
	result, err := types100.NewResultFromResult(parsed)
	if err != nil {
		return nil
	}
	result.CNIVersion = ledger.ResultVersion
	raw, err := json.Marshal(result)
	if err != nil {
		return nil
	}
	return raw
}

// cniName returns the CNI name of an attachment's network.
func (f Files) cniName(a ledger.Attachment) string {
	if len(a.Members) == 0 {
		return ""
	}
	var conf struct {
		Name string `json:"name"`
	}
	if json.Unmarshal(a.Members[0].Config, &conf) != nil {
		return ""
	}
	return conf.Name
}
