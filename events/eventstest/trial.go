package eventstest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
)

// trial is one subject in one scenario.
type trial struct {
	Subject
	t       *testing.T
	server  *Server
	record  *Recorder
	observe *bus.Bus // the test's own connection, which nothing happens to
	change  func(*bus.Options)
	trigger events.Cause

	mu    sync.Mutex
	lives []string // how each life of the process went
	met   map[string]bool
}

func newTrial(t *testing.T, s Subject) *trial {
	t.Helper()
	if s.WantEffects == 0 {
		s.WantEffects = 1
	}
	server := NewServer(t)
	observer := server.Bus("observer")
	if s.Prepare != nil {
		s.Prepare(t, observer)
	}
	return &trial{Subject: s, t: t, server: server, observe: observer, record: NewRecorder(t, observer), met: map[string]bool{}}
}

// publish publishes the trigger, once more if it was published before.
func (r *trial) publish() events.Cause {
	r.t.Helper()
	switch m := r.Trigger.(type) {
	case *events.Request:
		stored, err := r.observe.Request(r.t.Context(), m)
		if err != nil {
			r.t.Fatalf("publish the trigger: %v", err)
		}
		return stored.Cause
	case *events.Hook:
		stored, err := r.observe.Hint(r.t.Context(), m)
		if err != nil {
			r.t.Fatalf("publish the trigger: %v", err)
		}
		return stored.Cause
	case events.Fact:
		if m.Head().ID == "" {
			m.Head().ID = m.Subject() + "@trigger"
		}
		if err := events.Identify(m, nil, "observer", time.Now()); err != nil {
			r.t.Fatalf("publish the trigger: %v", err)
		}
		body, err := events.Encode(m)
		if err != nil {
			r.t.Fatalf("publish the trigger: %v", err)
		}
		return r.raw(m.Subject(), body)
	}
	r.t.Fatalf("the trigger is a %T, expected a *events.Request, a *events.Hook or an events.Fact", r.Trigger)
	return events.Cause{}
}

// raw stores bytes on a subject, as "nats pub" does.
func (r *trial) raw(subject string, body []byte) events.Cause {
	r.t.Helper()
	js := r.server.JetStream()
	ack, err := js.Publish(r.t.Context(), subject, body)
	if err != nil {
		r.t.Fatalf("publish on %s: %v", subject, err)
	}
	return events.Cause{Stream: ack.Stream, Seq: ack.Sequence}
}

// first reports whether a message is met for the first time under a name.
func (r *trial) first(name string, message events.Cause) bool {
	key := name + " " + message.String()
	r.mu.Lock()
	defer r.mu.Unlock()
	met := r.met[key]
	r.met[key] = true
	return !met
}

// fault is what a process meets. Both parts may be nil.
type fault struct {
	// handle stands before every handler. It may kill the process, or stop it.
	handle func(ctx context.Context, p *process, d events.Delivery[events.Event], next bus.HandleFunc) ([]events.Fact, error)
	// sending sees what the process is about to send; true kills it before.
	sending func(p *process, s sent) bool
}

// process is one life of the service.
type process struct {
	number int // 1 for the first life
	line   *Line
	stop   context.CancelFunc // what SIGTERM does
}

// errDead is what a handler returns in a dead process; nobody sees it.
var errDead = errors.New("the process is dead")

// kill does what SIGKILL does, as far as others can see.
func (p *process) kill() ([]events.Fact, error) {
	p.line.Cut()
	return nil, errDead
}

// supervise runs replicas of the service, each in one life after another, for
// as long as the test lives: a process that ends is started again.
func (r *trial) supervise(replicas int, f fault) {
	ctx, end := context.WithCancel(context.WithoutCancel(r.t.Context()))
	var all sync.WaitGroup
	numbers := make(chan int)
	all.Go(func() {
		for n := 1; ; n++ {
			select {
			case numbers <- n:
			case <-ctx.Done():
				close(numbers)
				return
			}
		}
	})
	for range replicas {
		all.Go(func() {
			for n := range numbers {
				p := &process{number: n}
				p.line = newLine(func(s sent) bool { return f.sending != nil && f.sending(p, s) })
				ended := make(chan struct{})
				all.Go(func() {
					defer close(ended)
					err := r.live(ctx, p, f)
					r.mu.Lock()
					r.lives = append(r.lives, fmt.Sprintf("life %d ended: %v", n, err))
					r.mu.Unlock()
				})
				select {
				case <-ended:
				case <-p.line.dead: // what is left of it in here does not matter to the next one
				}
			}
		})
	}
	r.t.Cleanup(func() {
		end()
		all.Wait()
	})
}

// live is one life of a process, from its start to its death or to the end of ctx.
func (r *trial) live(ctx context.Context, p *process, f fault) error {
	ctx, p.stop = context.WithCancel(ctx)
	defer p.stop()
	b, err := r.server.connect(ctx, r.Service, func(o *bus.Options) {
		p.line.Join(o)
		if r.change != nil {
			r.change(o)
		}
	})
	if err != nil {
		return err
	}
	defer b.Close()
	ended := make(chan struct{})
	var mourner sync.WaitGroup
	mourner.Go(func() {
		select {
		case <-p.line.dead:
			b.Close() // so that nothing in here waits for the connection to come back
			p.stop()
		case <-ended:
		}
	})
	defer mourner.Wait()
	defer close(ended)
	workers := r.Workers(r.t, b)
	for i, w := range workers {
		if f.handle != nil {
			workers[i].Handle = func(ctx context.Context, d events.Delivery[events.Event]) ([]events.Fact, error) {
				return f.handle(ctx, p, d, w.Handle)
			}
		}
	}
	err = b.Run(ctx, workers...)
	if p.line.isCut() {
		return errDead
	}
	return err
}

// conclude waits until everything is settled as it must be: the outcome stated
// once, the effects as wanted, the trigger answered, and so many dead letters.
func (r *trial) conclude(dead int) {
	r.t.Helper()
	Eventually(r.t, func() error {
		if err := r.concluded(dead); err != nil {
			return fmt.Errorf("%w\n%s", err, r.story())
		}
		return nil
	})
}

func (r *trial) concluded(dead int) error {
	// First that nothing is in work, lest what is read after it changes meanwhile.
	if err := r.record.unsettled(); err != nil {
		return err
	}
	outcomes, err := r.outcomes()
	if err != nil {
		return err
	}
	if outcomes != 1 {
		return fmt.Errorf("wanted the outcome on %s once, saw it %d times", r.Outcome, outcomes)
	}
	if _, asked := r.Trigger.(*events.Request); asked {
		if err := r.answered(r.trigger); err != nil {
			return err
		}
	}
	letters, err := r.observe.DeadLetters(r.t.Context())
	if err != nil {
		return err
	}
	if len(letters) != dead {
		return fmt.Errorf("wanted %d dead letters, saw %d", dead, len(letters))
	}
	if r.Effects == nil {
		return nil
	}
	if n := r.Effects(r.t); n != r.WantEffects {
		return fmt.Errorf("wanted %d effects, saw %d", r.WantEffects, n)
	}
	return nil
}

func (r *trial) outcomes() (int, error) {
	facts, err := r.record.read(r.t.Context(), r.Outcome)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, f := range facts {
		if r.Counts == nil || r.Counts(f.Fact) {
			n++
		}
	}
	return n, nil
}

// answered checks that some fact names a message as its cause.
func (r *trial) answered(message events.Cause) error {
	for _, filter := range []string{"tag.>", "build.>", "release.>", "cdn.>"} {
		facts, err := r.record.read(r.t.Context(), filter)
		if err != nil {
			return err
		}
		for _, f := range facts {
			if cause := f.Fact.Head().Cause; cause != nil && *cause == message {
				return nil
			}
		}
	}
	return fmt.Errorf("no fact has message %s as its cause", message)
}

// story tells what was last seen.
func (r *trial) story() string {
	var b strings.Builder
	if facts, err := r.record.read(r.t.Context(), r.Outcome); err == nil {
		b.WriteString("last seen: " + r.record.describe(facts))
	}
	letters, err := r.observe.DeadLetters(r.t.Context())
	if err != nil {
		fmt.Fprintf(&b, "\ndead letters: %v", err)
	}
	for _, l := range letters {
		fmt.Fprintf(&b, "\ndead letter %d of %s: %s from %s, %s", l.Seq, l.Consumer, l.Subject, l.Origin, l.Reason)
	}
	lags, err := r.observe.Lags(r.t.Context())
	if err != nil {
		fmt.Fprintf(&b, "\nlags: %v", err)
	}
	for _, l := range lags {
		fmt.Fprintf(&b, "\nconsumer %s of %s: %d waiting, %d in work, %d retrying", l.Consumer, l.Stream, l.Waiting, l.InWork, l.Retrying)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b.WriteString("\n" + strings.Join(r.lives, "\n"))
	return b.String()
}
