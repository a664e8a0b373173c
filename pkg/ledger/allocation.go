package ledger

// PutAllocations records devices that the kubelet is about to get, all of them or
// nothing. It fails with *HeldError if a sandbox holds one under another resource, or has
// named it. It fails with *UplinkError if a pod has links on one.
func (l *Ledger) PutAllocations(allocations []Allocation) error {
	return l.w.update(func(b *batch) error {
		for _, a := range allocations {
			if err := b.index.checkAllocation(a); err != nil {
				return err
			}
		}
		for _, a := range allocations {
			if err := b.putAllocation(a); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteAllocations removes allocations. A missing allocation is not an error. An
// allocation that was made again after the caller has read it stays.
func (l *Ledger) DeleteAllocations(stale []Allocation) error {
	return l.w.update(func(b *batch) error {
		for _, a := range stale {
			now := b.allocation(a.Device)
			if now == nil || !now.At.Equal(a.At) {
				continue
			}
			if err := b.deleteAllocation(a.Device); err != nil {
				return err
			}
		}
		return nil
	})
}
