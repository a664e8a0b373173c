package kubelet

import (
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.dev/fairlead/pkg/retry"
)

// The kubelet answers 100 questions a second about pods' resources, ten at once, and
// refuses the others: it does not queue them (its package apis/podresources,
// DefaultQPS and DefaultBurstTokens). All clients of the node share that number, so
// this one takes half of it.
const (
	questionsPerSecond = 50
	questionsAtOnce    = 5
)

func newLimit() *rate.Limiter { return rate.NewLimiter(questionsPerSecond, questionsAtOnce) }

// pauseAfter returns the pause after so many refusals, shortened at random: clients
// that were refused together must not ask together again.
func pauseAfter(refusals int) time.Duration {
	pause := retry.Backoff{First: 20 * time.Millisecond, Max: 500 * time.Millisecond}.After(refusals)
	return pause/2 + rand.N(pause/2)
}

// refused reports that the kubelet has answered too many questions at this moment.
func refused(err error) bool { return status.Code(err) == codes.ResourceExhausted }
