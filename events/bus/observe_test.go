package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// TestTrace follows one trace from a request through the facts of two steps,
// those stated during the work included.
func TestTrace(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("builder")
	builder := onBuild(func(ctx context.Context, d request) ([]events.Fact, error) {
		if _, err := b.Publish(ctx, failedFact("v1", "during the work")); err != nil {
			return nil, err
		}
		return []events.Fact{doneFact("v1")}, nil
	})
	next := bus.Worker{
		Consumer: bus.Consumer{Name: "next", Stream: events.StreamBuilds, Filters: []string{"build.done.*.*"}},
		Handle: bus.Handle(func(ctx context.Context, d events.Delivery[*events.BuildDone]) ([]events.Fact, error) {
			return []events.Fact{&events.BuildRefused{App: "web", Version: "v1", Reason: "built"}}, nil
		}),
	}
	ctx, span := sdktrace.NewTracerProvider().Tracer("test").Start(t.Context(), "request")
	defer span.End()
	if _, err := b.Request(ctx, events.NewRequest(events.BuildRequested, "", "web", "v1", "ann")); err != nil {
		t.Fatal(err)
	}
	run(t, b, builder, next)
	eventstest.NewRecorder(t, b).Wait("build.refused.web.v1")
	stream, err := s.JetStream().Stream(t.Context(), events.StreamBuilds)
	if err != nil {
		t.Fatal(err)
	}
	want := "00-" + span.SpanContext().TraceID().String() + "-"
	for _, subject := range []string{"build.web", "build.failed.web.v1", "build.done.web.v1", "build.refused.web.v1"} {
		msg, err := stream.GetLastMsgForSubject(t.Context(), subject)
		if err != nil {
			t.Fatal(err)
		}
		if got := msg.Header.Get("Traceparent"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: wanted the trace %s…, saw %q", subject, want, got)
		}
	}
}

// TestPresence asks a service about itself, as "nats micro" does.
func TestPresence(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	registry := prometheus.NewRegistry()
	b := s.Bus("builder", func(o *bus.Options) { o.Metrics, o.Log = registry, discard() })
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ask(t, b, "v1")
	tags := bus.Worker{ // a consumer of the same name, in another stream
		Consumer: bus.Consumer{Name: "builder", Stream: events.StreamTags, Filters: []string{"tag.*"}},
		Handle:   bus.Handle(func(context.Context, request) ([]events.Fact, error) { return nil, nil }),
	}
	r := run(t, b, tags, onBuild(func(context.Context, request) ([]events.Fact, error) { return []events.Fact{doneFact("v1")}, nil }))
	eventstest.NewRecorder(t, b).Wait("build.done.web.v1")

	question := func(subject string, into any) error {
		reply, err := nc.Request(subject, nil, eventstest.Patience)
		if err != nil {
			return err
		}
		return json.Unmarshal(reply.Data, into)
	}
	eventstest.Eventually(t, func() error {
		var stats struct {
			Name      string `json:"name"`
			Endpoints []struct {
				Data []bus.Stats `json:"data"`
			} `json:"endpoints"`
		}
		var status []bus.Stats
		if err := errors.Join(question("$SRV.STATS.builder", &stats), question("svc.builder.status", &status)); err != nil {
			return err
		}
		if stats.Name != "builder" || len(stats.Endpoints) != 1 || len(stats.Endpoints[0].Data) != 2 {
			return fmt.Errorf("saw the statistics %+v", stats)
		}
		builds := status[0]
		if len(status) != 2 || builds.Stream != events.StreamBuilds || builds.Done != 1 || builds.LastDone == nil || builds.Lag == nil || *builds.Lag != 0 || *builds.AckPending != 0 {
			return fmt.Errorf("saw the status %+v", status)
		}
		return nil
	})
	wanted := `
# HELP tagship_connected 1 while NATS answers.
# TYPE tagship_connected gauge
tagship_connected{service="builder"} 1
# HELP tagship_in_flight Messages in work in this process.
# TYPE tagship_in_flight gauge
tagship_in_flight{consumer="builder",service="builder",stream="BUILDS"} 0
tagship_in_flight{consumer="builder",service="builder",stream="TAGS"} 0
# HELP tagship_messages_total Deliveries of messages, by what became of them.
# TYPE tagship_messages_total counter
tagship_messages_total{consumer="builder",outcome="done",service="builder",stream="BUILDS"} 1
tagship_messages_total{consumer="builder",outcome="done",service="builder",stream="TAGS"} 0
`
	// Every outcome has its series from the start: the first dead letter is a change.
	for _, outcome := range []string{"skipped", "snoozed", "retried", "dead", "handed_back", "unsettled"} {
		for _, stream := range []string{events.StreamBuilds, events.StreamTags} {
			wanted += fmt.Sprintf("tagship_messages_total{consumer=\"builder\",outcome=%q,service=\"builder\",stream=%q} 0\n", outcome, stream)
		}
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(wanted), "tagship_connected", "tagship_in_flight", "tagship_messages_total"); err != nil {
		t.Error(err)
	}

	r.stop()
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	eventstest.Eventually(t, func() error {
		if _, err := nc.Request("$SRV.PING.builder", nil, eventstest.Patience); !errors.Is(err, nats.ErrNoResponders) {
			return fmt.Errorf("a service that stopped must not answer, saw %v", err)
		}
		return nil
	})
	b.Close()
	b.Close()
	left, err := registry.Gather()
	if err != nil || len(left) > 0 {
		t.Errorf("metrics are left after Close: %v, %v", left, err)
	}
}

// TestLags counts what waits and what is in work.
func TestLags(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("builder")
	if err := b.Ensure(t.Context(), builds()); err != nil {
		t.Fatal(err)
	}
	lags, err := b.Lags(t.Context())
	if err != nil || len(lags) != 1 || lags[0] != (bus.Lag{Consumer: "builder", Stream: events.StreamBuilds}) {
		t.Fatalf("nothing there: saw %+v, %v", lags, err)
	}
	for range 3 {
		ask(t, b, "v1")
	}
	began, finish := make(chan struct{}, 3), make(chan struct{})
	run(t, b, onBuild(func(context.Context, request) ([]events.Fact, error) {
		began <- struct{}{}
		<-finish
		return nil, nil
	}))
	within(t, began, "the handler begins")
	lags, err = b.Lags(t.Context())
	if err != nil || lags[0].Waiting != 2 || lags[0].InWork != 1 || lags[0].Oldest <= 0 {
		t.Errorf("wanted 1 in work and 2 waiting, saw %+v, %v", lags, err)
	}
	close(finish)
	eventstest.NewRecorder(t, b).Settled()
	eventstest.Eventually(t, func() error {
		lags, err := b.Lags(t.Context())
		if err != nil || lags[0].Workers != 1 || lags[0].Oldest != 0 {
			return fmt.Errorf("wanted an idle worker, saw %+v, %v", lags, err)
		}
		return nil
	})
}
