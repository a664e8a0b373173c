package ipam

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/test/fuzz"
)

// errNoBinary is the answer of noBinaries.
var errNoBinary = errors.New("no plugin runs here")

// noBinaries stands for a host without plugins.
type noBinaries struct{ version.PluginDecoder }

func (*noBinaries) ExecPlugin(context.Context, string, []byte, []string) ([]byte, error) {
	return nil, errNoBinary
}

func (*noBinaries) FindInPath(string, []string) (string, error) { return "", fs.ErrNotExist }

// Built-in IPAM from a net-attach-def's conf and a pod's CNI_ARGS: addresses that are
// given are recorded, and DEL gives all of them back.
func FuzzAddresses(f *testing.F) {
	for _, conf := range []string{
		`{"name":"n","ipam":{"type":"host-local","subnet":"10.56.217.0/24","rangeStart":"10.56.217.171","rangeEnd":"10.56.217.181","routes":[{"dst":"0.0.0.0/0"}],"gateway":"10.56.217.1"}}`,
		`{"name":"n","ipam":{"type":"host-local","ranges":[[{"subnet":"10.0.0.0/29"},{"subnet":"10.0.1.0/29"}],[{"subnet":"2001:db8::/64"}]]},"args":{"cni":{"ips":["10.0.1.2"]}}}`,
		`{"name":"n","runtimeConfig":{"ips":["10.0.0.3/24"],"ipRanges":[[{"subnet":"10.0.0.0/24"}]]},"ipam":{"type":"host-local"}}`,
		`{"name":"n","ipam":{"type":"static","addresses":[{"address":"10.10.0.1/24","gateway":"10.10.0.254"},{"address":"3ffe:ffff:0:01ff::1/64"}],"dns":{"nameservers":["8.8.8.8"]}}}`,
		`{"name":"n","ipam":{"type":"static"},"args":{"cni":{"ips":["10.0.0.1/24"]}},"runtimeConfig":{"ips":["2001:db8::1/64"]}}`,
		`{"name":"../x","ipam":{"type":"host-local","subnet":"10.0.0.0/30"}}`, `{"name":"n","ipam":{"type":"host-local","subnet":"0.0.0.0/0"}}`,
		`{"name":"n","ipam":{"type":"host-local","subnet":"::/0","rangeEnd":"::1"}}`, `{"name":"n","ipam":{"type":"host-local","subnet":"10.0.0.0/32","dataDir":"/etc"}}`,
		`{"name":"n","ipam":{"type":"fairlead"}}`, `{"name":"n","ipam":{"type":"` + strings.Repeat("x", 60000) + `"}}`, `{"name":"` + strings.Repeat("x", 60000) + `","ipam":{"type":"host-local"}}`,
		`{"name":"n","ipam":{"type":"static","addresses":[{"address":"` + strings.Repeat("1", 60000) + `"}]}}`, `{"name":"n","ipam":{"type":"host-local","subnet":"` + strings.Repeat("1", 60000) + `"}}`,
	} {
		f.Add([]byte(conf), "IgnoreUnknown=1;K8S_POD_NAME=p")
	}
	f.Add([]byte(`{"name":"n","ipam":{"type":"host-local","subnet":"10.0.0.0/24"}}`), "IP=10.0.0.7,10.0.0.8/24;GATEWAY=x")
	f.Add([]byte(`{"name":"n","ipam":{"type":"static"}}`), "IgnoreUnknown=true;IP=10.0.0.7/24,fd00::1/64;GATEWAY=10.0.0.1,fd00::2")
	f.Add([]byte(`{"name":"n","ipam":{"type":"static"}}`), "IP="+strings.Repeat("9", 60000))
	f.Fuzz(func(t *testing.T, conf []byte, cniArgs string) {
		dir := filepath.Join(fuzz.TempDir(t), "shared", "networks")
		args := Args{SandboxID: "c0ffee", IfName: "net1", CNIArgs: cniArgs, DataDir: dir, Path: "/nowhere"}
		if c, err := readHead(conf); err == nil && c.IPAM.DataDir != "" {
			return // a directory of this machine
		}
		var result *types100.Result
		var err error
		fuzz.Allocates(t, len(conf)+len(cniArgs), func() { result, err = Add(t.Context(), &noBinaries{}, args, conf) })
		if fuzz.Refused(t, err); err != nil {
			if left := held(t, dir); len(left) > 0 {
				t.Errorf("after the error %v these are allocated: %q", err, left)
			}
			return
		}
		checkResult(t, result)
		for _, ip := range result.IPs {
			args.Known = append(args.Known, ip.Address.IP)
		}
		if err := errors.Join(Check(t.Context(), &noBinaries{}, args, conf), Del(t.Context(), &noBinaries{}, args, conf)); err != nil {
			t.Errorf("CHECK and DEL: %v", err)
		}
		if left := held(t, dir); len(left) > 0 {
			t.Errorf("after DEL these are allocated: %q", left)
		}
	})
}

func checkResult(t *testing.T, result *types100.Result) {
	t.Helper()
	if len(result.IPs) == 0 {
		t.Error("no address, and no error")
	}
	for _, ip := range result.IPs {
		if n := len(ip.Address.IP); n != net.IPv4len && n != net.IPv6len || len(ip.Address.Mask) != n {
			t.Errorf("address %v", ip.Address)
		}
	}
}

// held lists the files of addresses.
func held(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for _, file := range files {
		if net.ParseIP(filepath.Base(file)) != nil {
			addresses = append(addresses, file)
		}
	}
	return addresses
}
