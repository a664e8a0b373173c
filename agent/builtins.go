package agent

import (
	"context"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/cni"
	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
)

// builtins is pkg/attach as the CNI server sees it: the two declare the same
// values, and neither imports the other.
type builtins struct{ set *attach.Set }

func (b builtins) For(kind string) (cni.Attacher, bool) {
	a, ok := b.set.For(kind)
	return builtin{a}, ok
}

type builtin struct{ attach.Attacher }

func (b builtin) Prepare(ctx context.Context, r cni.AttachRequest) (ledger.Attachment, error) {
	return b.Attacher.Prepare(ctx, attach.Request(r))
}

func (b builtin) Bind(ctx context.Context, env cni.AttachEnv, a *ledger.Attachment, netns string) (*types100.Result, error) {
	return b.Attacher.Bind(ctx, attach.Env(env), a, netns)
}

func (b builtin) Release(ctx context.Context, env cni.AttachEnv, a ledger.Attachment, netns string) error {
	return b.Attacher.Release(ctx, attach.Env(env), a, netns)
}

func (b builtin) Check(ctx context.Context, env cni.AttachEnv, a ledger.Attachment, netns string) error {
	return b.Attacher.Check(ctx, attach.Env(env), a, netns)
}

// DeleteLinks deletes a sandbox's links as one group.
func (b builtins) DeleteLinks(netns string) error { return b.set.DeleteLinks(netns) }
