package bus_test

import (
	"context"
	"errors"
	"flag"
	"strings"
	"sync"
	"testing"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) {
	// These tests mostly wait. The command line, read later, comes before this.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m,
		// The server's own, which outlives a server.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/stree.init"),
	)
}

var digest = "sha256:" + strings.Repeat("a", 64)

func doneFact(version string) *events.BuildDone {
	return &events.BuildDone{
		App: "web", Version: version, Commit: strings.Repeat("1", 40), TagSeq: 1,
		Image: &events.Image{Repository: "registry.example/web", Digest: digest},
	}
}

func failedFact(version, reason string) *events.BuildFailed {
	return &events.BuildFailed{App: "web", Version: version, Reason: reason}
}

func movedFact(id string) *events.TagMoved {
	return &events.TagMoved{
		Meta: events.Meta{ID: id},
		App:  "web", Version: "v1", Tag: "v1", Repo: "git.example/web",
		Old: strings.Repeat("1", 40), New: strings.Repeat("2", 40),
	}
}

func ask(t testing.TB, b *bus.Bus, version string) events.Cause {
	t.Helper()
	stored, err := b.Request(t.Context(), events.NewRequest(events.BuildRequested, "", "web", version, "ann"))
	if err != nil {
		t.Fatal(err)
	}
	return stored.Cause
}

// builds is the consumer of requests to build.
func builds() bus.Consumer {
	return bus.Consumer{Name: "builder", Stream: events.StreamBuilds, Filters: []string{"build.*"}}
}

type (
	request  = events.Delivery[*events.Request]
	handling = func(ctx context.Context, d request) ([]events.Fact, error)
)

// onBuild is a worker that answers requests to build.
func onBuild(h handling) bus.Worker {
	return bus.Worker{Consumer: builds(), Handle: bus.Handle(h)}
}

// running is a service in work.
type running struct {
	t     testing.TB
	stop  context.CancelFunc
	ended chan struct{}
	err   error
}

// run runs workers until the test ends or stop is called.
func run(t testing.TB, b *bus.Bus, workers ...bus.Worker) *running {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &running{t: t, stop: cancel, ended: make(chan struct{})}
	var once sync.WaitGroup
	once.Go(func() {
		defer close(r.ended)
		r.err = b.Run(ctx, workers...)
	})
	t.Cleanup(func() {
		cancel()
		once.Wait()
	})
	return r
}

// wait waits for the end of Run and returns its error.
func (r *running) wait() error {
	r.t.Helper()
	within(r.t, r.ended, "Run returns")
	return r.err
}

// within waits for a channel.
func within[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), eventstest.Patience, errors.New("not in time"))
	defer cancel()
	select {
	case v := <-ch:
		return v
	case <-ctx.Done():
		t.Fatalf("%s: %v", what, context.Cause(ctx))
	}
	panic("unreachable")
}

func mustBe(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("wanted an error that wraps %q, saw %v", target, err)
	}
}

func discard() *zap.Logger { return zap.NewNop() }
