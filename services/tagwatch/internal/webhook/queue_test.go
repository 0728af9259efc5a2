package webhook

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
	"go.uber.org/zap/zaptest"
)

// TestStoredBeforeAnswered reads from the queue right after each answer, and
// then takes the queue away.
func TestStoredBeforeAnswered(t *testing.T) {
	t.Parallel()
	server := eventstest.NewServer(t)
	b := server.Bus("tagwatch")
	if err := b.Ensure(t.Context(), bus.Consumer{Name: "tagwatch", Stream: events.StreamHooks, Filters: []string{events.HookReceived.All()}}); err != nil {
		t.Fatal(err)
	}
	options := Options{
		Store: func(ctx context.Context, hook *events.Hook) error { _, err := b.Hint(ctx, hook); return err },
		Count: func(string, string) {},
		Log:   zaptest.NewLogger(t),
	}
	g := NewGitHub([]Host{{Name: "github.com", Secrets: []string{secret}}}, everythingButNobody, options)
	l := NewLook(nil, func(string) bool { return true }, options)
	push := pushOf("refs/tags/v1.2.3", `"created":true`)
	accepted := func(h http.Handler, call func() *http.Request) {
		t.Helper()
		eventstest.Eventually(t, func() error { // on a busy machine a second may be too short, which is answered 503
			if answer := answerOf(h, call()); answer.Code != http.StatusAccepted {
				return fmt.Errorf("answered %d: %s", answer.Code, answer.Body)
			}
			return nil
		})
	}
	delivered := func() *http.Request { return newDelivery(t, "push", push) }
	accepted(g, delivered)
	accepted(g, delivered) // a redelivery is the same hint
	accepted(l, func() *http.Request { return newLook(t, "web", "") })
	want := &events.Hook{Host: "github.com", RepoID: "4711", Repo: "acme/web", Tag: "v1.2.3", By: "ann", Delivery: "0b7a1c0e-c6d6-11f0-8de9-0242ac120002"}
	for _, hook := range []*events.Hook{want, {App: "web", By: "webhook"}} {
		stream, err := server.JetStream().Stream(t.Context(), events.StreamHooks)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := stream.GetLastMsgForSubject(t.Context(), hook.Subject())
		if err != nil {
			t.Fatalf("%s: %v", hook.Subject(), err)
		}
		got, err := events.Decode(msg.Subject, msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(events.Event(hook), got); diff != "" {
			t.Errorf("stored (-expected +got):\n%s", diff)
		}
		if info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(hook.Subject())); err != nil || info.State.Subjects[hook.Subject()] != 1 {
			t.Errorf("%s: %+v, %v; expected one message", hook.Subject(), info, err)
		}
	}

	server.Stop()
	if answer := answerOf(g, delivered()); answer.Code != http.StatusServiceUnavailable {
		t.Errorf("answered %d without a queue: %s", answer.Code, answer.Body)
	}
	if answer := answerOf(l, newLook(t, "web", "")); answer.Code != http.StatusServiceUnavailable {
		t.Errorf("answered %d without a queue: %s", answer.Code, answer.Body)
	}
	server.Start()
	accepted(g, delivered)
}
