package attach

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/quote"
)

// tuningConf is the conf of a member of type tuning: the stock plugin's fields. Its
// dataDir has no meaning here: the original settings are in the record.
type tuningConf struct {
	Sysctl        map[string]string `json:"sysctl"`
	MAC           string            `json:"mac"`
	MTU           int               `json:"mtu"`
	Promisc       *bool             `json:"promisc"`
	AllMulti      *bool             `json:"allmulti"`
	TxQLen        *int              `json:"txQLen"`
	RuntimeConfig runtimeConf       `json:"runtimeConfig"`
	Args          struct {
		CNI tuningOverride `json:"cni"`
	} `json:"args"`
}

// tuningOverride has the fields that a pod may override by args.cni.
type tuningOverride struct {
	Sysctl   map[string]string `json:"sysctl"`
	MAC      string            `json:"mac"`
	MTU      int               `json:"mtu"`
	Promisc  *bool             `json:"promisc"`
	AllMulti *bool             `json:"allmulti"`
	TxQLen   *int              `json:"txQLen"`
}

// parseTuning reads and validates the conf. The order of precedence is the stock
// plugin's: args.cni, the capability, CNI_ARGS, the conf. promisc false means the same
// as no promisc. c is the conf as written.
func parseTuning(conf json.RawMessage, cniArgs, ifName string) (_ ledger.TuningSettings, c tuningConf, err error) {
	if err := decode(conf, &c); err != nil {
		return ledger.TuningSettings{}, c, err
	}
	var p problems
	over := c.Args.CNI
	asked := ledger.TuningSettings{MTU: c.MTU, Promisc: c.Promisc, AllMulti: c.AllMulti, TxQLen: c.TxQLen}
	if over.MAC != "" {
		asked.MAC = p.checkMAC("args.cni.mac", over.MAC)
	} else {
		asked.MAC = p.chooseMAC(c.RuntimeConfig.MAC, cniArgs, c.MAC)
	}
	if over.MTU != 0 {
		asked.MTU = over.MTU
	}
	if over.Promisc != nil {
		asked.Promisc = over.Promisc
	}
	if over.AllMulti != nil {
		asked.AllMulti = over.AllMulti
	}
	if over.TxQLen != nil {
		asked.TxQLen = over.TxQLen
	}
	if asked.Promisc != nil && !*asked.Promisc {
		asked.Promisc = nil
	}
	p.checkMTU(asked.MTU)
	if asked.TxQLen != nil && *asked.TxQLen < 0 {
		p.add("txQLen", "%d is below 0", *asked.TxQLen)
	}
	p.sysctls(&asked, c.Sysctl, ifName)
	p.sysctls(&asked, over.Sysctl, ifName)
	return asked, c, p.err()
}

func (p *problems) sysctls(asked *ledger.TuningSettings, sysctls map[string]string, ifName string) {
	for name, value := range sysctls {
		key, err := sysctlKey(name, ifName)
		if err != nil {
			p.add("sysctl", "%v", err)
			continue
		}
		if asked.Sysctls == nil {
			asked.Sysctls = map[string]string{}
		}
		asked.Sysctls[key] = value
	}
}

// sysctlKey turns a name with dots or slashes into the path below /proc/sys, with the
// interface in the place of IFNAME. The path must not lead out of net: anything else is the
// node's, not the namespace's.
func sysctlKey(name, ifName string) (string, error) {
	key := strings.Replace(strings.ReplaceAll(name, ".", "/"), "IFNAME", ifName, 1)
	if clean := path.Clean(key); clean != key || !strings.HasPrefix(key, "net/") || strings.Contains(key, "\x00") {
		return "", fmt.Errorf("%q is no sysctl of a network namespace; their names begin with net", quote.Cut(name))
	}
	return key, nil
}

// checkAllowed compares the names, as the network writes them, with the host's list of
// regular expressions. Without the file every sysctl of a namespace is allowed.
func checkAllowed(file string, c tuningConf) error {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the list of sysctls that networks may set: %w", err)
	}
	var p problems
	for _, sysctls := range []map[string]string{c.Sysctl, c.Args.CNI.Sysctl} {
		for name := range sysctls {
			ok, err := matchesAny(name, string(content))
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			if !ok {
				p.add("sysctl", "%s is not allowed on this node; the administrator allows sysctls in %s", quote.Plain(name), ownText(file))
			}
		}
	}
	return p.err()
}

func matchesAny(name, patterns string) (bool, error) {
	for _, line := range strings.Split(patterns, "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if ok, err := regexp.MatchString(line, name); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}
