package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

// TestOutcomes lets handlers end in every way there is.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	fail := errors.New("the registry does not answer")
	for _, c := range []struct {
		name    string
		handle  func(d request) ([]events.Fact, error) // of every attempt
		calls   int
		facts   int
		dead    string // the reason, if it is given up on
		counted bus.Stats
	}{
		{
			name:   "done",
			handle: func(request) ([]events.Fact, error) { return []events.Fact{failedFact("v1", "exit 1")}, nil },
			calls:  1, facts: 1, counted: bus.Stats{Done: 1},
		}, {
			name: "skip, with a fact",
			handle: func(request) ([]events.Fact, error) {
				return []events.Fact{failedFact("v1", "exit 1")}, events.Skip("built before")
			},
			calls: 1, facts: 1, counted: bus.Stats{Skipped: 1},
		}, {
			name: "snooze twice, then done",
			handle: func(d request) ([]events.Fact, error) {
				if d.Attempt < 3 {
					return nil, events.Snooze(10*time.Millisecond, "somebody else builds it")
				}
				return []events.Fact{doneFact("v1")}, nil
			},
			calls: 3, facts: 1, counted: bus.Stats{Snoozed: 2, Done: 1},
		}, {
			name: "a permanent error, with a fact",
			handle: func(request) ([]events.Fact, error) {
				return []events.Fact{failedFact("v1", "exit 1")}, events.Permanent(fail)
			},
			calls: 1, facts: 2, dead: fail.Error(), counted: bus.Stats{Failed: 1, Dead: 1},
		}, {
			name: "an error once, then done",
			handle: func(d request) ([]events.Fact, error) {
				if d.Attempt == 1 {
					return nil, fail
				}
				return []events.Fact{doneFact("v1")}, nil
			},
			calls: 2, facts: 1, counted: bus.Stats{Failed: 1, Retried: 1, Done: 1},
		}, {
			name: "a panic once, then done",
			handle: func(d request) ([]events.Fact, error) {
				if d.Attempt == 1 {
					panic("index out of range")
				}
				return []events.Fact{doneFact("v1")}, nil
			},
			calls: 2, facts: 1, counted: bus.Stats{Failed: 1, Retried: 1, Done: 1},
		}, {
			name:   "errors until it is too old",
			handle: func(request) ([]events.Fact, error) { return nil, fail },
			calls:  3, facts: 1, dead: fail.Error(), counted: bus.Stats{Failed: 3, Retried: 2, Dead: 1},
		}, {
			name: "a fact that cannot be stored",
			handle: func(request) ([]events.Fact, error) {
				return []events.Fact{failedFact("v1", "")}, nil
			},
			calls: 1, facts: 1, dead: "encode build.failed: reason is missing", counted: bus.Stats{Failed: 1, Dead: 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := eventstest.NewServer(t).Bus("builder", func(o *bus.Options) { o.Log = discard() })
			record := eventstest.NewRecorder(t, b)
			var calls atomic.Int32
			worker := onBuild(func(_ context.Context, d request) ([]events.Fact, error) {
				calls.Add(1)
				return c.handle(d)
			})
			worker.GiveUp = time.Millisecond
			worker.GaveUp = func(m events.Event, reason error) []events.Fact {
				r := m.(*events.Request)
				return []events.Fact{&events.BuildRefused{App: r.App, Version: r.Version, Reason: reason.Error()}}
			}
			asked := ask(t, b, "v1")
			run(t, b, worker)
			var facts []events.Recorded
			eventstest.Eventually(t, func() error {
				if facts = record.Facts("build.>"); len(facts) < c.facts {
					return fmt.Errorf("wanted %d facts, saw %d after %d calls", c.facts, len(facts), calls.Load())
				}
				return nil
			})
			record.Settled()
			if n := int(calls.Load()); n != c.calls {
				t.Errorf("wanted %d calls, saw %d", c.calls, n)
			}
			if facts = record.Facts("build.>"); len(facts) != c.facts {
				t.Errorf("wanted %d facts, saw %d", c.facts, len(facts))
			}
			for _, f := range facts {
				if cause := f.Fact.Head().Cause; cause == nil || *cause != asked {
					t.Errorf("%s: wanted the cause %s, saw %v", f.Fact.Subject(), asked, cause)
				}
			}
			if c.dead == "" {
				record.Dead(0)
			} else if l := record.Dead(1)[0]; l.Reason != c.dead || l.Origin != asked || l.Attempts != c.calls {
				t.Errorf("wanted a dead letter because %q, saw %+v", c.dead, l)
			}
			var counted bus.Stats
			eventstest.Eventually(t, func() error {
				counted = b.Stats(t.Context())[0]
				if counted.InFlight > 0 {
					return errors.New("still in work")
				}
				return nil
			})
			c.counted.Consumer, c.counted.Stream = "builder", events.StreamBuilds
			counted.LastDone, counted.Lag, counted.AckPending = nil, nil, nil
			if counted != c.counted {
				t.Errorf("wanted the numbers %+v, saw %+v", c.counted, counted)
			}
			eventstest.Eventually(t, func() error {
				if left, err := b.Table(bus.TableAttempts).All(t.Context(), ""); err != nil || len(left) > 0 {
					return fmt.Errorf("attempts are left in the table: %v, %v", left, err)
				}
				return nil
			})
		})
	}
}

// TestRetrying sees a failed message in the table of those to be tried again.
func TestRetrying(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("builder", func(o *bus.Options) { o.Log = discard() })
	ask(t, b, "v1")
	run(t, b, onBuild(func(context.Context, request) ([]events.Fact, error) {
		return nil, errors.New("the registry\n does not answer")
	}))
	eventstest.Eventually(t, func() error {
		all, err := b.Retrying(t.Context())
		if err != nil || len(all) != 1 || all[0].Failures < 2 {
			return fmt.Errorf("wanted a message that failed twice, saw %+v, %v", all, err)
		}
		if a := all[0]; a.Consumer != "builder" || a.Subject != "build.web" || a.Error != "the registry does not answer" || a.Next.IsZero() {
			t.Errorf("saw %+v", a)
		}
		return nil
	})
	lags, err := b.Lags(t.Context())
	if err != nil || len(lags) != 1 || lags[0].InWork != 1 || lags[0].Retrying != 1 || lags[0].Oldest <= 0 {
		t.Errorf("wanted one message in work and to be retried, saw %+v, %v", lags, err)
	}
}

// TestMalformed wants requests that make no sense to be answered.
func TestMalformed(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("builder", func(o *bus.Options) { o.Log = discard() })
	worker := onBuild(func(context.Context, request) ([]events.Fact, error) { return nil, errors.New("called") })
	worker.Malformed = func(subject string, body []byte, err error) events.Fact {
		r, _ := events.ParseRequest(subject, body)
		return &events.BuildRefused{App: r.App, Version: r.Version, Reason: err.Error()}
	}
	for _, body := range []string{"web", `{"app":"api","version":"v1"}`} {
		if _, err := s.JetStream().Publish(t.Context(), "build.web", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	run(t, b, worker)
	record := eventstest.NewRecorder(t, b)
	facts := record.WaitFor("build.refused.>", "two answers", func(facts []events.Recorded) bool { return len(facts) == 2 })
	for i, reason := range []string{`expected for example {"app":"web"`, "the subject says"} {
		if f := facts[i].Fact.(*events.BuildRefused); f.App != "web" || !strings.Contains(f.Reason, reason) {
			t.Errorf("wanted a reason with %q, saw %+v", reason, f)
		}
	}
	record.Settled()
	record.Dead(0)
}

// TestMalformedPanics wants a message whose very refusal panics to be tried
// again like any other, and to kill nobody.
func TestMalformedPanics(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("builder", func(o *bus.Options) { o.Log = discard() })
	worker := onBuild(func(context.Context, request) ([]events.Fact, error) { return nil, errors.New("called") })
	worker.Malformed = func(string, []byte, error) events.Fact { panic("cannot be refused") }
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.JetStream().Publish(t.Context(), "build.web", []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	run(t, b, worker)
	eventstest.Eventually(t, func() error {
		if all, err := b.Retrying(t.Context()); err != nil || len(all) != 1 || !strings.Contains(all[0].Error, "cannot be refused") {
			return fmt.Errorf("wanted a message to be tried again, saw %+v, %v", all, err)
		}
		return nil
	})
}

// TestPoison lets a message kill five workers.
func TestPoison(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	short := func(o *bus.Options) { o.Topology.AckWait, o.Log = 500*time.Millisecond, discard() }
	asked := ask(t, s.Bus("admin"), "v1")
	for range 5 {
		line := eventstest.NewLine()
		b := s.Bus("builder", short, line.Join)
		died := make(chan struct{})
		r := run(t, b, onBuild(func(context.Context, request) ([]events.Fact, error) {
			line.Cut()
			close(died)
			return nil, errors.New("dead")
		}))
		within(t, died, "the message comes again")
		b.Close()
		if err := r.wait(); err == nil {
			t.Error("Run returned no error though its connection was closed")
		}
	}
	b := s.Bus("builder", short)
	run(t, b, onBuild(func(context.Context, request) ([]events.Fact, error) { return nil, errors.New("called") }))
	if l := eventstest.NewRecorder(t, b).Dead(1)[0]; l.Reason != "killed its worker 5 times" || l.Origin != asked || l.Attempts != 6 {
		t.Errorf("saw %+v", l)
	}
}

// TestStop asks a service to stop while it works, with time to finish.
func TestStop(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("builder", func(o *bus.Options) { o.Grace = eventstest.Patience })
	ask(t, b, "v1")
	began, finish := make(chan struct{}), make(chan struct{})
	r := run(t, b, onBuild(func(ctx context.Context, d request) ([]events.Fact, error) {
		close(began)
		<-finish
		return []events.Fact{doneFact("v1")}, ctx.Err()
	}))
	within(t, began, "the handler begins")
	r.stop()
	late := ask(t, b, "v2") // is not begun any more
	close(finish)
	if err := r.wait(); err != nil {
		t.Errorf("stopping is no failure, saw %v", err)
	}
	eventstest.NewRecorder(t, b).Once("build.done.web.v1")
	lags, err := b.Lags(t.Context())
	if err != nil || lags[0].Waiting+uint64(lags[0].InWork) != 1 {
		t.Errorf("wanted only %s to wait, saw %+v, %v", late, lags, err)
	}
}

// TestHandBack asks a service to stop that cannot finish in time. With an AckWait
// of a minute, another gets the message in time only if it was handed back.
func TestHandBack(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	minute := func(o *bus.Options) {
		o.Grace, o.Topology.AckWait, o.Log = 10*time.Millisecond, 2*eventstest.Patience, discard()
	}
	first, second := s.Bus("builder", minute), s.Bus("builder", minute)
	ask(t, first, "v1")
	began, cause := make(chan struct{}), make(chan error, 1)
	r := run(t, first, onBuild(func(ctx context.Context, d request) ([]events.Fact, error) {
		close(began)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return nil, ctx.Err()
	}))
	within(t, began, "the handler begins")
	r.stop()
	mustBe(t, within(t, cause, "the handler is told to stop"), events.ErrShutdown)
	if err := r.wait(); err != nil {
		t.Errorf("stopping is no failure, saw %v", err)
	}
	again := make(chan int, 1)
	run(t, second, onBuild(func(_ context.Context, d request) ([]events.Fact, error) {
		again <- d.Attempt
		return nil, nil
	}))
	if attempt := within(t, again, "another gets the message"); attempt != 2 {
		t.Errorf("wanted the second attempt, saw %d", attempt)
	}
}

// TestStopWhileAway wants a service to stop in time though NATS does not answer.
func TestStopWhileAway(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("builder", func(o *bus.Options) { o.Grace, o.Log = 10*time.Millisecond, discard() })
	ask(t, b, "v1")
	began, finish := make(chan struct{}), make(chan struct{})
	r := run(t, b, onBuild(func(context.Context, request) ([]events.Fact, error) {
		close(began)
		<-finish
		return []events.Fact{doneFact("v1")}, nil
	}))
	within(t, began, "the handler begins")
	s.Stop()
	close(finish)
	stopped := time.Now()
	r.stop()
	if err := r.wait(); err != nil {
		t.Errorf("stopping is no failure, saw %v", err)
	}
	if took := time.Since(stopped); took > 15*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

// TestStopWithOutputWhileAway wants a service to stop in time though it has
// output that NATS does not take.
func TestStopWithOutputWhileAway(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("builder", func(o *bus.Options) { o.Grace, o.Log = 10*time.Millisecond, discard() })
	ask(t, b, "v1")
	began := make(chan struct{})
	r := run(t, b, onBuild(func(ctx context.Context, _ request) ([]events.Fact, error) {
		output := b.Log("web", "v1")
		close(began)
		<-ctx.Done()
		fmt.Fprintln(output, "stopped")
		return nil, errors.Join(context.Cause(ctx), output.Close())
	}))
	within(t, began, "the handler begins")
	s.Stop()
	stopped := time.Now()
	r.stop()
	if err := r.wait(); err != nil {
		t.Errorf("stopping is no failure, saw %v", err)
	}
	if took := time.Since(stopped); took > 15*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

// TestSlow holds messages for longer than AckWait: heartbeats keep them.
func TestSlow(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	ask(t, s.Bus("admin"), "v1")
	var calls atomic.Int32
	worker := onBuild(func(ctx context.Context, d request) ([]events.Fact, error) {
		calls.Add(1)
		<-time.After(2 * eventstest.AckWait)
		return []events.Fact{doneFact("v1")}, nil
	})
	for range 2 {
		run(t, s.Bus("builder"), worker)
	}
	record := eventstest.NewRecorder(t, s.Bus("observer"))
	record.Wait("build.done.web.v1")
	record.Settled()
	if n := calls.Load(); n != 1 {
		t.Errorf("wanted one call, saw %d", n)
	}
}

// TestSlowOutcome stores an outcome for longer than AckWait, while the next
// message is here already: that is handled once all the same.
func TestSlowOutcome(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("builder", func(o *bus.Options) { o.Topology.AckWait, o.Log = 500*time.Millisecond, discard() })
	var second atomic.Int64
	worker := onBuild(func(_ context.Context, d request) ([]events.Fact, error) {
		if d.Message.Version == "v1" {
			return nil, events.Permanent(errors.New("no space left"))
		}
		second.Add(1)
		return []events.Fact{doneFact(d.Message.Version)}, nil
	})
	worker.GaveUp = func(events.Event, error) []events.Fact {
		<-time.After(2 * time.Second) // stands for NATS that is slow to store
		return nil
	}
	ask(t, b, "v1")
	ask(t, b, "v2")
	run(t, b, worker)
	record := eventstest.NewRecorder(t, b)
	record.WaitFor("build.done.>", "the second", func(facts []events.Recorded) bool { return len(facts) == 1 })
	record.Settled()
	if n := second.Load(); n != 1 {
		t.Errorf("the second message was handled %d times", n)
	}
}

func TestSlots(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("builder")
	const slots = 3
	var together sync.WaitGroup
	together.Add(slots)
	worker := onBuild(func(context.Context, request) ([]events.Fact, error) {
		together.Done()
		together.Wait() // returns only if all slots are in work at once
		return nil, nil
	})
	worker.Slots = slots
	for range slots {
		ask(t, b, "v1")
	}
	run(t, b, worker)
	all := make(chan struct{})
	go func() {
		together.Wait()
		close(all)
	}()
	within(t, all, "as many handlers run at once as there are slots")
	eventstest.NewRecorder(t, b).Settled()
}

func TestMaxInFlight(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	var now, most, done atomic.Int32
	worker := onBuild(func(context.Context, request) ([]events.Fact, error) {
		most.Store(max(most.Load(), now.Add(1)))
		<-time.After(20 * time.Millisecond)
		now.Add(-1)
		done.Add(1)
		return nil, nil
	})
	worker.Slots, worker.Consumer.MaxInFlight = 3, 1
	for range 10 {
		ask(t, s.Bus("admin"), "v1")
	}
	for range 2 {
		run(t, s.Bus("builder"), worker)
	}
	eventstest.Eventually(t, func() error {
		if n := done.Load(); n != 10 {
			return fmt.Errorf("%d of 10 are done", n)
		}
		return nil
	})
	if n := most.Load(); n != 1 {
		t.Errorf("wanted one at a time, saw %d", n)
	}
}

// TestConsumerDeleted deletes the consumer of a worker.
func TestConsumerDeleted(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("builder", func(o *bus.Options) { o.Log = discard() })
	run(t, b, onBuild(func(_ context.Context, d request) ([]events.Fact, error) {
		return []events.Fact{doneFact(d.Message.Version)}, nil
	}))
	record := eventstest.NewRecorder(t, b)
	ask(t, b, "v1")
	record.Wait("build.done.web.v1")
	if err := s.JetStream().DeleteConsumer(t.Context(), events.StreamBuilds, "builder"); err != nil {
		t.Fatal(err)
	}
	ask(t, b, "v2")
	record.Wait("build.done.web.v2")
	record.Once("build.done.web.v1") // though its request may come again
}

// TestWorkerFails wants all workers to stop when one cannot go on.
func TestWorkerFails(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	tags := bus.Worker{
		Consumer: bus.Consumer{Name: "builder", Stream: events.StreamTags, Filters: []string{"tag.*"}},
		Handle:   bus.Handle(func(context.Context, request) ([]events.Fact, error) { return nil, nil }),
	}
	worked := make(chan struct{}, 1)
	requests := onBuild(func(context.Context, request) ([]events.Fact, error) {
		worked <- struct{}{}
		return nil, nil
	})
	admin := s.Bus("admin")
	if err := admin.Ensure(t.Context(), tags.Consumer, requests.Consumer); err != nil {
		t.Fatal(err)
	}
	r := run(t, s.Bus("builder", func(o *bus.Options) { o.Topology.Fixed = true }), tags, requests)
	ask(t, admin, "v1")
	within(t, worked, "it works")
	if err := s.JetStream().DeleteConsumer(t.Context(), events.StreamTags, "builder"); err != nil {
		t.Fatal(err)
	}
	if err := r.wait(); err == nil || !strings.Contains(err.Error(), "consumer builder of TAGS does not exist: run 'tagship setup'") {
		t.Errorf("wanted to be told what to do, saw %v", err)
	}
}

// TestOtherMessage gives a handler a message of a type that it does not take.
func TestOtherMessage(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("releaser", func(o *bus.Options) { o.Log = discard() })
	worker := onBuild(func(context.Context, request) ([]events.Fact, error) { return nil, nil })
	worker.Consumer.Filters = []string{"build.done.*.*"}
	if _, err := b.Publish(t.Context(), doneFact("v1")); err != nil {
		t.Fatal(err)
	}
	run(t, b, worker)
	if l := eventstest.NewRecorder(t, b).Dead(1)[0]; l.Reason != "build.done on build.done.web.v1 is no message for this worker" || l.App != "web" {
		t.Errorf("saw %+v", l)
	}
}
