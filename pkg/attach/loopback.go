package attach

import (
	"context"
	"errors"
	"fmt"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// loopback is the Plugin that brings up the pod's loopback interface.
type loopback struct{ set *Set }

const loopbackName = "lo"

// Prepare reads how the interface is.
func (p loopback) Prepare(_ context.Context, c Call, _ Conf) (ledger.Member, error) {
	at, err := p.set.enter(c)
	if err != nil {
		return ledger.Member{}, err
	}
	defer at.close()
	l, err := at.pod.ByName(loopbackName)
	return ledger.Member{Plugin: PluginLoopback, Loopback: &ledger.LoopbackMember{WasUp: l.Up}}, err
}

// Add brings the interface up. Behind other members, its result is the one before.
func (p loopback) Add(ctx context.Context, c Call, m *ledger.Member) (*types100.Result, error) {
	at, err := p.set.enter(c)
	if err != nil {
		return nil, err
	}
	defer at.close()
	w, err := newLoopbackWork(at, m)
	if err != nil {
		return nil, err
	}
	if err := w.steps().run(ctx); err != nil {
		return nil, err
	}
	return w.result, nil
}

// Del takes the interface down if it was down before.
func (p loopback) Del(ctx context.Context, c Call, m *ledger.Member) error {
	at, err := p.set.leave(c)
	if err != nil {
		return err
	}
	defer at.close()
	if at.pod == nil {
		return nil // it went with the namespace
	}
	w, err := newLoopbackWork(at, m)
	if err != nil {
		return err
	}
	return w.steps().undoAll(ctx)
}

// Check reports an interface that is down.
func (p loopback) Check(_ context.Context, c Call, _ ledger.Member) error {
	at, err := p.set.enter(c)
	if err != nil {
		return err
	}
	defer at.close()
	l, err := at.pod.ByName(loopbackName)
	if err == nil && !l.Up {
		err = errors.New("the loopback interface is down")
	}
	return err
}

// loopbackWork is one Add or Del of loopback.
type loopbackWork struct {
	at     site
	wasUp  bool
	result *types100.Result
}

func newLoopbackWork(at site, m *ledger.Member) (*loopbackWork, error) {
	if m.Loopback == nil {
		return nil, errors.New("the record of loopback does not say how the interface was")
	}
	return &loopbackWork{at: at, wasUp: m.Loopback.WasUp, result: at.call.Prev}, nil
}

func (w *loopbackWork) steps() steps {
	return steps{
		{"look at the loopback interface", w.judge, nil},
		{"bring up the loopback interface", w.bringUp, w.takeDown},
		{"read the loopback interface", w.read, nil},
	}
}

// judge refuses an interface with an address of another kind. It comes first: the
// kernel's own addresses stay on an interface that was up once.
func (w *loopbackWork) judge(context.Context) error {
	l, err := w.at.pod.ByName(loopbackName)
	if err != nil {
		return err
	}
	have, err := w.at.pod.Addresses(l.Index)
	for _, a := range have {
		if !a.IPNet.IP.IsLoopback() {
			return fmt.Errorf("the loopback interface has the address %s, which is no loopback address", a.IPNet.IP)
		}
	}
	return err
}

func (w *loopbackWork) bringUp(context.Context) error {
	l, err := w.at.pod.ByName(loopbackName)
	if err != nil || l.Up {
		return err
	}
	return w.at.pod.SetUp(l.Index)
}

func (w *loopbackWork) takeDown(context.Context) error {
	if w.wasUp {
		return nil
	}
	l, err := w.at.pod.ByName(loopbackName)
	if err != nil || !l.Up {
		return ignoreNotFound(err)
	}
	return w.at.pod.SetDown(l.Index)
}

// read completes the result of a chain's first member: one address of each family.
func (w *loopbackWork) read(context.Context) error {
	if w.result != nil {
		return nil
	}
	l, err := w.at.pod.ByName(loopbackName)
	if err != nil {
		return err
	}
	have, err := w.at.pod.Addresses(l.Index)
	if err != nil {
		return err
	}
	w.result = &types100.Result{CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{{Name: l.Name, Mac: device.NoMAC, Sandbox: w.at.call.Netns.Path}}}
	for _, v4 := range []bool{true, false} {
		if a, ok := firstAddress(have, v4); ok {
			w.result.IPs = append(w.result.IPs, &types100.IPConfig{Interface: new(int), Address: a.IPNet})
		}
	}
	return nil
}

func firstAddress(list []link.IPAddress, v4 bool) (link.IPAddress, bool) {
	for _, a := range list {
		if (a.IPNet.IP.To4() != nil) == v4 {
			return a, true
		}
	}
	return link.IPAddress{}, false
}
