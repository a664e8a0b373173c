package sysfs

import (
	"fmt"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/pci"
)

// pending are the functions with a change that the kernel has not finished. A write that waits
// in the kernel cannot be withdrawn. A second one would wait behind it, and undo it when both
// are let through.
type pending struct {
	mu sync.Mutex // guards at
	at map[pci.Address]bool
}

func (p *pending) begin(addr pci.Address) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at[addr] {
		return false
	}
	p.at[addr] = true
	return true
}

func (p *pending) end(addr pci.Address) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.at, addr)
}

// within makes a change of a function, and gives up waiting for it with ErrBusy. The change
// then continues in the background, and no other change of the function starts until it ends.
func (f FS) within(limit time.Duration, addr pci.Address, what string, change func() error) error {
	if !f.pending.begin(addr) {
		return fmt.Errorf("%s: an earlier change of it still waits in the kernel, probably because a process has the device open: %w", what, ErrBusy)
	}
	result := make(chan error, 1)
	go func() {
		err := change()
		f.pending.end(addr)
		result <- err
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-result:
		return err
	case <-timer.C:
		return fmt.Errorf("%s: the kernel has waited for %v, probably because a process has the device open; the change completes as soon as that process ends: %w",
			what, limit, ErrBusy)
	}
}
