package attach

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/retry"
)

// Changes at the PF (trust, VLAN, MAC) have ice and i40e reset the VF. Until its driver, iavf,
// is through with that, calls to bring the netdev up or down, or to set its MTU, fail with
// EBUSY. The PF's driver answers further changes with EBUSY or EAGAIN (meta-cni C7).
const (
	busyPauses = 50
	busyPause  = 100 * time.Millisecond
)

// patience waits for a busy device, for busyPauses in all of one Add or Del.
type patience struct{ budget retry.Budget }

func newPatience(s *Set) *patience {
	return &patience{retry.Budget{Left: busyPauses, Pause: busyPause, Sleep: s.pause}}
}

// wait calls fn until the device is not busy.
func (p *patience) wait(ctx context.Context, fn func() error) error {
	err := p.budget.While(ctx, isBusy, fn)
	if isBusy(err) && p.budget.Left <= 0 {
		return fmt.Errorf("%w (and is so after %s; is the device being reset again and again?)", err, busyPauses*busyPause)
	}
	return err
}

func isBusy(err error) bool { return errors.Is(err, link.ErrBusy) }
