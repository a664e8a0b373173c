package attach

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/cni/run"
)

// noPlugins is a host without the plugin that is asked for.
type noPlugins struct{ version.PluginDecoder }

func (*noPlugins) FindInPath(plugin string, _ []string) (string, error) { return run.Find(plugin, "") }

func (*noPlugins) ExecPlugin(context.Context, string, []byte, []string) ([]byte, error) {
	return nil, errors.New("nothing is there to run")
}

// An ipam that is misspelt must not keep the VF from the next pod for ever.
func TestAnIPAMThatNeverRanOwesNothing(t *testing.T) {
	for name, conf := range map[string]string{
		"no such plugin": `{"cniVersion":"1.0.0","name":"n","type":"sriov","ipam":{"type":"hostlocal"}}`,
		"no such field":  `{"cniVersion":"1.0.0","name":"n","type":"sriov","ipam":{"type":"host-local","subnet":"10.1.0.0/24","dataDir":5}}`,
	} {
		k := newNode(t, igb)
		s := k.set(t.TempDir())
		before := k.state()
		att := prepared(t, s, "sriov", request(conf, vf0Addr))
		env := env
		env.Exec = &noPlugins{}
		a := attacherOf(t, s, "sriov")
		if _, err := a.Bind(t.Context(), env, &att, podNS); err == nil {
			t.Fatalf("%s: no error", name)
		}
		if err := a.Release(t.Context(), env, att, podNS); err != nil {
			t.Errorf("%s: Release: %v", name, err)
		}
		if after := k.state(); after != before {
			t.Errorf("%s: left\n%s\nwas\n%s", name, after, before)
		}
	}
}

// A default route comes after those of the networks before: a primary's plugin may
// refuse to add its own if one exists.
func TestADefaultRouteWaitsForTheNetworksBefore(t *testing.T) {
	for dst, waits := range map[string]bool{"0.0.0.0/0": true, "10.9.0.0/16": false} {
		k := newNode(t, igb)
		s := k.set(t.TempDir())
		conf := `{"cniVersion":"1.0.0","name":"n","type":"sriov","ipam":{"type":"static","addresses":[{"address":"10.1.0.2/24","gateway":"10.1.0.1"}],"routes":[{"dst":"` + dst + `"}]}}`
		att := prepared(t, s, "sriov", request(conf, vf0Addr))
		env, waited := env, false
		env.Order.Last = func(context.Context) error {
			waited = true
			if strings.Contains(strings.Join(k.calls, "\n"), "route") {
				t.Error("the route was there before its turn")
			}
			return nil
		}
		if _, err := attacherOf(t, s, "sriov").Bind(t.Context(), env, &att, podNS); err != nil {
			t.Fatal(err)
		}
		if waited != waits {
			t.Errorf("route to %s: waited %t, want %t", dst, waited, waits)
		}
	}
}

// refusing is a host whose ipam plugin gives an address and takes none back.
type refusing struct{ version.PluginDecoder }

func (*refusing) FindInPath(plugin string, _ []string) (string, error) { return plugin, nil }

func (*refusing) ExecPlugin(_ context.Context, _ string, _ []byte, environ []string) ([]byte, error) {
	if slices.Contains(environ, "CNI_COMMAND=ADD") {
		return []byte(`{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.2/24"}]}`), nil
	}
	return nil, errors.New("the daemon is down")
}

// A VF can be given to another pod as soon as it is restored. Addresses that are still
// to be given back do not keep it, and the retry does not touch it.
func TestReleaseTellsThatTheVFIsBack(t *testing.T) {
	const conf = `{"cniVersion":"1.0.0","name":"n","type":"sriov","vlan":7,"ipam":{"type":"dhcp"}}`
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	before := k.state()
	att := prepared(t, s, "sriov", request(conf, vf0Addr))
	env := env
	env.Exec = &refusing{}
	a := attacherOf(t, s, "sriov")
	if _, err := a.Bind(t.Context(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	att.Result = []byte("{}")
	err := a.Del(t.Context(), env.call(podNS), &att)
	if !att.Members[0].DeviceReturned || att.Members[0].Released || err == nil || !strings.Contains(err.Error(), "the daemon is down") {
		t.Fatalf("got %v, want that the device is back", err)
	}
	if after := k.state(); after != before {
		t.Errorf("left\n%s\nwas\n%s", after, before)
	}
	k.calls = nil
	if err := a.Release(t.Context(), env, att, podNS); err == nil || len(k.calls) > 0 {
		t.Errorf("the retry: %v, and it did %v", err, k.calls)
	}
}
