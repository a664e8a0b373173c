package attach

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// tuning is the Plugin that changes sysctls of the pod, and settings of the interface
// that a member before it has made.
type tuning struct{ set *Set }

// Prepare validates the config. The interface does not exist yet: Add reads how it was.
func (p tuning) Prepare(_ context.Context, c Call, conf Conf) (ledger.Member, error) {
	asked, written, err := parseTuning(conf.Raw, c.CNIArgs, c.IfName)
	if err != nil {
		return ledger.Member{}, err
	}
	if len(asked.Sysctls) > 0 {
		if err := checkAllowed(p.set.TuningAllowlist, written); err != nil {
			return ledger.Member{}, err
		}
	}
	return ledger.Member{Plugin: PluginTuning, Tuning: &ledger.TuningMember{Asked: asked}}, nil
}

// Add sets everything that is asked for. Its result is the one before, with MAC and MTU
// changed.
func (p tuning) Add(ctx context.Context, c Call, m *ledger.Member) (*types100.Result, error) {
	if c.Prev == nil {
		return nil, errors.New("tuning changes an interface that another plugin makes; put that one before it in the network's plugins")
	}
	at, err := p.set.enter(c)
	if err != nil {
		return nil, err
	}
	defer at.close()
	w, err := newTuningWork(at, m)
	if err != nil {
		return nil, err
	}
	if err := w.steps().run(ctx); err != nil {
		return nil, err
	}
	return w.result(), nil
}

// Del restores the original settings, as far as the interface still exists.
func (p tuning) Del(ctx context.Context, c Call, m *ledger.Member) error {
	at, err := p.set.leave(c)
	if err != nil {
		return err
	}
	defer at.close()
	if at.pod == nil {
		return nil // everything went with the namespace
	}
	w, err := newTuningWork(at, m)
	if err != nil {
		return err
	}
	return w.steps().undoAll(ctx)
}

// Check compares the settings asked for with the pod.
func (p tuning) Check(_ context.Context, c Call, m ledger.Member) error {
	at, err := p.set.enter(c)
	if err != nil {
		return err
	}
	defer at.close()
	w, err := newTuningWork(at, &m)
	if err != nil {
		return err
	}
	return w.check()
}

// tuningWork is one Add, Check or Del of tuning.
type tuningWork struct {
	at site
	m  *ledger.Member
}

func newTuningWork(at site, m *ledger.Member) (*tuningWork, error) {
	if m.Tuning == nil {
		return nil, errors.New("the record of tuning has no settings")
	}
	return &tuningWork{at, m}, nil
}

func (w *tuningWork) steps() steps {
	return steps{
		{"read the pod's settings", w.read, nil},
		{"set sysctls", w.setSysctls, w.restoreSysctls},
		{"set the interface's attributes", w.setLink, w.restoreLink},
	}
}

// read records the original of every setting that will be changed.
func (w *tuningWork) read(context.Context) error {
	asked := w.m.Tuning.Asked
	var was ledger.TuningSettings
	list, err := w.at.pod.Sysctls(sysctlKeys(asked)...)
	if err != nil {
		return err
	}
	for _, s := range list {
		if was.Sysctls == nil {
			was.Sysctls = map[string]string{}
		}
		was.Sysctls["net/"+s.key] = s.value
	}
	l, err := w.at.pod.ByName(w.at.call.IfName)
	if err != nil && (changesLink(asked) || !errors.Is(err, link.ErrNotFound)) {
		return err
	}
	if asked.MAC != "" {
		was.MAC = l.MAC
	}
	if asked.MTU != 0 {
		was.MTU = l.MTU
	}
	if asked.TxQLen != nil {
		was.TxQLen = &l.TxQLen
	}
	if asked.Promisc != nil {
		was.Promisc = &l.Promisc
	}
	if asked.AllMulti != nil {
		was.AllMulti = &l.AllMulti
	}
	w.m.Tuning.Original = was
	return nil
}

func changesLink(s ledger.TuningSettings) bool {
	return s.MAC != "" || s.MTU != 0 || s.TxQLen != nil || s.Promisc != nil || s.AllMulti != nil
}

// sysctlKeys are sorted, and below net.
func sysctlKeys(s ledger.TuningSettings) []string {
	keys := slices.Sorted(maps.Keys(s.Sysctls))
	for i, key := range keys {
		keys[i] = strings.TrimPrefix(key, "net/")
	}
	return keys
}

func sysctlsOf(s ledger.TuningSettings) []sysctl {
	var list []sysctl
	for _, key := range sysctlKeys(s) {
		list = append(list, sysctl{key, s.Sysctls["net/"+key]})
	}
	return list
}

func (w *tuningWork) setSysctls(context.Context) error {
	return w.write(sysctlsOf(w.m.Tuning.Asked))
}

// restoreSysctls leaves out those of an interface that is gone.
func (w *tuningWork) restoreSysctls(context.Context) error {
	return w.write(sysctlsOf(w.m.Tuning.Original))
}

func (w *tuningWork) write(list []sysctl) error {
	if len(list) == 0 {
		return nil
	}
	return w.at.pod.SetSysctls(list...)
}

func (w *tuningWork) setLink(ctx context.Context) error { return w.writeLink(ctx, w.m.Tuning.Asked) }

func (w *tuningWork) restoreLink(ctx context.Context) error {
	return ignoreNotFound(w.writeLink(ctx, w.m.Tuning.Original))
}

// writeLink sets those settings of the link that differ. The link may be a VF.
func (w *tuningWork) writeLink(ctx context.Context, want ledger.TuningSettings) error {
	if !changesLink(want) {
		return nil
	}
	l, err := w.at.pod.ByName(w.at.call.IfName)
	if err != nil {
		return err
	}
	busy := newPatience(w.at.set)
	if want.MAC != "" && want.MAC != l.MAC {
		if err := busy.wait(ctx, func() error { return w.at.pod.SetMAC(l.Index, want.MAC) }); err != nil {
			return err
		}
	}
	if want.MTU != 0 && want.MTU != l.MTU {
		if err := busy.wait(ctx, func() error { return w.at.pod.SetMTU(l.Index, want.MTU) }); err != nil {
			return err
		}
	}
	if want.Promisc == nil && want.AllMulti == nil && want.TxQLen == nil {
		return nil
	}
	return w.at.pod.SetAttributes(l.Index, link.Attributes{Promisc: want.Promisc, AllMulti: want.AllMulti, TxQLen: want.TxQLen})
}

// result changes a copy of the result before.
func (w *tuningWork) result() *types100.Result {
	result := *w.at.call.Prev
	result.Interfaces = slices.Clone(result.Interfaces)
	for i, iface := range result.Interfaces {
		if iface.Name != w.at.call.IfName || iface.Sandbox == "" {
			continue
		}
		tuned := *iface
		if asked := w.m.Tuning.Asked; asked.MAC != "" {
			tuned.Mac = asked.MAC
		}
		if asked := w.m.Tuning.Asked; asked.MTU != 0 {
			tuned.Mtu = asked.MTU
		}
		result.Interfaces[i] = &tuned
	}
	return &result
}

func (w *tuningWork) check() error {
	asked, ifName := w.m.Tuning.Asked, w.at.call.IfName
	list, err := w.at.pod.Sysctls(sysctlKeys(asked)...)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range list {
		if want := asked.Sysctls["net/"+s.key]; !sameSysctl(s.value, want) {
			errs = append(errs, fmt.Errorf("sysctl net.%s is %q, and was set to %q", strings.ReplaceAll(s.key, "/", "."), s.value, want))
		}
	}
	if !changesLink(asked) {
		return errors.Join(errs...)
	}
	l, err := w.at.pod.ByName(ifName)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, c := range []struct {
		what    string
		differs bool
	}{
		{"MAC", asked.MAC != "" && asked.MAC != l.MAC},
		{"MTU", asked.MTU != 0 && asked.MTU != l.MTU},
		{"transmit queue length", asked.TxQLen != nil && *asked.TxQLen != l.TxQLen},
		{"promiscuous mode", asked.Promisc != nil && *asked.Promisc != l.Promisc},
		{"all-multicast mode", asked.AllMulti != nil && *asked.AllMulti != l.AllMulti},
	} {
		if c.differs {
			errs = append(errs, fmt.Errorf("the %s of interface %s is not as tuning has set it", c.what, ifName))
		}
	}
	return errors.Join(errs...)
}

// sameSysctl compares the words: the kernel separates several by tabs.
func sameSysctl(a, b string) bool { return slices.Equal(strings.Fields(a), strings.Fields(b)) }
