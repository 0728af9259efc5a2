package bus_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

func TestEnsure(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	ctx := t.Context()
	b := s.Bus("setup")
	consumer := builds()
	for range 2 {
		if err := b.Ensure(ctx, consumer); err != nil {
			t.Fatal(err)
		}
	}
	js := s.JetStream()
	config := func(stream string) jetstream.StreamConfig {
		t.Helper()
		found, err := js.Stream(ctx, stream)
		if err != nil {
			t.Fatal(err)
		}
		return found.CachedInfo().Config
	}
	for _, name := range []string{events.StreamTags, events.StreamBuilds, events.StreamReleases, events.StreamCDN, events.StreamDead} {
		if c := config(name); !c.DenyDelete || !c.DenyPurge || c.MaxAge != 0 || c.MaxBytes > 0 || c.MaxMsgs > 0 || c.Retention != jetstream.LimitsPolicy {
			t.Errorf("%s does not keep everything: %+v", name, c)
		}
	}
	if c := config(events.StreamHooks); c.DenyDelete || c.DenyPurge || c.MaxMsgsPerSubject != 1 || c.MaxAge != 72*time.Hour || c.Discard != jetstream.DiscardOld {
		t.Errorf("HOOKS does not keep the newest about each tag for a while: %+v", c)
	}
	for stream, age := range map[string]time.Duration{"KV_" + bus.TableReports: 90 * 24 * time.Hour, "OBJ_sources": 30 * 24 * time.Hour} {
		if c := config(stream); c.MaxAge != age {
			t.Errorf("%s keeps for %s, want %s", stream, c.MaxAge, age)
		}
	}
	changed := s.Bus("setup", func(o *bus.Options) { o.Topology.LogsAge, o.Topology.SourcesAge = time.Hour, 2*time.Hour })
	if got := config("OBJ_sources").MaxAge; got != 2*time.Hour {
		t.Errorf("wanted sources to be kept for two hours, saw %s", got)
	}
	if got := config(events.StreamLogs).MaxAge; got != time.Hour {
		t.Errorf("wanted LOGS to be bounded by an hour, saw %s", got)
	}
	consumer.MaxInFlight = 5
	if err := changed.Ensure(ctx, consumer); err != nil {
		t.Fatal(err)
	}
	found, err := js.Consumer(ctx, consumer.Stream, consumer.Name)
	if err != nil || found.CachedInfo().Config.MaxAckPending != 5 {
		t.Errorf("wanted the consumer to be changed, saw %+v, %v", found, err)
	}
}

// TestNewConsumer begins with what comes after it was made.
func TestNewConsumer(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("tagwatch")
	consumer := builds()
	consumer.New = true
	ask(t, b, "v1")
	for range 2 { // made, and found
		if err := b.Ensure(t.Context(), consumer); err != nil {
			t.Fatal(err)
		}
	}
	ask(t, b, "v2")
	handled := make(chan string, 10)
	run(t, b, bus.Worker{Consumer: consumer, Handle: bus.Handle(func(_ context.Context, d request) ([]events.Fact, error) {
		handled <- d.Message.Version
		return nil, nil
	})})
	if version := within(t, handled, "the new request"); version != "v2" {
		t.Errorf("handled %s first", version)
	}
}

// TestEnsureRefuses wants to be told what differs and cannot be changed.
func TestEnsureRefuses(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	s.Bus("setup")
	err := connect(t, s, func(o *bus.Options) { o.Topology.Memory = true }).Ensure(t.Context())
	if !events.IsPermanent(err) || !strings.Contains(err.Error(), "stream TAGS has storage File, expected Memory, which NATS cannot change: set the nats section of tagship.yaml") {
		t.Errorf("wanted to be told what differs, saw %v", err)
	}
}

// TestFixed wants to be told what is missing, and nothing to be made.
func TestFixed(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	fixed := connect(t, s, func(o *bus.Options) { o.Topology.Fixed = true })
	err := fixed.Ensure(t.Context(), builds())
	if !events.IsPermanent(err) || !strings.Contains(err.Error(), "stream TAGS does not exist: run 'tagship setup' as a user who may create it") {
		t.Errorf("wanted to be told what to do, saw %v", err)
	}
	admin := s.Bus("setup")
	if err := fixed.Ensure(t.Context()); err != nil {
		t.Errorf("all is there: %v", err)
	}
	if err := fixed.Ensure(t.Context(), builds()); err == nil || !strings.Contains(err.Error(), "consumer builder of BUILDS does not exist") {
		t.Errorf("wanted to be told what is missing, saw %v", err)
	}
	if err := admin.Ensure(t.Context(), builds()); err != nil {
		t.Fatal(err)
	}
	if err := fixed.Ensure(t.Context(), builds()); err != nil {
		t.Errorf("all is there: %v", err)
	}
}

// connect connects without making anything.
func connect(t *testing.T, s *eventstest.Server, change func(*bus.Options)) *bus.Bus {
	t.Helper()
	o := bus.Options{Service: "setup", URL: s.URL(), Log: discard()}
	change(&o)
	b, err := bus.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}
