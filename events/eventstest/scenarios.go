package eventstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
)

type scenario struct {
	name string
	run  func(*trial)
}

func scenarios() []scenario {
	return []scenario{ // those that take longest first
		{"NATS restarts in mid-work", restart},
		{"a message kills its worker every time, and is replayed", poison},
		{"killed at every publication in turn", killedAtEveryPublication},
		{"handlers slower than AckWait, with two replicas", slow},
		{"killed before each handler", killedBeforeHandler},
		{"killed between effect and publication", killedBeforePublication},
		{"killed between publication and acknowledgement", killedBeforeAcknowledgement},
		{"every message comes again after it was settled", redelivery},
		{"a dead letter cannot be published, and is replayed later", unpublishable},
		{"stopped in mid-work, without time to finish", stoppedWithoutGrace},
		{"stopped in mid-work, with time to finish", stoppedWithGrace},
		{"garbage", garbage},
		{"the trigger comes twice", duplicate},
		{"nothing happens", nothingHappens},
	}
}

// deathsAtMost keeps below what makes a message poison.
const deathsAtMost = 4

func nothingHappens(r *trial) {
	r.trigger = r.publish()
	r.supervise(1, fault{})
	r.conclude(0)
}

// redelivery lets the whole history come again, as it does when a consumer was
// reset, deleted, or restored from an old backup.
func redelivery(r *trial) {
	var calls atomic.Int32
	r.trigger = r.publish()
	r.supervise(1, fault{handle: func(ctx context.Context, p *process, d events.Delivery[events.Event], next bus.HandleFunc) ([]events.Fact, error) {
		calls.Add(1)
		return next(ctx, d)
	}})
	r.conclude(0)
	before := calls.Load()

	js := r.server.JetStream()
	lags, err := r.observe.Lags(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, lag := range lags {
		if _, err := js.ResetConsumerToSequence(r.t.Context(), lag.Stream, lag.Consumer, 1); err != nil {
			r.t.Fatalf("reset consumer %s of %s: %v", lag.Consumer, lag.Stream, err)
		}
	}
	Eventually(r.t, func() error {
		if calls.Load() == before {
			return errors.New("no message came again")
		}
		return nil
	})
	r.conclude(0)
}

func duplicate(r *trial) {
	r.trigger = r.publish()
	again := r.publish()
	r.supervise(1, fault{})
	r.conclude(0)
	late := r.publish() // when all is done
	r.conclude(0)
	if _, asked := r.Trigger.(*events.Request); !asked {
		return
	}
	for _, request := range []events.Cause{again, late} {
		if err := r.answered(request); err != nil {
			r.t.Fatalf("a repeated request is answered with a fact that says so: %v\n%s", err, r.story())
		}
	}
}

func killedBeforeHandler(r *trial) {
	r.trigger = r.publish()
	r.supervise(1, fault{handle: func(ctx context.Context, p *process, d events.Delivery[events.Event], next bus.HandleFunc) ([]events.Fact, error) {
		if p.number <= deathsAtMost && r.first("killed", d.Origin) {
			return p.kill()
		}
		return next(ctx, d)
	}})
	r.conclude(0)
	r.survived(1)
}

func killedBeforePublication(r *trial) {
	isOutcome := matches(r.Outcome)
	r.trigger = r.publish()
	r.supervise(1, fault{sending: func(p *process, s sent) bool {
		return p.number == 1 && s.count(isOutcome) > 0
	}})
	r.conclude(0)
	r.survived(1)
}

func killedBeforeAcknowledgement(r *trial) {
	isOutcome := matches(r.Outcome)
	var mu sync.Mutex
	stated := false
	r.trigger = r.publish()
	r.supervise(1, fault{sending: func(p *process, s sent) bool {
		mu.Lock()
		defer mu.Unlock()
		stated = stated || s.count(isOutcome) > 0
		return p.number == 1 && stated && s.settles()
	}})
	r.conclude(0)
	r.survived(1)
}

// killedAtEveryPublication kills the first life before its first publication,
// the second before its second one, and so on.
func killedAtEveryPublication(r *trial) {
	var mu sync.Mutex
	publications := map[int]int{}
	r.trigger = r.publish()
	r.supervise(1, fault{sending: func(p *process, s sent) bool {
		mu.Lock()
		defer mu.Unlock()
		publications[p.number] += s.count(recorded)
		return p.number <= deathsAtMost && publications[p.number] >= p.number
	}})
	r.conclude(0)
	r.survived(1)
}

// survived checks that the process died as often as it was to, else the scenario proves nothing.
func (r *trial) survived(deaths int) {
	r.t.Helper()
	Eventually(r.t, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if died := strings.Count(strings.Join(r.lives, "\n"), errDead.Error()); died < deaths {
			return fmt.Errorf("wanted at least %d deaths, saw %d: %q", deaths, died, r.lives)
		}
		return nil
	})
}

// slow holds back the outcome of every handler for longer than AckWait, with
// another replica waiting for work.
func slow(r *trial) {
	r.trigger = r.publish()
	r.supervise(2, fault{handle: func(ctx context.Context, p *process, d events.Delivery[events.Event], next bus.HandleFunc) ([]events.Fact, error) {
		facts, err := next(ctx, d)
		if r.first("held back", d.Origin) {
			select {
			case <-time.After(AckWait * 5 / 4):
			case <-ctx.Done():
			}
		}
		return facts, err
	}})
	r.conclude(0)
}

func stoppedWithGrace(r *trial) { r.stopped(Patience) }

func stoppedWithoutGrace(r *trial) { r.stopped(time.Nanosecond) }

// stopped stops the process whenever it has begun to handle another message.
func (r *trial) stopped(grace time.Duration) {
	r.change = func(o *bus.Options) { o.Grace = grace }
	r.trigger = r.publish()
	r.supervise(1, fault{handle: func(ctx context.Context, p *process, d events.Delivery[events.Event], next bus.HandleFunc) ([]events.Fact, error) {
		if r.first("stopped", d.Origin) {
			p.stop()
		}
		return next(ctx, d)
	}})
	r.conclude(0)
}

// garbage is what is published by mistake on the trigger's own subject, or on
// others like it where only the newest message of a subject is kept.
func garbage(r *trial) {
	_, replaceable := r.Trigger.(*events.Hook)
	bodies := []string{"{", "\x00\xff\xfe", `{"app":7,"version":["x"]}`, `[]`, strings.Repeat("x", 100_000)}
	var stored []events.Cause
	for i, body := range bodies {
		subject := r.Trigger.Subject()
		if replaceable {
			subject = events.HookReceived.Subject(fmt.Sprintf("garbage %d", i))
		}
		stored = append(stored, r.raw(subject, []byte(body)))
	}
	r.trigger = r.publish()
	r.supervise(1, fault{})
	dead := 0
	Eventually(r.t, func() error {
		letters, err := r.observe.DeadLetters(r.t.Context())
		if err != nil {
			return err
		}
		dead = len(letters)
		for i, cause := range stored {
			isDead := slices.ContainsFunc(letters, func(l bus.DeadLetter) bool { return l.Origin == cause })
			if err := r.answered(cause); err != nil && !isDead {
				return fmt.Errorf("garbage %.40q is neither a dead letter nor answered: %w\n%s", bodies[i], err, r.story())
			}
		}
		return nil
	})
	r.conclude(dead)
}

// poison kills the process whenever it gets the trigger, until the trigger is
// given up on, and then replays it to a process that survives it.
func poison(r *trial) {
	r.change = func(o *bus.Options) { o.Topology.AckWait = 500 * time.Millisecond }
	r.trigger = r.publish()
	r.supervise(1, fault{handle: func(ctx context.Context, p *process, d events.Delivery[events.Event], next bus.HandleFunc) ([]events.Fact, error) {
		if d.Origin == r.trigger {
			return p.kill()
		}
		return next(ctx, d)
	}})
	r.replay()
}

// replay waits for the trigger among the dead letters, and replays it.
func (r *trial) replay() {
	r.t.Helper()
	var letters []bus.DeadLetter
	Eventually(r.t, func() (err error) {
		if letters, err = r.observe.DeadLetters(r.t.Context()); err != nil {
			return err
		}
		for _, l := range letters {
			if l.Origin == r.trigger {
				return nil
			}
		}
		return fmt.Errorf("wanted a dead letter from %s\n%s", r.trigger, r.story())
	})
	for _, l := range letters {
		if err := r.observe.Replay(r.t.Context(), l.Seq, "observer"); err != nil {
			r.t.Fatalf("replay: %v", err)
		}
	}
	r.conclude(len(letters))
}

// restart stops NATS whenever a handler begins, and starts it again while the handler works.
func restart(r *trial) {
	var starting sync.WaitGroup
	r.t.Cleanup(starting.Wait)
	var mu sync.Mutex // one restart at a time
	r.trigger = r.publish()
	r.supervise(1, fault{handle: func(ctx context.Context, p *process, d events.Delivery[events.Event], next bus.HandleFunc) ([]events.Fact, error) {
		if r.first("restarted", d.Origin) {
			mu.Lock()
			r.server.Stop()
			starting.Go(func() {
				defer mu.Unlock()
				if err := r.server.start(); err != nil {
					r.t.Error(err)
				}
			})
		}
		return next(ctx, d)
	}})
	r.conclude(0)
}

// unpublishable lets DEAD refuse every message while the trigger is given up on.
func unpublishable(r *trial) {
	js := r.server.JetStream()
	stream, err := js.Stream(r.t.Context(), events.StreamDead)
	if err != nil {
		r.t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	most := config.MaxMsgSize
	limit := func(bytes int32) {
		config.MaxMsgSize = bytes
		if _, err := js.UpdateStream(r.t.Context(), config); err != nil {
			r.t.Errorf("update stream %s: %v", events.StreamDead, err)
		}
	}
	tried := make(chan struct{})
	var once sync.Once
	refused := errors.New("refused by the test")
	r.trigger = r.publish()
	r.supervise(1, fault{
		handle: func(ctx context.Context, p *process, d events.Delivery[events.Event], next bus.HandleFunc) ([]events.Fact, error) {
			if d.Origin != r.trigger {
				return next(ctx, d)
			}
			// Not before Run has made the streams ready.
			if r.first("limited", d.Origin) {
				limit(1)
			}
			return nil, events.Permanent(refused)
		},
		sending: func(_ *process, s sent) bool {
			if s.count(matches("dead.>")) > 0 {
				once.Do(func() { close(tried) })
			}
			return false
		},
	})
	select {
	case <-tried:
	case <-time.After(Patience):
		r.t.Fatalf("no dead letter was tried within %s\n%s", Patience, r.story())
	}
	Eventually(r.t, func() error {
		attempts, err := r.observe.Retrying(r.t.Context())
		if err == nil && len(attempts) == 0 {
			err = errors.New("nothing is to be tried again, though the dead letter could not be published")
		}
		return err
	})
	if r.record.unsettled() == nil {
		r.t.Fatalf("the trigger is settled, though it was neither handled nor made a dead letter\n%s", r.story())
	}
	limit(most)
	r.replay()
}
