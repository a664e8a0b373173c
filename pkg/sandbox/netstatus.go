package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

// networkStatus builds the document for the pod's annotation.
func (s *Server) networkStatus(sandbox ledger.Sandbox, results []*types100.Result) (json.RawMessage, error) {
	var attached []network.Attached
	for i, a := range sandbox.Attachments {
		info, err := s.devinfo.read(a)
		if err != nil {
			return nil, err
		}
		attached = append(attached, network.Attached{Network: a.Network, IfName: a.IfName, Primary: i == 0,
			Result: results[i], DeviceInfo: info, MTU: mtuOf(a), Fallback: fallbackOf(a)})
	}
	return network.BuildStatus(attached)
}

// mtuOf is the MTU that the record knows of; 0 for none.
func mtuOf(a ledger.Attachment) int {
	switch {
	case a.Link != nil && a.Link.MTU > 0:
		return a.Link.MTU
	case a.Applied != nil && a.Applied.MTU != nil:
		return *a.Applied.MTU
	case a.VF != nil && a.VF.MTU != nil:
		return *a.VF.MTU
	}
	return 0
}

// writeStatusSoon tries to write the status before the runtime has its answer, for
// a short time. After that the background loop goes on.
func (s *Server) writeStatusSoon(ctx context.Context, sandbox ledger.Sandbox) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusBudget)
	defer cancel()
	if err := s.setStatus(ctx, sandbox); err != nil {
		s.log.Warn("writing the network status; it will be retried", "pod", sandbox.Pod.String(), "error", err)
		s.retryLater()
		return
	}
	// Not before the reply: it is one more wait for the disk, and changes nothing.
	s.after.Go(func() { s.statusWritten(sandbox.ID, sandbox.Status) })
}

// setStatus writes the document with line breaks: users read it.
func (s *Server) setStatus(ctx context.Context, sandbox ledger.Sandbox) error {
	var text bytes.Buffer
	if err := json.Indent(&text, sandbox.Status, "", "    "); err != nil {
		return err
	}
	return s.o.Cluster.SetNetworkStatus(ctx, sandbox.Pod, text.String())
}

// statusWritten takes the status off the record. It is no promise to anybody: an
// agent that dies before writes the same status once more.
func (s *Server) statusWritten(id string, status json.RawMessage) {
	err := s.o.Ledger.UpdateSandbox(id, func(sandbox *ledger.Sandbox) error {
		if bytes.Equal(sandbox.Status, status) {
			sandbox.Status = nil
		}
		return nil
	})
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		s.log.Warn("recording that the network status is written", "sandbox", id, "error", err)
	}
}

// retryStatus writes a status that is still owed. A pod that is gone needs none.
func (s *Server) retryStatus(ctx context.Context, sandbox ledger.Sandbox) error {
	err := s.setStatus(ctx, sandbox)
	if err != nil && !errors.Is(err, network.ErrNotFound) {
		return err
	}
	s.statusWritten(sandbox.ID, sandbox.Status)
	return nil
}
