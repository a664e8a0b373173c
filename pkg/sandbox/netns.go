package sandbox

import (
	"errors"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns"
)

// identify returns the identity of a namespace that something is to be attached to. One
// that the agent cannot see is known by its path: programs on the host may see it, and a
// built-in network reports that it is not there. The host's own is refused.
func (k Kernel) identify(path string) (ledger.Netns, error) {
	ns, err := k.Identify(path)
	switch {
	case errors.Is(err, attach.ErrHostNetns):
		return ns, err
	case err != nil:
		return ledger.Netns{Path: path}, nil
	}
	return ns, nil
}

// reused reports that the path of a recorded namespace leads to another one by now:
// paths are reused, and a late release must not touch the links of their new owner. A
// record of format 1 has no identity; then only the host's own namespace counts as
// another.
func (k Kernel) reused(recorded ledger.Netns) bool {
	if recorded.Path == "" {
		return false
	}
	current, err := k.Identify(recorded.Path)
	if err != nil {
		return errors.Is(err, attach.ErrHostNetns)
	}
	return recorded.Inode != 0 && current != recorded
}

// gone reports that the recorded namespace certainly is no more. A path that cannot be
// looked at is not gone.
func (k Kernel) gone(recorded ledger.Netns) bool {
	current, err := k.Identify(recorded.Path)
	if err != nil {
		return netns.IsGone(err) || errors.Is(err, attach.ErrHostNetns)
	}
	return recorded.Inode != 0 && current != recorded
}

// same reports whether a sandbox was made for this namespace.
func same(recorded, current ledger.Netns) bool {
	if recorded.Inode == 0 {
		return recorded.Path == current.Path
	}
	return recorded == current
}
