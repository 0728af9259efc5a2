package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

type hint = events.Delivery[*events.Hook]

func hookBy(by string) *events.Hook {
	return &events.Hook{Host: "github.com", RepoID: "42", Repo: "acme/web", Tag: "v1", By: by}
}

// onHook is a worker that handles hooks.
func onHook(h func(ctx context.Context, d hint) ([]events.Fact, error)) bus.Worker {
	return bus.Worker{
		Consumer: bus.Consumer{Name: "tagwatch", Stream: events.StreamHooks, Filters: []string{events.HookReceived.All()}},
		Handle:   bus.Handle(h),
	}
}

func give(t testing.TB, b *bus.Bus, h *events.Hook) events.Stored {
	t.Helper()
	stored, err := b.Hint(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func TestHint(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("tagwatch", func(o *bus.Options) { o.Log = discard() })
	other := hookBy("ann")
	other.Tag = "v2"
	for _, h := range []*events.Hook{hookBy("ann"), other, {App: "web"}, hookBy("bob")} {
		if stored := give(t, b, h); stored.Stream != events.StreamHooks || stored.Already {
			t.Errorf("stored at %+v", stored)
		}
	}
	stream, err := s.JetStream().Stream(t.Context(), events.StreamHooks)
	if err != nil {
		t.Fatal(err)
	}
	if kept := stream.CachedInfo().State.Msgs; kept != 3 {
		t.Errorf("wanted the newest about each of 3, saw %d", kept)
	}
	if _, err := b.Hint(t.Context(), &events.Hook{Tag: "v1"}); !events.IsPermanent(err) {
		t.Errorf("a hook that says nothing: %v", err)
	}
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := b.Hint(ctx, hookBy("ann")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while NATS is away: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the answer took %s", took)
	}
}

// TestHookReplaced replaces a hook while it is worked on, or waits to be tried
// again: whatever becomes of its handling, the newer one is handled, and nothing
// is left of the older one, in the log neither.
func TestHookReplaced(t *testing.T) {
	t.Parallel()
	const ackWait = 400 * time.Millisecond
	trouble := errors.New("GitHub does not answer")
	for name, c := range map[string]struct {
		outcome error
		slow    bool // goes on for longer than AckWait after it was replaced
		waiting bool // is replaced after its handler returned
		warns   []string
		dead    int
	}{
		"done":                    {},
		"done slowly":             {slow: true},
		"skipped":                 {outcome: events.Skip("nobody watches it")},
		"snoozed":                 {outcome: events.Snooze(time.Millisecond, "not visible yet")},
		"snoozed and waiting":     {outcome: events.Snooze(time.Hour, "not visible yet"), waiting: true},
		"failed":                  {outcome: trouble, warns: []string{"failed, will be tried again"}},
		"failed slowly":           {outcome: trouble, slow: true, warns: []string{"failed, will be tried again"}},
		"failed and waiting":      {outcome: trouble, waiting: true, warns: []string{"failed, will be tried again"}},
		"given up on, as it were": {outcome: events.Permanent(trouble), warns: []string{"given up on, see 'tagship dead list'"}, dead: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := eventstest.NewServer(t)
			core, logged := observer.New(zap.WarnLevel)
			b := s.Bus("tagwatch", func(o *bus.Options) { o.Log, o.Topology.AckWait = zap.New(core), ackWait })
			record := eventstest.NewRecorder(t, b)
			handled := make(chan string, 10)
			run(t, b, onHook(func(ctx context.Context, d hint) ([]events.Fact, error) {
				handled <- fmt.Sprintf("%s, attempt %d", d.Message.By, d.Attempt)
				if d.Message.By == "bob" {
					return nil, nil
				}
				if c.waiting {
					return nil, c.outcome
				}
				if _, err := b.Hint(ctx, hookBy("bob")); err != nil {
					return nil, err
				}
				if c.slow {
					select {
					case <-time.After(2 * ackWait):
					case <-ctx.Done():
					}
				}
				return nil, c.outcome
			}))
			give(t, b, hookBy("ann"))
			if c.waiting {
				eventstest.Eventually(t, func() error { // until it was put back
					if all := b.Stats(t.Context()); len(all) == 0 || all[0].Snoozed+all[0].Retried == 0 {
						return fmt.Errorf("nothing was put back: %+v", all)
					}
					return nil
				})
				give(t, b, hookBy("bob"))
			}
			if got := within(t, handled, "the older one"); got != "ann, attempt 1" {
				t.Errorf("handled %q first", got)
			}
			got := within(t, handled, "the newer one")
			for c.waiting && strings.HasPrefix(got, "ann") { // tried again before it was replaced
				got = within(t, handled, "the newer one")
			}
			if got != "bob, attempt 1" {
				t.Errorf("handled %q after it", got)
			}
			record.Settled()
			record.Dead(c.dead)
			if retrying, err := b.Retrying(t.Context()); err != nil || len(retrying) != 0 {
				t.Errorf("wanted nothing to be tried again, saw %+v, %v", retrying, err)
			}
			select {
			case again := <-handled:
				t.Errorf("handled %q once more", again)
			default:
			}
			var warns []string
			for _, entry := range logged.All() {
				warns = append(warns, entry.Message)
			}
			if diff := cmp.Diff(c.warns, slices.Compact(warns)); diff != "" {
				t.Errorf("logged (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHookGivenUpOn makes a hook a dead letter, and replays it.
func TestHookGivenUpOn(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("tagwatch", func(o *bus.Options) { o.Log = discard() })
	record := eventstest.NewRecorder(t, b)
	handled := make(chan string, 10)
	run(t, b, onHook(func(_ context.Context, d hint) ([]events.Fact, error) {
		if d.First == d.Origin.Seq && d.Message.By == "ann" {
			return nil, events.Permanent(errors.New("the repository is too odd"))
		}
		handled <- d.Message.By
		return nil, nil
	}))
	give(t, b, hookBy("ann"))
	give(t, b, &events.Hook{App: "web", By: "ann"})
	letters := record.Dead(2)
	if letters[0].App != events.Unknown || letters[1].App != "web" {
		t.Errorf("dead letters of %s and %s", letters[0].App, letters[1].App)
	}
	give(t, b, hookBy("bob")) // newer, and replaced in turn
	if by := within(t, handled, "the newer one"); by != "bob" {
		t.Errorf("handled that of %s", by)
	}
	for _, l := range letters {
		if err := b.Replay(t.Context(), l.Seq, "ann"); err != nil {
			t.Fatal(err)
		}
		if by := within(t, handled, "the replay"); by != "ann" {
			t.Errorf("handled that of %s", by)
		}
	}
	record.Settled()
}
