package network

import (
	"strings"
	"testing"
)

// meta-cni C8: a field without effect is named when the config is parsed, once for all pods.
func TestFieldsWithoutEffect(t *testing.T) {
	for config, want := range map[string]string{
		`{"type":"macvlan","master":"eth0","Mode":"bridge","ipam":{"type":"host-local","subnet":"10.0.0.0/24"}}`: "",
		`{"type":"macvlan","master":"eth0","vlan":5}`:                                                            `field "vlan": plugin macvlan has no such field`,
		`{"type":"macvlan","mastr":"eth0"}`:                                                                      `field "mastr": plugin macvlan has no such field; the nearest one is "master"`,
		`{"type":"macvlan","builtin":false,"anything":1}`:                                                        "",
		`{"type":"ipvlan","mac":"02:00:00:00:00:01"}`:                                                            `field "mac": plugin ipvlan has no such field`,
		`{"type":"bridge","anything":1,"ipam":{"type":"host-local","x":1}}`:                                      "",
		`{"type":"sriov","logLevel":"info","logFile":""}`:                                                        "",
		`{"type":"sriov","logLevel":"debug","logFile":"/var/log/x"}`:                                             `field "logLevel": the plugin is part of the agent, whose --log-level counts|field "logFile": the plugin is part of the agent, and logs with it`,
		`{"type":"sriov","ipam":{"type":"static","adresses":[],"range":"10.0.0.0/8"}}`:                           `field "ipam.adresses": ipam static has no such field; the nearest one is "ipam.addresses"|field "ipam.range": ipam static has no such field`,
		`{"type":"sriov","ipam":{"type":"whereabouts","range":"10.0.0.0/8"}}`:                                    "",
		`{"plugins":[{"type":"macvlan"},{"type":"tuning","sysctls":{}}]}`:                                        `plugin 2: field "sysctls": plugin tuning has no such field; the nearest one is "sysctl"`,
	} {
		list, err := ParseConfList([]byte(config), "n")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(list.Notices, "|"); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", config, got, want)
		}
	}
}
