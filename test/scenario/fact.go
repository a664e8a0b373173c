package scenario

import (
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Fact is a claim, its measured value, and why the claim does not hold, if so.
type Fact struct {
	Claim    string
	Measured string
	Err      error
}

// Facts collects what one chapter has checked, in order.
type Facts []Fact

// check runs one measurement. The claim is a sentence about the product; the
// measurement's text goes beside it.
func (f *Facts) check(claim string, measure func() (string, error)) {
	measured, err := measure()
	*f = append(*f, Fact{Claim: claim, Measured: measured, Err: err})
}

// claim is a statement that is to be measured.
type claim struct {
	text    string
	measure func() (string, error)
}

// sideBySide measures several claims at a time. The facts are in the order of the claims.
func sideBySide(many int, claims []claim) Facts {
	facts := make(Facts, len(claims))
	var group errgroup.Group
	group.SetLimit(many)
	for i, c := range claims {
		group.Go(func() error {
			measured, err := c.measure()
			facts[i] = Fact{Claim: c.text, Measured: measured, Err: err}
			return nil // a claim that does not hold keeps no other from being measured
		})
	}
	_ = group.Wait()
	return facts
}

// Failed counts the claims that do not hold.
func (f Facts) Failed() int {
	n := 0
	for _, fact := range f {
		if fact.Err != nil {
			n++
		}
	}
	return n
}

// want returns the error of a comparison that fails.
func want[T comparable](what string, got, expected T) error {
	if got == expected {
		return nil
	}
	return fmt.Errorf("%s is %v, want %v", what, got, expected)
}
