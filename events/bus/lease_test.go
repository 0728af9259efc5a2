package bus_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

// leaseLife is how long a lease of the kit's lives if it is not renewed.
const leaseLife = 2 * time.Second

// TestHoldExclusive lets eight race for one lease until each has held it.
func TestHoldExclusive(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	var now, most atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		b := s.Bus("releaser")
		all.Go(func() {
			eventstest.Eventually(t, func() error {
				err := b.Hold(t.Context(), "release.dev.web", func(context.Context) error {
					most.Store(max(most.Load(), now.Add(1)))
					defer now.Add(-1)
					return nil
				})
				if err != nil && !errors.Is(err, events.ErrHeld) {
					t.Error(err)
				}
				return err
			})
		})
	}
	all.Wait()
	if n := most.Load(); n != 1 {
		t.Errorf("%d held the lease at once", n)
	}
}

// TestHoldRenews holds a lease for longer than it lives unrenewed.
func TestHoldRenews(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	first, second := s.Bus("releaser"), s.Bus("releaser")
	failure := errors.New("work's own")
	err := first.Hold(t.Context(), "release.dev.web", func(ctx context.Context) error {
		for began := time.Now(); time.Since(began) < 5*leaseLife/2; {
			err := second.Hold(t.Context(), "release.dev.web", func(context.Context) error { return nil })
			mustBe(t, err, events.ErrHeld)
			if ctx.Err() != nil {
				t.Errorf("lost: %v", context.Cause(ctx))
			}
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("wanted %v, saw %v", failure, err)
	}
	if err := second.Hold(t.Context(), "release.dev.web", func(context.Context) error { return nil }); err != nil {
		t.Errorf("the lease was given back: %v", err)
	}
}

// TestHoldLost takes a lease away from its holder.
func TestHoldLost(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("releaser", func(o *bus.Options) { o.Log = discard() })
	err := b.Hold(t.Context(), "release.dev.web", func(ctx context.Context) error {
		leases, err := s.JetStream().KeyValue(t.Context(), bus.TableLeases)
		if err != nil {
			return err
		}
		if err := leases.Purge(t.Context(), "release.dev.web"); err != nil {
			return err
		}
		within(t, ctx.Done(), "the holder learns that the lease is lost")
		return context.Cause(ctx)
	})
	mustBe(t, err, events.ErrLost)
}

// TestHoldExpires cuts off a holder: it learns of it before another can hold the lease.
func TestHoldExpires(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	line := eventstest.NewLine()
	first := s.Bus("releaser", func(o *bus.Options) { o.Log = discard() }, line.Join)
	second := s.Bus("releaser")
	err := first.Hold(t.Context(), "release.dev.web", func(ctx context.Context) error {
		line.Cut()
		eventstest.Eventually(t, func() error {
			return second.Hold(t.Context(), "release.dev.web", func(context.Context) error {
				if ctx.Err() == nil {
					t.Error("two hold the lease and the first does not know it")
				}
				return nil
			})
		})
		return context.Cause(ctx)
	})
	mustBe(t, err, events.ErrLost)
}

// TestHoldPanics wants the lease to be given back even so.
func TestHoldPanics(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("releaser")
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = b.Hold(t.Context(), "release.dev.web", func(context.Context) error { panic("index out of range") })
	}()
	if err := b.Hold(t.Context(), "release.dev.web", func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
}
