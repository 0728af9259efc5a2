package bus_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

// TestPublishOnce lets many state the same fact at once.
func TestPublishOnce(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	const racers = 8
	buses := make([]*bus.Bus, racers)
	for i := range buses {
		buses[i] = s.Bus("builder")
	}
	for _, c := range []struct {
		name, filter string
		fact         func() events.Fact
	}{
		{"a fact that happens once", "build.done.web.v1", func() events.Fact { return doneFact("v1") }},
		{"a fact that is repeated, of one cause", "build.failed.web.v1", func() events.Fact {
			f := failedFact("v1", "exit status 1")
			f.Cause = &events.Cause{Stream: events.StreamTags, Seq: 7}
			return f
		}},
		{"a fact with an id of its own", "tag.moved.web.v1", func() events.Fact { return movedFact("tag.moved.web.v1@2222") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var first atomic.Int32
			var all sync.WaitGroup
			for _, b := range buses {
				all.Go(func() {
					stored, err := b.Publish(t.Context(), c.fact())
					if err != nil {
						t.Error(err)
					}
					if !stored.Already {
						first.Add(1)
					}
				})
			}
			all.Wait()
			if n := first.Load(); n != 1 {
				t.Errorf("%d of %d were told that they were the first, wanted one", n, racers)
			}
			eventstest.NewRecorder(t, buses[0]).Once(c.filter)
		})
	}
}

// TestPublishAgain states different facts on one subject, then the first ones again.
func TestPublishAgain(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("builder")
	for range 2 {
		for seq := range uint64(5) {
			f := failedFact("v1", "exit status 1")
			f.Cause = &events.Cause{Stream: events.StreamTags, Seq: seq + 1}
			if _, err := b.Publish(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
	}
	if facts := eventstest.NewRecorder(t, b).Facts("build.failed.web.v1"); len(facts) != 5 {
		t.Errorf("wanted 5 facts, saw %d", len(facts))
	}
}

func TestPublishFences(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("builder")
	fact := func(seq uint64) *events.BuildFailed {
		f := failedFact("v1", "exit status 1")
		f.Cause = &events.Cause{Stream: events.StreamTags, Seq: seq}
		return f
	}
	subject := fact(1).Subject()

	first, err := b.Publish(t.Context(), fact(1), events.Fence{Filter: subject, Seq: 0})
	if err != nil {
		t.Fatalf("a fence that holds: %v", err)
	}
	_, err = b.Publish(t.Context(), fact(2), events.Fence{Filter: subject, Seq: 0})
	mustBe(t, err, events.ErrConflict)
	if !events.IsPermanent(err) {
		t.Error("a fence that does not hold is no reason to try again")
	}
	again, err := b.Publish(t.Context(), fact(1), events.Fence{Filter: subject, Seq: 0})
	if err != nil || !again.Already || again.Seq != first.Seq {
		t.Errorf("a try whose answer was lost: wanted success and %s, saw %+v, %v", first.Cause, again, err)
	}
	if _, err := b.Publish(t.Context(), fact(2), events.Fence{Filter: subject, Seq: first.Seq}); err != nil {
		t.Errorf("a fence over what was read: %v", err)
	}
	_, err = b.Publish(t.Context(), fact(3), events.Fence{Filter: "build.failed.web.*", Seq: first.Seq})
	mustBe(t, err, events.ErrConflict)
	if _, err := b.Publish(t.Context(), fact(4), events.Fence{}, events.Fence{}); !events.IsPermanent(err) {
		t.Errorf("two fences: wanted a permanent error, saw %v", err)
	}
	if facts := eventstest.NewRecorder(t, b).Facts(subject); len(facts) != 2 {
		t.Errorf("wanted 2 facts, saw %d", len(facts))
	}
}

func TestPublishInvalid(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("builder")
	for name, f := range map[string]events.Fact{
		"invalid":                       doneFact(""),
		"neither an id nor a cause":     failedFact("v1", "exit status 1"),
		"without what it must not lack": func() events.Fact { f := failedFact("v1", ""); f.ID = "x"; return f }(),
	} {
		if _, err := b.Publish(t.Context(), f); !events.IsPermanent(err) {
			t.Errorf("%s: wanted a permanent error, saw %v", name, err)
		}
	}
}

// TestPublishWhileAway publishes while NATS is stopped and started again.
func TestPublishWhileAway(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("builder")
	s.Stop()
	var all sync.WaitGroup
	for _, version := range []string{"v1", "v2", "v3"} {
		all.Go(func() {
			if _, err := b.Publish(t.Context(), doneFact(version)); err != nil {
				t.Error(err)
			}
			stored, err := b.Request(t.Context(), events.NewRequest(events.BuildRequested, "", "web", version, ""))
			if err != nil || stored.Seq == 0 {
				t.Errorf("request: %+v, %v", stored, err)
			}
		})
	}
	eventstest.Eventually(t, func() error {
		if b.Connected() {
			return errors.New("the bus does not notice that NATS is away")
		}
		return nil
	})
	<-time.After(2 * time.Second) // away for longer than a reconnection takes
	s.Start()
	all.Wait()
	r := eventstest.NewRecorder(t, b)
	for _, version := range []string{"v1", "v2", "v3"} {
		r.Once(events.KindBuildDone.Subject("web", version))
	}
	stream, err := s.JetStream().Stream(t.Context(), events.StreamBuilds)
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 6 {
		t.Errorf("wanted 6 messages, saw %d", n)
	}
}

// restricted is a server with a user "limited" who may not do what is denied.
func restricted(t *testing.T, deny ...string) (*eventstest.Server, func(*bus.Options)) {
	s := eventstest.NewServer(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "admin"},
			{Username: "limited", Password: "limited", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: deny}}},
		}
	})
	s.Connection = []nats.Option{nats.UserInfo("admin", "admin")}
	return s, func(o *bus.Options) { o.Connection = []nats.Option{nats.UserInfo("limited", "limited")} }
}

// TestDenied wants a clear and permanent error, at once, for what the user may not do.
func TestDenied(t *testing.T) {
	t.Parallel()
	s, limited := restricted(t, "build.done.>", "$JS.API.STREAM.MSG.GET.TAGS", "$JS.API.CONSUMER.CREATE.RELEASES.>", "$KV.watch.>", "$JS.API.CONSUMER.CREATE.CDN.>")
	there := &events.ReleaseRefused{Meta: events.Meta{ID: "there"}, Env: "dev", App: "web", Version: "v1", Reason: "bad"}
	if _, err := s.Bus("admin").Publish(t.Context(), there); err != nil {
		t.Fatal(err)
	}
	b := s.Bus("builder", limited, func(o *bus.Options) { o.Topology.Fixed = true })
	free := s.Bus("builder", limited)
	for name, do := range map[string]func() error{
		"publish": func() error { _, err := b.Publish(t.Context(), doneFact("v1")); return err },
		"look up": func() error { _, err := b.Last(t.Context(), "tag.seen.web.v1"); return err },
		"list":    func() error { _, err := b.Newest(t.Context(), "release.refused.>"); return err },
		"table":   func() error { return b.Table(bus.TableWatch).Put(t.Context(), "web", nil) },
		"make consumer": func() error {
			return free.Ensure(t.Context(), bus.Consumer{Name: "x", Stream: events.StreamCDN, Filters: []string{"cdn.*"}})
		},
	} {
		began := time.Now()
		err := do()
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("%s: the error took %s", name, took)
		}
		if !events.IsPermanent(err) || !strings.Contains(err.Error(), "not permitted for this user") {
			t.Errorf("%s: wanted a permanent error about permissions, saw %v", name, err)
		}
	}
	permitted := failedFact("v1", "exit status 1")
	permitted.ID = "failed"
	if _, err := b.Publish(t.Context(), permitted); err != nil {
		t.Errorf("what is permitted: %v", err)
	}
}

func TestConnectErrors(t *testing.T) {
	t.Parallel()
	s, _ := restricted(t)
	_, err := bus.Connect(t.Context(), bus.Options{Service: "builder", URL: strings.Replace(s.URL(), "://", "://nobody:secret@", 1), Wait: eventstest.Patience, Log: discard()})
	if err == nil || !strings.Contains(err.Error(), "check the user or credentials") || strings.Contains(err.Error(), "secret") {
		t.Errorf("wrong password: wanted a hint and no password, saw %v", err)
	}
	_, err = bus.Connect(t.Context(), bus.Options{Service: "builder", URL: "nats://127.0.0.1:1", Log: discard()})
	if err == nil || !strings.Contains(err.Error(), "is it running? check nats.url") {
		t.Errorf("nobody there: wanted a hint, saw %v", err)
	}
}

// TestGarbageIsPassedOver stores garbage by hand on a fact's subject.
func TestGarbageIsPassedOver(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b, js := s.Bus("builder"), s.JetStream()
	garbage := func(subject string) {
		if _, err := js.Publish(t.Context(), subject, []byte("{")); err != nil {
			t.Fatal(err)
		}
	}
	garbage("build.done.web.v0")
	_, err := b.Last(t.Context(), "build.done.web.v0")
	mustBe(t, err, events.ErrNotRecorded)
	_, err = b.Last(t.Context(), "build.done.web.v1")
	mustBe(t, err, events.ErrNotRecorded)

	if _, err := b.Publish(t.Context(), doneFact("v1")); err != nil {
		t.Fatal(err)
	}
	garbage("build.done.web.v1")
	newest, err := b.Newest(t.Context(), "build.done.>")
	if err != nil || len(newest) != 1 || newest[0].Seq != 2 {
		t.Errorf("newest of each: wanted message 2 alone, saw %+v, %v", newest, err)
	}
	last, err := b.Last(t.Context(), "build.done.web.v1")
	if err != nil || last.Seq != 2 {
		t.Errorf("wanted message 2, saw %d, %v", last.Seq, err)
	}
	if seq, err := b.LastSeq(t.Context(), "build.done.web.v1"); seq != 3 || err != nil {
		t.Errorf("a fence must expect what is stored: wanted 3, saw %d, %v", seq, err)
	}
	if seq, err := b.LastSeq(t.Context(), "build.done.web.v9"); seq != 0 || err != nil {
		t.Errorf("nothing there: wanted 0, saw %d, %v", seq, err)
	}
	if _, err := b.Last(t.Context(), "elsewhere.web"); !events.IsPermanent(err) {
		t.Errorf("no stream: wanted a permanent error, saw %v", err)
	}

	for _, version := range []string{"v2", "v3"} {
		if _, err := b.Publish(t.Context(), doneFact(version)); err != nil {
			t.Fatal(err)
		}
	}
	newest, err = b.Newest(t.Context(), "build.done.>")
	if err != nil {
		t.Fatal(err)
	}
	var subjects []string
	for _, r := range newest {
		subjects = append(subjects, r.Fact.Subject())
	}
	if got, want := strings.Join(subjects, " "), "build.done.web.v1 build.done.web.v2 build.done.web.v3"; got != want {
		t.Errorf("newest: wanted %s, saw %s", want, got)
	}
	// Nobody's places in the stream remain, however often it is read.
	eventstest.Eventually(t, func() error {
		stream, err := js.Stream(t.Context(), events.StreamBuilds)
		if err == nil && stream.CachedInfo().State.Consumers > 0 {
			err = errors.New("a reader's consumer is still there")
		}
		return err
	})
}

func TestRequests(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("builder")
	first := ask(t, b, "v1")
	if _, err := s.JetStream().Publish(t.Context(), "build.web", []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), &events.BuildFailed{Meta: events.Meta{ID: "x"}, App: "web", Version: "v1", Reason: "exit 1"}); err != nil {
		t.Fatal(err)
	}
	second := ask(t, b, "v2")
	all, err := b.Requests(t.Context(), "build.web", time.Time{})
	if err != nil || len(all) != 2 || all[0].Origin != first || all[1].Origin != second || all[1].Request.Version != "v2" || all[1].Request.By != "ann" {
		t.Fatalf("saw %+v, %v", all, err)
	}
	for since, want := range map[time.Time]int{all[0].Time: 2, all[1].Time: 1, all[1].Time.Add(time.Hour): 0} {
		if some, err := b.Requests(t.Context(), "build.web", since); err != nil || len(some) != want {
			t.Errorf("since %s: saw %d, %v, want %d", since, len(some), err, want)
		}
	}
	if none, err := b.Requests(t.Context(), "build.api", time.Time{}); err != nil || len(none) != 0 {
		t.Errorf("of another app: %+v, %v", none, err)
	}
}
