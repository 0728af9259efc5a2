package watch

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"
)

// longestPause is between two looks at a repository that keeps failing.
const longestPause = 10 * time.Minute

// Run looks at every repository again and again until ctx ends. It always
// returns nil: a look's failure is the app's status and a line in the log.
//
// Repositories that answer and repositories that failed last time have places of
// their own, so those that hang until they time out never hold up the others.
func (w *Watcher) Run(ctx context.Context) error {
	healthy, failing := make(chan struct{}, w.Parallel), make(chan struct{}, w.Parallel)
	var loops sync.WaitGroup
	for _, a := range w.apps {
		loops.Go(func() {
			w.loop(ctx, a, healthy, failing)
		})
	}
	loops.Wait()
	return nil
}

func (w *Watcher) loop(ctx context.Context, a *watched, healthy, failing chan struct{}) {
	pauses := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(w.Interval),
		backoff.WithMultiplier(2),
		backoff.WithMaxInterval(max(longestPause, w.Interval)),
		backoff.WithMaxElapsedTime(0),
	)
	places, pause := healthy, time.Duration(0)
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		_, err := w.look(ctx, a, ask{})
		<-places
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			pauses.Reset()
			places, pause = healthy, jitter(w.Interval)
		default:
			places, pause = failing, pauses.NextBackOff()
			a.log.Warn("look failed", zap.Error(err), zap.Duration("again_in", pause))
		}
	}
}

// jitter spreads the looks of many apps: a tenth more or less.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}
