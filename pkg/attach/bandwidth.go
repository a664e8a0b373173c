package attach

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// shaper is the Plugin bandwidth. It limits the rates of a veth pair that a member before
// it has made, at the pair's end on the host.
type shaper struct{ set *Set }

// rates are the pod's, in bits and bits a second. 0 is no limit.
type rates struct {
	IngressRate  uint64 `json:"ingressRate"` // to the pod
	IngressBurst uint64 `json:"ingressBurst"`
	EgressRate   uint64 `json:"egressRate"` // from the pod
	EgressBurst  uint64 `json:"egressBurst"`
}

// bandwidthConf is the conf of a member of type bandwidth: the stock plugin's fields.
type bandwidthConf struct {
	rates
	Runtime struct {
		Bandwidth *rates `json:"bandwidth"`
	} `json:"runtimeConfig"`
}

// parseBandwidth reads and validates the conf. Rates in the config win over the pod's.
func parseBandwidth(conf json.RawMessage) (r rates, err error) {
	var c bandwidthConf
	if err := decode(conf, &c); err != nil {
		return r, err
	}
	if r = c.rates; r == (rates{}) && c.Runtime.Bandwidth != nil {
		r = *c.Runtime.Bandwidth
	}
	var p problems
	checkRate(&p, "ingress", r.IngressRate, r.IngressBurst)
	checkRate(&p, "egress", r.EgressRate, r.EgressBurst)
	return r, p.err()
}

func checkRate(p *problems, which string, rate, burst uint64) {
	switch {
	case rate != 0 && burst == 0:
		p.add(which+"Burst", "it is not set, and %sRate is; set both", which)
	case rate == 0 && burst != 0:
		p.add(which+"Rate", "it is not set, and %sBurst is; set both", which)
	case burst/8 >= math.MaxUint32:
		p.add(which+"Burst", "%d bits are more than 4 GiB", burst)
	case rate != 0 && (rate < 8 || burst < 8):
		p.add(which+"Rate", "rate and burst are in bits, and at least 8")
	}
}

func limitOf(rate, burst uint64) link.Limit {
	return link.Limit{Rate: rate / 8, Burst: uint32(burst / 8)}
}

// Prepare chooses the name of the link by which packets from the pod take a detour.
func (p shaper) Prepare(_ context.Context, _ Call, conf Conf) (ledger.Member, error) {
	var b [6]byte
	rand.Read(b[:]) // never fails
	_, err := parseBandwidth(conf.Raw)
	return ledger.Member{Plugin: PluginBandwidth, Bandwidth: &ledger.BandwidthMember{IFB: "bwp" + hex.EncodeToString(b[:])}}, err
}

// Add sets the limits. Without one, its result is the one before.
func (p shaper) Add(ctx context.Context, c Call, m *ledger.Member) (*types100.Result, error) {
	r, err := parseBandwidth(m.Config)
	if err != nil || r == (rates{}) {
		return c.Prev, err
	}
	if c.Prev == nil {
		return nil, errors.New("bandwidth limits an interface that another plugin makes; put that one before it in the network's plugins")
	}
	at, err := p.set.enter(c)
	if err != nil {
		return nil, err
	}
	defer at.close()
	w, err := newShaperWork(at, m)
	if err != nil {
		return nil, err
	}
	w.rates = r
	result := *c.Prev
	w.result = &result
	if err := w.steps().run(ctx); err != nil {
		return nil, err
	}
	return w.result, nil
}

// Del deletes the link of the detour. The limits go with the pair.
func (p shaper) Del(ctx context.Context, c Call, m *ledger.Member) error {
	at, err := p.set.leave(c)
	if err != nil {
		return err
	}
	defer at.close()
	w, err := newShaperWork(at, m)
	if err != nil {
		return err
	}
	return w.steps().undoAll(ctx)
}

// Check compares the limits.
func (p shaper) Check(_ context.Context, c Call, m ledger.Member) error {
	r, err := parseBandwidth(m.Config)
	if err != nil || r == (rates{}) {
		return err
	}
	at, err := p.set.enter(c)
	if err != nil {
		return err
	}
	defer at.close()
	w, err := newShaperWork(at, &m)
	if err != nil {
		return err
	}
	w.rates = r
	return w.check()
}

// shaperWork is one Add, Check or Del of bandwidth.
type shaperWork struct {
	at     site
	m      *ledger.Member
	rates  rates
	port   link.Link // the pair's end on the host; zero in Del
	result *types100.Result
}

func newShaperWork(at site, m *ledger.Member) (*shaperWork, error) {
	if m.Bandwidth == nil {
		return nil, errors.New("the record of bandwidth does not name its link")
	}
	return &shaperWork{at: at, m: m}, nil
}

func (w *shaperWork) steps() steps {
	return steps{
		{"find the host's end of the interface", w.find, nil},
		{"limit the packets to the pod", w.limitIngress, w.clear},
		{"make the link for packets from the pod", w.makeIFB, w.deleteIFB},
		{"limit the packets from the pod", w.limitEgress, nil},
	}
}

// find finds the host's end by the interface. The result has to name it too: any other
// link of the host is not the pod's.
func (w *shaperWork) find(context.Context) error {
	name := w.at.call.IfName
	l, err := w.at.pod.ByName(name)
	if err != nil {
		return err
	}
	if l.Kind != "veth" || l.Parent == 0 {
		return fmt.Errorf("interface %s is no veth, which has an end on the host to limit; use max_tx_rate for a VF", name)
	}
	port, err := w.at.host.ByIndex(l.Parent)
	if err != nil && !errors.Is(err, link.ErrNotFound) {
		return err
	}
	known := slices.ContainsFunc(w.at.call.Prev.Interfaces, func(i *types100.Interface) bool { return i.Sandbox == "" && i.Name == port.Name })
	if err != nil || !known {
		return fmt.Errorf("the other end of interface %s is not on the host", name)
	}
	w.port = port
	return nil
}

func (w *shaperWork) limitIngress(context.Context) error {
	if w.rates.IngressRate == 0 {
		return nil
	}
	return w.at.host.SetLimit(w.port.Index, limitOf(w.rates.IngressRate, w.rates.IngressBurst))
}

func (w *shaperWork) clear(context.Context) error {
	if w.port.Index == 0 {
		return nil // Del: they go with the pair
	}
	return w.at.host.ClearShaping(w.port.Index)
}

func (w *shaperWork) makeIFB(context.Context) error {
	if w.rates.EgressRate == 0 {
		return nil
	}
	l, err := w.at.host.AddIFB(link.Spec{Name: w.m.Bandwidth.IFB, MTU: w.port.MTU, Group: linkGroup}, w.at.host)
	if errors.Is(err, link.ErrUnsupported) {
		return fmt.Errorf("this node's kernel has no ifb links (module missing?): %w", err)
	}
	if err != nil {
		return err
	}
	w.result.Interfaces = append(slices.Clone(w.result.Interfaces), &types100.Interface{Name: l.Name, Mac: l.MAC, Mtu: l.MTU})
	on, none := true, 0
	return w.at.host.SetAttributes(l.Index, link.Attributes{Up: &on, TxQLen: &none})
}

func (w *shaperWork) deleteIFB(context.Context) error {
	l, err := w.at.host.ByName(w.m.Bandwidth.IFB)
	if err != nil || l.Kind != "ifb" || l.Group != linkGroup {
		return ignoreNotFound(err)
	}
	return ignoreNotFound(w.at.host.Delete(l.Index))
}

func (w *shaperWork) limitEgress(context.Context) error {
	if w.rates.EgressRate == 0 {
		return nil
	}
	l, err := w.at.host.ByName(w.m.Bandwidth.IFB)
	if err != nil {
		return err
	}
	if err := w.at.host.Redirect(w.port.Index, l.Index); err != nil {
		return err
	}
	return w.at.host.SetLimit(l.Index, limitOf(w.rates.EgressRate, w.rates.EgressBurst))
}

func (w *shaperWork) check() error {
	if w.at.call.Prev == nil {
		return errors.New("the record has no result")
	}
	if err := w.find(context.Background()); err != nil {
		return err
	}
	err := w.checkLimit("to", w.port, w.rates.IngressRate, w.rates.IngressBurst)
	if w.rates.EgressRate == 0 {
		return err
	}
	l, lookErr := w.at.host.ByName(w.m.Bandwidth.IFB)
	if lookErr != nil {
		return errors.Join(err, fmt.Errorf("the link for packets from interface %s is missing", w.at.call.IfName))
	}
	return errors.Join(err, w.checkLimit("from", l, w.rates.EgressRate, w.rates.EgressBurst))
}

func (w *shaperWork) checkLimit(direction string, l link.Link, rate, burst uint64) error {
	if rate == 0 {
		return nil
	}
	has, err := w.at.host.HasLimit(l.Index, limitOf(rate, burst))
	if err == nil && !has {
		err = fmt.Errorf("the limit of packets %s interface %s is not as bandwidth has set it", direction, w.at.call.IfName)
	}
	return err
}
