package confdir

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/network"
)

// reports 17: net-attach-defs with an empty spec have a conf dir of their own, which may be
// missing, and which the runtime does not read.
func TestNetAttachDefConfDir(t *testing.T) {
	dir := t.TempDir()
	primary, own := filepath.Join(dir, "net.d"), filepath.Join(dir, "multus", "net.d")
	tree(t, dir, map[string]string{"net.d/10.conflist": bridgeAndPortmap})
	p := NewPrimary(Options{Dir: primary, NetAttachDefDir: own, Log: slog.New(slog.DiscardHandler)})
	if list, err := p.ByName("cbr0"); err != nil || list.Name != "cbr0" {
		t.Errorf("without the second directory: %+v, %v", list, err)
	}
	tree(t, dir, map[string]string{
		"multus/net.d/istio-cni.conf":       `{"name":"istio-cni","cniVersion":"0.3.1","type":"istio-cni"}`,
		"multus/net.d/cbr0.conflist":        `{"name":"cbr0","cniVersion":"1.1.0"}`,
		"multus/net.d/cbr0/10-mesh.conf":    `{"type":"mesh"}`,
		"multus/net.d/00-first.conflist":    `{"name":"first","cniVersion":"1.0.0","plugins":[{"type":"bridge"}]}`,
		"multus/net.d/broken.conflist":      `{`,
		"multus/net.d/broken-list.conflist": `{"name":"broken","plugins":[{"type":"fairlead"}]}`,
	})
	for name, want := range map[string]string{"istio-cni": "istio-cni", "cbr0": "mesh"} {
		if list, err := p.ByName(name); err != nil || !slices.Equal(types(list), []string{want}) {
			t.Errorf("%s: %v, %v", name, types(list), err)
		}
	}
	if list, err := p.Conf(); err != nil || list.Name != "cbr0" || len(list.Plugins) != 2 {
		t.Errorf("the primary network is of the second directory: %+v, %v", list, err)
	}
	if _, err := p.ByName("broken"); err == nil || !strings.Contains(err.Error(), "broken-list.conflist") {
		t.Errorf("a broken file: %v", err)
	}
	if _, err := p.ByName("nosuch"); !errors.Is(err, network.ErrNotFound) || !strings.Contains(err.Error(), own+" or "+primary) {
		t.Errorf("got %v", err)
	}
}

// reports 18: the primary network's conf is in another directory.
func TestPrimaryByAbsolutePath(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "multus", "10-ovn.conf")
	p := NewPrimary(Options{Dir: filepath.Join(dir, "net.d"), Fixed: file, Log: slog.New(slog.DiscardHandler)})
	if _, err := p.Conf(); !errors.Is(err, ErrNoPrimary) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "not mounted into the agent's pod") {
		t.Errorf("before its owner has written it: %v", err)
	}
	tree(t, dir, map[string]string{"net.d/05.conflist": bridgeAndPortmap,
		"multus/10-ovn.conf": `{"name":"ovn-kubernetes","cniVersion":"0.4.0","type":"ovn-k8s-cni-overlay"}`})
	if list, err := p.Conf(); err != nil || list.Name != "ovn-kubernetes" {
		t.Errorf("got %+v, %v", list, err)
	}
}

// reports 18: the primary network is a net-attach-def.
func TestPrimaryByNetAttachDef(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, map[string]string{"10.conflist": bridgeAndPortmap})
	defined := map[string]network.Definition{}
	for name, config := range map[string]string{"calico": `{"type":"calico"}`, "cbr0": ""} {
		d, err := network.ParseDefinition("kube-system", name, config, nil)
		if err != nil {
			t.Fatal(err)
		}
		defined[d.Network()] = d
	}
	defined["kube-system/sriov"] = network.Definition{Namespace: "kube-system", Name: "sriov", Resource: "example.com/vf", List: defined["kube-system/calico"].List}
	var away error
	lookUp := func(_ context.Context, namespace, name string) (network.Definition, error) {
		d, ok := defined[namespace+"/"+name]
		if !ok {
			return d, network.ErrNotFound
		}
		return d, away
	}
	of := func(fixed string) *Primary {
		return NewPrimary(Options{Dir: dir, Fixed: fixed, NetAttachDef: lookUp, Log: slog.New(slog.DiscardHandler)})
	}
	p := of("kube-system/calico")
	for _, away = range []error{nil, errors.New("no answer")} { // the last good one stays
		if list, err := p.Conf(); err != nil || !slices.Equal(types(list), []string{"calico"}) {
			t.Errorf("got %+v, %v", list, err)
		}
	}
	if _, err := of("kube-system/calico").Conf(); !errors.Is(err, ErrNoPrimary) || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("the API server is away: %v", err)
	}
	away = nil
	if list, err := of("kube-system/cbr0").Conf(); err != nil || len(list.Plugins) != 2 {
		t.Errorf("an empty spec: %+v, %v", list, err)
	}
	for fixed, want := range map[string]string{"kube-system/nosuch": "create it", "kube-system/sriov": network.DefaultNetworkAnnotation} {
		if _, err := of(fixed).Conf(); !errors.Is(err, ErrNoPrimary) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %q", fixed, err, want)
		}
	}
}
