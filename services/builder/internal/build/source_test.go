package build_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/services/builder/internal/buildtest"
)

// seeLost states that a version exists whose source is not there any more, and returns the source.
func (f *fixture) seeLost(t *testing.T, version string) (digest string, archive []byte) {
	t.Helper()
	archive, digest = buildtest.Archive(t, buildtest.Program())
	if err := f.tags.PutSource(t.Context(), digest, bytes.NewReader(archive)); err != nil {
		t.Fatal(err)
	}
	store, err := f.server.JetStream().ObjectStore(t.Context(), "sources")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), digest); err != nil {
		t.Fatal(err)
	}
	seen := &events.TagSeen{
		App: "web", Version: version, Tag: version, Repo: "github.com/acme/web", Commit: buildtest.Commit, Recipe: buildtest.Recipe(),
		Source: events.Source{Digest: digest, Size: int64(len(archive))},
	}
	if _, err := f.tags.Publish(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	return digest, archive
}

// onLook runs what stands for tagwatch: it answers requests to look.
func (f *fixture) onLook(t *testing.T, look events.Handler[*events.Request]) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() {
		stopped <- f.tags.Run(ctx, bus.Worker{Consumer: bus.Consumer{Name: "tagwatch", Stream: events.StreamTags, Filters: []string{events.TagRequested.All()}}, Handle: bus.Handle(look)})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("tagwatch stopped with %v", err)
		}
	})
}

func TestLostSourceIsStagedAgain(t *testing.T) {
	t.Parallel()
	f := start(t, compiles)
	digest, archive := f.seeLost(t, "v1")
	var looks atomic.Int32
	f.onLook(t, func(ctx context.Context, d events.Delivery[*events.Request]) ([]events.Fact, error) {
		looks.Add(1)
		if d.Message.Version != "v1" || d.Message.By != "builder" {
			t.Errorf("asked for %s by %s", d.Message.Version, d.Message.By)
		}
		return []events.Fact{&events.TagLooked{App: "web"}}, f.tags.PutSource(ctx, digest, bytes.NewReader(archive))
	})
	waitFor[*events.BuildDone](t, f, events.KindBuildDone, "v1")
	f.Settled()
	f.Once(events.KindBuildStarted.Subject("web", "v1"))
	f.Dead(0)
	if n := looks.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestLostSourceIsRefused(t *testing.T) {
	t.Parallel()
	f := start(t, compiles)
	digest, archive := f.seeLost(t, "v1")
	var mended atomic.Bool
	f.onLook(t, func(ctx context.Context, d events.Delivery[*events.Request]) ([]events.Fact, error) {
		if mended.Load() {
			return nil, f.tags.PutSource(ctx, digest, bytes.NewReader(archive))
		}
		return []events.Fact{&events.TagRefused{App: "web", Version: "v1", Reason: "the commit is gone"}}, nil
	})
	failed := waitFor[*events.BuildFailed](t, f, events.KindBuildFailed, "v1")
	want := "the source is gone, and cannot be staged again: the commit is gone; once that is mended, ask for the build again on subject build.web"
	if failed.Reason != want {
		t.Errorf("reason is %q, expected %q", failed.Reason, want)
	}
	if started := f.Facts(events.KindBuildStarted.All()); len(started) != 0 {
		t.Error("a build was started without a source")
	}
	mended.Store(true)
	f.ask(t, "v1") // the refusal before it does not count against it
	waitFor[*events.BuildDone](t, f, events.KindBuildDone, "v1")
	f.Settled()
	f.Dead(0)
}

// asking has a given history of requests, and counts new ones.
type asking struct {
	*bus.Bus
	asked []events.Asked
	asks  int
}

func (a *asking) Requests(context.Context, string, time.Time) ([]events.Asked, error) {
	return a.asked, nil
}

func (a *asking) Request(context.Context, *events.Request) (events.Stored, error) {
	a.asks++
	return events.Stored{}, nil
}

func TestLostSourceIsNotAskedForAllTheTime(t *testing.T) {
	t.Parallel()
	f := start(t, compiles)
	ago := func(version, by string, all ...time.Duration) (asked []events.Asked) {
		for _, d := range all {
			asked = append(asked, events.Asked{Request: events.NewRequest(events.TagRequested, "", "web", version, by), Time: time.Now().Add(-d)})
		}
		return asked
	}
	for name, c := range map[string]struct {
		asked  []events.Asked
		asks   int
		failed string
	}{
		"never":           {nil, 1, ""},
		"for another":     {ago("v2", "builder", time.Second), 1, ""},
		"by a person":     {ago("v1", "ann", time.Hour, time.Second), 1, ""},
		"just now":        {ago("v1", "builder", time.Second), 0, ""},
		"again just now":  {ago("v1", "builder", 10*time.Minute, time.Second), 0, ""},
		"a while ago":     {ago("v1", "builder", 10*time.Minute, 2*time.Minute), 1, ""},
		"for a long time": {ago("v1", "builder", 16*time.Minute, time.Second), 0, "was not staged again within 15m0s: see that tagwatch runs and watches web, then ask for the build again on subject build.web"},
	} {
		record := &asking{Bus: f.tags, asked: c.asked}
		builder := *f.builder
		builder.Record = record
		seen := &events.TagSeen{App: "web", Version: "v1", Source: events.Source{Digest: digestOf(t, []byte(name))}}
		facts, err := builder.TagSeen(t.Context(), events.Delivery[*events.TagSeen]{Message: seen, Time: time.Now()})
		if record.asks != c.asks {
			t.Errorf("%s: asked %d times, expected %d", name, record.asks, c.asks)
		}
		if c.failed == "" {
			if _, _, ok := events.IsSnooze(err); !ok || len(facts) != 0 {
				t.Errorf("%s: facts %v, error %v, expected to wait", name, facts, err)
			}
			continue
		}
		if err != nil || len(facts) != 1 || facts[0].Kind() != events.KindBuildFailed || !strings.Contains(facts[0].(*events.BuildFailed).Reason, c.failed) {
			t.Errorf("%s: facts %+v, error %v, expected build.failed", name, facts, err)
		}
	}
}
