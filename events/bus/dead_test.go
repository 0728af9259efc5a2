package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

// TestReplay gives up on a message in one of two consumers that get it, and
// replays it, more than once.
func TestReplay(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("builder", func(o *bus.Options) { o.Log = discard() })
	var calls, others atomic.Int32
	var first atomic.Uint64
	mended := make(chan struct{})
	worker := onBuild(func(_ context.Context, d request) ([]events.Fact, error) {
		calls.Add(1)
		first.Store(d.First)
		select {
		case <-mended:
			return []events.Fact{doneFact("v1")}, nil
		default:
			return nil, events.Permanent(errors.New("no space left"))
		}
	})
	other := onBuild(func(context.Context, request) ([]events.Fact, error) {
		others.Add(1)
		return nil, nil
	})
	other.Consumer.Name = "other"
	msg := &nats.Msg{Subject: "build.web", Data: []byte(`{"app":"web", "version":"v1"}`), Header: nats.Header{"Ticket": {"42"}}}
	if _, err := s.JetStream().PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	run(t, b, worker, other)
	record := eventstest.NewRecorder(t, b)
	letter := record.Dead(1)[0]
	if diff := cmp.Diff(bus.DeadLetter{
		Seq: 1, At: letter.At, Service: "builder", Consumer: "builder", App: "web", Subject: "build.web",
		Origin: events.Cause{Stream: events.StreamBuilds, Seq: 1}, Stored: letter.Stored, Attempts: 1, Reason: "no space left",
		Header:  nats.Header{"Ticket": {"42"}, "Traceparent": letter.Header["Traceparent"]},
		Payload: msg.Data,
	}, letter); diff != "" {
		t.Errorf("dead letter (-want +got):\n%s", diff)
	}
	if letter.Stored.IsZero() || letter.At.Before(letter.Stored) {
		t.Errorf("stored at %s, a dead letter at %s", letter.Stored, letter.At)
	}
	record.Settled()

	close(mended)
	if err := b.Replay(t.Context(), letter.Seq, "ann"); err != nil {
		t.Fatal(err)
	}
	record.Wait("build.done.web.v1")
	record.Settled()
	if first.Load() != letter.Origin.Seq {
		t.Errorf("the replayed message says that it was stored first at %d, expected %d", first.Load(), letter.Origin.Seq)
	}
	mustBe(t, b.Replay(t.Context(), letter.Seq, "bob"), events.ErrConflict)
	mustBe(t, b.Drop(t.Context(), letter.Seq, "bob"), events.ErrConflict)
	record.Settled()
	if calls.Load() != 2 || others.Load() != 1 {
		t.Errorf("wanted 2 calls and 1 of the other consumer, saw %d and %d", calls.Load(), others.Load())
	}
	letter, err := b.DeadLetter(t.Context(), letter.Seq)
	if err != nil || letter.Settled == nil || letter.Settled.Action != bus.Replayed || letter.Settled.By != "ann" {
		t.Errorf("saw %+v, %v", letter.Settled, err)
	}
}

// TestReplayInterrupted replays again after a process died between the replay
// and writing down that it was done.
func TestReplayInterrupted(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("builder", func(o *bus.Options) { o.Log = discard() })
	asked := ask(t, b, "v1")
	r := run(t, b, onBuild(func(context.Context, request) ([]events.Fact, error) {
		return nil, events.Permanent(errors.New("no space left"))
	}))
	record := eventstest.NewRecorder(t, b)
	record.Dead(1)
	r.stop()
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Replay(t.Context(), 1, "ann"); err != nil {
			t.Fatal(err)
		}
		if err := b.Table(bus.TableDead).Delete(t.Context(), "1"); err != nil {
			t.Fatal(err)
		}
	}
	last, err := b.LastSeq(t.Context(), "build.web")
	if err != nil || last != asked.Seq+1 {
		t.Errorf("wanted one message after %s, saw the last at %d, %v", asked, last, err)
	}
}

func TestDrop(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("builder", func(o *bus.Options) { o.Log = discard() })
	ask(t, b, "v1")
	run(t, b, onBuild(func(context.Context, request) ([]events.Fact, error) {
		return nil, events.Permanent(errors.New("no space left"))
	}))
	record := eventstest.NewRecorder(t, b)
	record.Dead(1)
	if err := b.Drop(t.Context(), 1, "ann"); err != nil {
		t.Fatal(err)
	}
	if l := record.Dead(1)[0]; l.Settled == nil || l.Settled.Action != bus.Dropped || l.Settled.By != "ann" || l.Settled.At.IsZero() {
		t.Errorf("saw %+v", l.Settled)
	}
	mustBe(t, b.Replay(t.Context(), 1, "bob"), events.ErrConflict)
	_, err := b.DeadLetter(t.Context(), 9)
	mustBe(t, err, events.ErrNotRecorded)
	mustBe(t, b.Replay(t.Context(), 9, "bob"), events.ErrNotRecorded)
}

// TestDeadLetterUnpublishable gives up on a message while nothing may be
// published on dead.>, and wants it to stay until something may.
func TestDeadLetterUnpublishable(t *testing.T) {
	t.Parallel()
	s, limited := restricted(t, "dead.>")
	asked := ask(t, s.Bus("admin"), "v1")
	worker := onBuild(func(context.Context, request) ([]events.Fact, error) {
		return nil, events.Permanent(errors.New("no space left"))
	})
	worker.GaveUp = func(m events.Event, reason error) []events.Fact {
		return []events.Fact{failedFact(m.(*events.Request).Version, reason.Error())}
	}
	quiet := func(o *bus.Options) { o.Log = discard() }
	b := s.Bus("builder", limited, quiet)
	r := run(t, b, worker)
	eventstest.Eventually(t, func() error {
		if all, err := b.Retrying(t.Context()); err != nil || len(all) != 1 || all[0].Failures < 2 {
			return fmt.Errorf("wanted a message to be tried again, saw %+v, %v", all, err)
		}
		return nil
	})
	r.stop()
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	admin := s.Bus("builder", quiet)
	record := eventstest.NewRecorder(t, admin)
	record.Dead(0)
	if lags, err := admin.Lags(t.Context()); err != nil || lags[0].InWork != 1 {
		t.Errorf("wanted the message to stay, saw %+v, %v", lags, err)
	}
	run(t, admin, worker)
	if l := record.Dead(1)[0]; l.Reason != "no space left" || l.Origin != asked {
		t.Errorf("saw %+v", l)
	}
	record.Settled()
	record.Once("build.failed.web.v1")
}

// TestLastWordsUnpublishable gives up on a message with a fact that can never be
// stored, and wants the dead letter none the less.
func TestLastWordsUnpublishable(t *testing.T) {
	t.Parallel()
	for name, fact := range map[string]events.Fact{
		"invalid":  failedFact("", "no version"),
		"too long": failedFact("v1", strings.Repeat("x", 600<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := eventstest.NewServer(t).Bus("builder", func(o *bus.Options) { o.Log = discard() })
			asked := ask(t, b, "v1")
			worker := onBuild(func(context.Context, request) ([]events.Fact, error) {
				return nil, events.Permanent(errors.New("no space left"))
			})
			worker.GaveUp = func(events.Event, error) []events.Fact { return []events.Fact{fact} }
			run(t, b, worker)
			if l := eventstest.NewRecorder(t, b).Dead(1)[0]; l.Reason != "no space left" || l.Origin != asked {
				t.Errorf("saw %+v", l)
			}
		})
	}
}

// TestDeadLetterWithLongHeaders gives up on a message whose headers leave no room
// for those of the dead letter.
func TestDeadLetterWithLongHeaders(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("builder", func(o *bus.Options) { o.Log = discard() })
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	msg := &nats.Msg{Subject: "build.web", Data: []byte("garbage"), Header: nats.Header{"Long": {strings.Repeat("x", 65000)}}}
	if _, err := s.JetStream().PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	run(t, b, onBuild(func(context.Context, request) ([]events.Fact, error) { return nil, errors.New("called") }))
	if l := eventstest.NewRecorder(t, b).Dead(1)[0]; string(l.Payload) != "garbage" {
		t.Errorf("saw %+v", l)
	}
}
