package attach

import "context"

func (o Order) turn(ctx context.Context) error {
	if o.Turn == nil {
		return nil
	}
	return o.Turn(ctx)
}

func (o Order) last(ctx context.Context) error {
	if o.Last == nil {
		return nil
	}
	return o.Last(ctx)
}

func (o Order) made() {
	if o.Made != nil {
		o.Made()
	}
}
