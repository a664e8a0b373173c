package sandbox

import (
	"context"
	"encoding/json"
	"fmt"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

// guarded is Chains whose panics are errors.
type guarded struct{ chains Chains }

func (g guarded) prepare(ctx context.Context, c attach.Call, list network.ConfList) (_ ledger.Attachment, err error) {
	defer Recovered(&err)
	return g.chains.Prepare(ctx, c, list)
}

func (g guarded) add(ctx context.Context, c attach.Call, a *ledger.Attachment) (_ *types100.Result, err error) {
	defer Recovered(&err)
	result, err := g.chains.Add(ctx, c, a)
	if err != nil {
		return nil, err
	}
	if result == nil {
		result = &types100.Result{CNIVersion: ledger.ResultVersion}
	}
	a.Result, err = encodeResult(result)
	return result, err
}

// del undoes an attachment by its record. A recorded result that cannot be read is
// left out: better a DEL without it than none.
func (g guarded) del(ctx context.Context, c attach.Call, a *ledger.Attachment) (err error) {
	defer Recovered(&err)
	c.Prev, _ = recordedResult(*a)
	return g.chains.Del(ctx, c, a)
}

func (g guarded) check(ctx context.Context, c attach.Call, a ledger.Attachment) (err error) {
	defer Recovered(&err)
	if c.Prev, err = recordedResult(a); err != nil {
		return err
	}
	return g.chains.Check(ctx, c, a)
}

// encodeResult writes a result in the version of the record.
func encodeResult(result *types100.Result) (json.RawMessage, error) {
	converted, err := result.GetAsVersion(ledger.ResultVersion)
	if err != nil {
		return nil, fmt.Errorf("convert the result: %w", err)
	}
	return json.Marshal(converted)
}

// recordedResults reads the results of all attachments.
func recordedResults(s ledger.Sandbox) ([]*types100.Result, error) {
	results := make([]*types100.Result, len(s.Attachments))
	for i, a := range s.Attachments {
		var err error
		if results[i], err = recordedResult(a); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// recordedResult reads the result on record; nil if there is no result.
func recordedResult(a ledger.Attachment) (*types100.Result, error) {
	if len(a.Result) == 0 {
		return nil, nil
	}
	result, err := types100.NewResult(a.Result)
	if err != nil {
		return nil, fmt.Errorf("read the recorded result of %s: %w", a.Network, err)
	}
	return types100.GetResult(result)
}
