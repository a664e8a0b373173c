package attach

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
)

// Prepare prepares every member of a network's chain, in order. It changes nothing:
// the attachment that it returns is durable before Add.
func (s *Set) Prepare(ctx context.Context, c Call, list network.ConfList) (ledger.Attachment, error) {
	att := ledger.Attachment{
		Network: c.Network, IfName: c.IfName, Phase: ledger.Intent, CNIVersion: list.CNIVersion,
		DisableCheck: list.DisableCheck, DisableGC: list.DisableGC, CNIArgs: c.CNIArgs, Resource: c.Resource,
	}
	c, done := s.begin(c, att)
	defer done()
	for i, plugin := range list.Plugins {
		m, err := s.prepareMember(ctx, c, list, i)
		if err != nil {
			return ledger.Attachment{}, memberError(i, len(list.Plugins), plugin.Type, err)
		}
		if holds(att, m.Device) {
			m.Device, m.Named = pci.Address{}, false // a member before it holds the device
		}
		att.Members = append(att.Members, m)
	}
	noteFallback(&att)
	return att, nil
}

func holds(att ledger.Attachment, device pci.Address) bool {
	return slices.ContainsFunc(att.Members, func(m ledger.Member) bool { return m.Device == device })
}

func (s *Set) prepareMember(ctx context.Context, c Call, list network.ConfList, i int) (ledger.Member, error) {
	fields := list.Member(i)
	conf := Conf{Type: list.Plugins[i].Type, Builtin: list.Plugins[i].Builtin, Fields: fields, Raw: fields.JSON()}
	m, err := s.Plugin(conf).Prepare(ctx, c, conf)
	if err != nil {
		return ledger.Member{}, err
	}
	m.Type, m.Config = conf.Type, conf.Raw
	m.Named = !m.Device.IsZero() && !c.gave(m.Device)
	return m, nil
}

// Add makes the members in order. Each gets the result of the one before. After an
// error everything that was made is undone, in reverse, and its members are Released.
// If that fails too, the error says so, and Del tries again.
func (s *Set) Add(ctx context.Context, c Call, att *ledger.Attachment) (*types100.Result, error) {
	c, done := s.begin(c, *att)
	defer done()
	c.Prev = nil
	for i := range att.Members {
		result, err := s.addMember(ctx, c.forMember(*att, i), &att.Members[i])
		noteFallback(att)
		if err != nil {
			return nil, s.undoAdd(ctx, c, att, i, err)
		}
		c.Prev = result
	}
	return c.Prev, nil
}

func (s *Set) addMember(ctx context.Context, c Call, m *ledger.Member) (*types100.Result, error) {
	plugin, err := s.pluginOf(*m)
	if err != nil {
		return nil, err
	}
	result, err := plugin.Add(ctx, c, m)
	if err == nil && result == nil {
		result = &types100.Result{CNIVersion: types100.ImplementedSpecVersion}
	}
	return result, err
}

// undoAdd undoes the members before the one that failed. That one has undone itself.
func (s *Set) undoAdd(ctx context.Context, c Call, att *ledger.Attachment, failed int, cause error) error {
	err := memberError(failed, len(att.Members), att.Members[failed].Type, cause)
	var incomplete *undoError
	for i := failed; i < len(att.Members); i++ {
		att.Members[i].Released = i > failed || !errors.As(cause, &incomplete)
	}
	ctx, cancel := undoContext(ctx)
	defer cancel()
	c.Prev = nil // the chain has no result
	if undoErr := s.delMembers(ctx, c, att); undoErr != nil && failed > 0 {
		return &undoError{err, undoErr}
	}
	return err
}

// Del undoes the members in reverse, from the record only. If one fails, it goes on
// with the others. It sets Released and DeviceReturned in the members.
func (s *Set) Del(ctx context.Context, c Call, att *ledger.Attachment) error {
	if att.Phase == ledger.Released {
		return nil
	}
	c, done := s.begin(c, *att)
	defer done()
	if c.Prev == nil {
		c.Prev, _ = recordedResult(*att) // better a Del without it than none
	}
	return s.delMembers(ctx, c, att)
}

func (s *Set) delMembers(ctx context.Context, c Call, att *ledger.Attachment) error {
	var errs []error
	for i := len(att.Members) - 1; i >= 0; i-- {
		m := &att.Members[i]
		if m.Released {
			continue
		}
		if err := s.delMember(ctx, c.forMember(*att, i), m); err != nil {
			errs = append(errs, memberError(i, len(att.Members), m.Type, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Set) delMember(ctx context.Context, c Call, m *ledger.Member) error {
	plugin, err := s.pluginOf(*m)
	if err != nil {
		return err
	}
	err = plugin.Del(ctx, c, m)
	m.Released = err == nil
	return err
}

// linkGroup marks the links that Fairlead makes, in pods and on the host, so that
// they can be told from others and deleted as one. chainGroup marks those in pods that
// are deleted in their turn: another member, or an IPAM program, needs them before.
// VFs are in neither.
const (
	linkGroup  = 0xfa1e
	chainGroup = 0xfa1f
)

// DeleteLinks deletes the links of a sandbox's attachments in the time of one. It is
// called before the Dels of a whole sandbox, which then find nothing left to delete.
// It leaves alone the links whose order of deletion matters.
func (s *Set) DeleteLinks(_ context.Context, atts []ledger.Attachment, ns ledger.Netns) error {
	links := 0
	for _, att := range atts {
		switch eligible, hasLink := groupable(att); {
		case hasLink && !eligible && ns.Inode == 0:
			return nil // a record of format 1, whose links are all in one group
		case hasLink && !eligible && OnPodLink(att):
			return nil // it would go with the link below it
		case eligible:
			links++
		}
	}
	if links < 2 {
		return nil
	}
	pod, err := s.kernel.At(ns)
	if netns.IsGone(err) || errors.Is(err, ErrHostNetns) {
		return nil
	}
	if err != nil {
		return err
	}
	defer pod.Close()
	return pod.DeleteGroup(linkGroup)
}

// groupable reports whether an attachment has a link that may be deleted before its
// Del: no member after it and no IPAM program needs the link.
func groupable(att ledger.Attachment) (eligible, hasLink bool) {
	if att.Phase == ledger.Released {
		return false, false
	}
	for i, m := range att.Members {
		if (m.Child != nil || m.Veth != nil) && !m.Released {
			last := i == len(att.Members)-1
			return last && !ipamIsProgram(m.IPAM), true
		}
	}
	return false, false
}

// begin completes a call by the values that all members share.
func (s *Set) begin(c Call, att ledger.Attachment) (_ Call, done func()) {
	c.version, c.IfName, c.CNIArgs = att.CNIVersion, att.IfName, att.CNIArgs
	if c.Network == "" {
		c.Network = att.Network
	}
	if c.Handles != nil {
		return c, func() {}
	}
	c.Handles = s.Open(c.Netns)
	return c, c.Handles.Close
}

func (c Call) forMember(att ledger.Attachment, i int) Call {
	c.inChain = i < len(att.Members)-1
	for _, m := range att.Members[i+1:] {
		c.program = c.program || m.Plugin == PluginBinary
	}
	return c
}

// memberError names the member if there are several.
func memberError(i, members int, pluginType string, err error) error {
	if members < 2 {
		return err
	}
	return fmt.Errorf("plugin %d of the list, %s: %w", i+1, pluginType, err)
}

// noteFallback copies the first member's fallback, which names the attachment's kind.
func noteFallback(att *ledger.Attachment) {
	if len(att.Members) > 0 && att.Members[0].Child != nil {
		att.Fallback = att.Members[0].Child.Fallback
	}
}

// recordedResult returns the chain's result. It is nil if the chain has no result.
func recordedResult(att ledger.Attachment) (*types100.Result, error) {
	if len(att.Result) == 0 {
		return nil, nil
	}
	result, err := types100.NewResult(att.Result)
	if err != nil {
		return nil, fmt.Errorf("the recorded result of %s: %w", att.Network, err)
	}
	return types100.GetResult(result)
}

// resultJSON encodes a result in the given version. It returns nil for nil.
func resultJSON(result *types100.Result, version string) (json.RawMessage, error) {
	if result == nil {
		return nil, nil
	}
	if version == "" {
		version = ledger.ResultVersion
	}
	converted, err := types.Result(result).GetAsVersion(version)
	if err != nil {
		return nil, fmt.Errorf("convert the previous result to CNI version %s: %w", version, err)
	}
	var b bytes.Buffer
	if err := converted.PrintTo(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// withPrevResult adds prevResult to a member's config, which is a JSON object without
// one. The config is not decoded for it.
func withPrevResult(conf, result json.RawMessage) json.RawMessage {
	if result == nil {
		return conf
	}
	body := bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(conf), []byte("}")))
	out := bytes.Clone(body)
	if !bytes.HasSuffix(body, []byte("{")) {
		out = append(out, ',')
	}
	out = append(out, `"prevResult":`...)
	return append(append(out, bytes.TrimSpace(result)...), '}')
}
