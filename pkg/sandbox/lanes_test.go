package sandbox

import (
	"context"
	"errors"
	"testing"
)

// S14: a namespace has its share, and no namespace takes another's; places that are
// given up, or not got, leave nothing behind.
func TestLanes(t *testing.T) {
	l := newLanes()
	full := errors.New("full")
	enter := func(namespace string) (func(), error) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(full)
		for range 100 { // a place that is free is taken though ctx has ended, sooner or later
			if leave, err := l.enter(ctx, namespace); err == nil {
				return leave, nil
			}
		}
		return nil, full
	}
	var all []func()
	for range laneWidth {
		leave, err := l.enter(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, leave)
	}
	if _, err := enter("a"); !errors.Is(err, full) {
		t.Errorf("the namespace got more than its share: %v", err)
	}
	leave, err := enter("b")
	if err != nil {
		t.Errorf("another namespace got nothing: %v", err)
	} else {
		all = append(all, leave)
	}
	for _, leave := range all {
		leave()
	}
	if len(l.lanes) != 0 || len(l.all) != 0 {
		t.Errorf("left: %d lanes, %d places", len(l.lanes), len(l.all))
	}
}
