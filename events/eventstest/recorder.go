package eventstest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
)

// Recorder reads what is recorded and waits for what is to be.
type Recorder struct {
	t   testing.TB
	bus *bus.Bus
}

// NewRecorder makes a recorder that reads through b.
func NewRecorder(t testing.TB, b *bus.Bus) *Recorder { return &Recorder{t: t, bus: b} }

// Facts returns every fact that matches a filter, oldest first.
func (r *Recorder) Facts(filter string) []events.Recorded {
	r.t.Helper()
	facts, err := r.read(r.t.Context(), filter)
	if err != nil {
		r.t.Fatal(err)
	}
	return facts
}

func (r *Recorder) read(ctx context.Context, filter string) ([]events.Recorded, error) {
	var all []events.Recorded
	for fact, err := range r.bus.Facts(ctx, filter, false) {
		if err != nil {
			return nil, err
		}
		all = append(all, fact)
	}
	return all, nil
}

// Wait waits for a fact on a subject and returns the newest one.
func (r *Recorder) Wait(subject string) events.Fact {
	r.t.Helper()
	facts := r.WaitFor(subject, "a fact", func(facts []events.Recorded) bool { return len(facts) > 0 })
	return facts[len(facts)-1].Fact
}

// WaitFor waits until the facts that match a filter are as wanted. If they do
// not become so, the test ends with what there is.
func (r *Recorder) WaitFor(filter, wanted string, ok func([]events.Recorded) bool) []events.Recorded {
	r.t.Helper()
	var last []events.Recorded
	Eventually(r.t, func() error {
		facts, err := r.read(r.t.Context(), filter)
		if err != nil {
			return err
		}
		if last = facts; ok(facts) {
			return nil
		}
		return fmt.Errorf("wanted %s on %s, saw %s", wanted, filter, r.describe(facts))
	})
	return last
}

func (r *Recorder) describe(facts []events.Recorded) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d facts", len(facts))
	for _, f := range facts {
		body, err := events.Encode(f.Fact)
		if err != nil {
			body = []byte(err.Error())
		}
		fmt.Fprintf(&b, "\n\t%s:%d %s %s", f.Fact.Kind().Stream(), f.Seq, f.Fact.Subject(), body)
	}
	for _, stream := range []string{"tag.>", "build.>", "release.>", "cdn.>"} {
		fmt.Fprintf(&b, "\n\tall of %s:", stream)
		all, err := r.read(r.t.Context(), stream)
		if err != nil {
			fmt.Fprintf(&b, " %v", err)
		}
		for _, f := range all {
			fmt.Fprintf(&b, " %s", f.Fact.Subject())
		}
	}
	return b.String()
}

// Once ends the test unless exactly one fact matches a filter, and returns it.
func (r *Recorder) Once(filter string) events.Fact {
	r.t.Helper()
	facts := r.Facts(filter)
	if len(facts) != 1 {
		r.t.Fatalf("wanted one fact on %s, saw %s", filter, r.describe(facts))
	}
	return facts[0].Fact
}

// Dead waits until there are n dead letters, and returns them.
func (r *Recorder) Dead(n int) []bus.DeadLetter {
	r.t.Helper()
	var letters []bus.DeadLetter
	Eventually(r.t, func() (err error) {
		if letters, err = r.bus.DeadLetters(r.t.Context()); err != nil {
			return err
		}
		if len(letters) != n {
			return fmt.Errorf("wanted %d dead letters, saw %d: %+v", n, len(letters), letters)
		}
		return nil
	})
	return letters
}

// Settled waits until every message of every consumer is settled.
func (r *Recorder) Settled() {
	r.t.Helper()
	Eventually(r.t, r.unsettled)
}

// unsettled tells of a consumer that has messages left. It looks twice, because
// what follows from a message may go to a consumer that was looked at before.
func (r *Recorder) unsettled() error {
	for range 2 {
		lags, err := r.bus.Lags(r.t.Context())
		if err != nil {
			return err
		}
		for _, lag := range lags {
			if lag.Waiting > 0 || lag.InWork > 0 {
				return fmt.Errorf("consumer %s of %s has %d messages waiting and %d in work", lag.Consumer, lag.Stream, lag.Waiting, lag.InWork)
			}
		}
	}
	return nil
}

// Eventually calls check until it returns nil, or ends the test with its last
// error after [Patience], or shortly before the test's own deadline.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	began := time.Now()
	deadline := began.Add(Patience)
	if d, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if last, limited := d.Deadline(); limited && last.Add(-lastWords).Before(deadline) {
			deadline = last.Add(-lastWords)
		}
	}
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %v", time.Since(began).Round(time.Millisecond), err)
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("test ended: %v", err)
		}
	}
}

// lastWords is how long before a test's deadline it must say why it fails.
const lastWords = 10 * time.Second
