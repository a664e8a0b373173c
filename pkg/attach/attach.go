package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/pci"
)

// Attacher makes one network in one sandbox.
type Attacher interface {
	// Prepare validates and reads the original state; it changes nothing.
	Prepare(ctx context.Context, r Request) (ledger.Attachment, error)
	// Bind makes the attachment. After an error everything it made is undone; if
	// that failed too, the error says so and Release tries again.
	Bind(ctx context.Context, env Env, a *ledger.Attachment, netns string) (*types100.Result, error)
	// Release undoes whatever part of the attachment exists. It may be called any
	// number of times; netns may be gone, or "". After an error the record is still
	// needed: a later Release goes on. The error is a *DeviceBackError where the
	// device is as it was and only something else, the addresses, could not be undone.
	Release(ctx context.Context, env Env, a ledger.Attachment, netns string) error
	// Check compares the attachment with how the node is now.
	Check(ctx context.Context, env Env, a ledger.Attachment, netns string) error
}

// Request is one network to attach.
type Request struct {
	SandboxID, Netns, IfName string
	Pod                      ledger.PodRef
	Network                  string
	Config                   json.RawMessage // one plugin's conf, resolved: name, deviceID, runtimeConfig, args, ipam
	CNIArgs                  string
	Resource                 string
	Device                   pci.Address
	Uplinks                  []string // host netdevs that a fallback may use, best first
}

// Env is what the record of an attachment does not hold.
type Env struct {
	SandboxID string
	Exec      invoke.Exec // runs plugin binaries on the host: an ipam that is not built in
	Path      string      // CNI_PATH

	// A pod's interfaces are to come in the order of its networks, wherever they are
	// listed by ifindex. One that is moved in gets its place as a number, Ifindex (0:
	// the kernel's choice); one that is born in the pod waits for its Turn, until
	// those before it are there. Made tells that the interface is there. Last waits
	// until the networks before this one are complete: default routes come in their
	// order, too. Each may be nil, and Bind alone uses them.
	Ifindex int
	Turn    func(context.Context) error
	Made    func()
	Last    func(context.Context) error
}

func (e Env) turn(ctx context.Context) error {
	if e.Turn == nil {
		return nil
	}
	return e.Turn(ctx)
}

func (e Env) last(ctx context.Context) error {
	if e.Last == nil {
		return nil
	}
	return e.Last(ctx)
}

func (e Env) made() {
	if e.Made != nil {
		e.Made()
	}
}

// The kinds of attachment that are built in. sriov and vfio have one plugin type,
// "sriov": the driver of the VF tells them apart.
const (
	KindSRIOV   = "sriov"
	KindVFIO    = "vfio"
	KindMacvlan = "macvlan"
	KindIPvlan  = "ipvlan"
)

// Sysfs is the part of pkg/sysfs that attaching needs.
type Sysfs interface {
	VF(pci.Address) (device.VF, error) // errors wrap fs.ErrNotExist where it is gone
	PF(pci.Address) (device.PF, error)
	Netdevs(pci.Address) ([]string, error)
}

// Deps is what a Set works with.
type Deps struct {
	Sysfs Sysfs
	// Sandboxes lists the ledger's records: a VLAN link that pods share is removed
	// with the last of them.
	Sandboxes    func() ([]ledger.Sandbox, error)
	Log          *slog.Logger
	HostLocalDir string // where host-local keeps its files; empty: where the stock plugin does
}

// Set holds the built-in attachers. Its methods may be called from several goroutines.
type Set struct {
	Deps
	kernel kernel
	pause  func(context.Context, time.Duration) error
	vlans  sync.Mutex // guards looking for, making and removing shared VLAN links
}

// New returns the built-in attachers.
func New(d Deps) *Set {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return &Set{Deps: d, kernel: linux{}, pause: pause}
}

// For finds an attacher by plugin type, or by the kind in an attachment's record.
func (s *Set) For(kind string) (Attacher, bool) {
	switch kind {
	case KindSRIOV, KindVFIO, KindMacvlan, KindIPvlan:
		return attacher{s, kind}, true
	}
	return nil, false
}

// DeleteLinks removes all links that this package made in a namespace, in the
// time of one: called before the Releases of a whole sandbox, which then find
// nothing left to delete.
func (s *Set) DeleteLinks(path string) error {
	pod, err := s.kernel.At(path)
	if netns.IsGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer pod.Close()
	return pod.DeleteGroup(linkGroup)
}

// linkGroup marks the links that Fairlead makes, in pods and on the host, so that
// they can be told from others and deleted as one. VFs are never put into it.
const linkGroup = 0xfa1e

// attacher prepares attachments of one kind; a record says itself what it is.
type attacher struct {
	*Set
	kind string
}

func (a attacher) Prepare(_ context.Context, r Request) (ledger.Attachment, error) {
	host, err := a.kernel.Host()
	if err != nil {
		return ledger.Attachment{}, err
	}
	defer host.Close()
	p := preparation{Set: a.Set, Request: r, host: host}
	switch a.kind {
	case KindMacvlan:
		return p.macvlan()
	case KindIPvlan:
		return p.ipvlan()
	default:
		return p.vf()
	}
}

func (a attacher) Bind(ctx context.Context, env Env, att *ledger.Attachment, path string) (*types100.Result, error) {
	j, err := a.open(env, att, path)
	if err != nil {
		return nil, err
	}
	defer j.close()
	if j.confErr != nil {
		return nil, j.confErr
	}
	if j.pod == nil {
		return nil, fmt.Errorf("the pod's network namespace %q is gone", path)
	}
	list, err := j.steps()
	if err != nil {
		return nil, err
	}
	if err := list.run(ctx); err != nil {
		return nil, err
	}
	return j.result, nil
}

func (a attacher) Release(ctx context.Context, env Env, att ledger.Attachment, path string) error {
	if att.Phase == ledger.Released {
		return nil
	}
	j, err := a.open(env, &att, path)
	if err != nil {
		return err
	}
	defer j.close()
	if att.DeviceBack { // it may be another pod's by now
		return j.giveBack(ctx)
	}
	list, err := j.steps()
	if err != nil {
		return err
	}
	deviceErr, addressErr := list.undoEach(ctx)
	if deviceErr == nil && addressErr != nil && !att.Device.IsZero() {
		return &DeviceBackError{addressErr}
	}
	return errors.Join(addressErr, deviceErr)
}

// DeviceBackError is a Release that gave the device back, but not all else.
type DeviceBackError struct{ Err error }

func (e *DeviceBackError) Error() string { return e.Err.Error() }
func (e *DeviceBackError) Unwrap() error { return e.Err }

// DeviceBack marks the error for those who do not know its type.
func (e *DeviceBackError) DeviceBack() bool { return true }

// preparation is one Prepare.
type preparation struct {
	*Set
	Request
	host Links
}

// attachment is the record that all kinds begin with.
func (p preparation) attachment(kind, ipamType string) ledger.Attachment {
	return ledger.Attachment{
		Network: p.Network, IfName: p.IfName, Kind: kind, Phase: ledger.Intent,
		Config: p.Config, CNIArgs: p.CNIArgs, Resource: p.Resource, IPAM: ipamType,
	}
}

// job is one Bind, Release or Check.
type job struct {
	*Set
	env     Env
	att     *ledger.Attachment
	conf    json.RawMessage // the plugin's, out of the record
	confErr error           // why there is none; a VF is released all the same
	host    Links
	pod     Links // nil: the namespace is gone
	netns   string
	result  *types100.Result
}

func (s *Set) open(env Env, att *ledger.Attachment, path string) (*job, error) {
	j := &job{Set: s, env: env, att: att, netns: path}
	j.conf, j.confErr = pluginConf(att)
	var err error
	if j.host, err = s.kernel.Host(); err != nil {
		return nil, err
	}
	j.pod, err = s.kernel.At(path)
	if netns.IsGone(err) {
		j.pod, err = nil, nil
	}
	if err != nil {
		j.host.Close()
		return nil, err
	}
	return j, nil
}

func (j *job) close() {
	j.host.Close()
	if j.pod != nil {
		j.pod.Close()
	}
}

func (j *job) steps() (steps, error) {
	switch j.att.Kind {
	case KindSRIOV, KindVFIO:
		return j.vfSteps()
	case KindMacvlan, KindIPvlan:
		return j.childSteps(), nil
	}
	return nil, fmt.Errorf("an attachment of kind %q is not built in", j.att.Kind)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
