package permissions_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

const app, version = "web", "v1.0"

// retryHeld is how long a worker waits for a lease that another of its kind holds.
const retryHeld = 100 * time.Millisecond

// source is bigger than one chunk of the object store.
func source() (digest string, archive []byte) {
	archive = bytes.Repeat([]byte("source "), 50_000)
	sum := sha256.Sum256(archive)
	return "sha256:" + hex.EncodeToString(sum[:]), archive
}

// service is a service of the test: the steps of the real one, without their effects.
type service struct {
	bus  *bus.Bus
	name string

	mu    sync.Mutex
	tried map[string]bool // by consumer
}

// worker does step for a message, after using everything that a worker may
// need: it fails once, holds a lease and writes output.
func (s *service) worker(consumer bus.Consumer, step func(context.Context, events.Event) ([]events.Fact, error)) bus.Worker {
	return bus.Worker{Consumer: consumer, Handle: func(ctx context.Context, d events.Delivery[events.Event]) (facts []events.Fact, err error) {
		if s.first(consumer.Stream + "/" + consumer.Name) {
			return nil, errors.New("fails once, to be recorded as a failed attempt")
		}
		out := s.bus.Log(app, version)
		fmt.Fprintf(out, "%s works on %s\n", consumer.Name, d.Message.Subject())
		if err := out.Close(); err != nil {
			return nil, err
		}
		err = s.bus.Hold(ctx, s.lease(consumer), func(ctx context.Context) error {
			facts, err = step(ctx, d.Message)
			return err
		})
		if errors.Is(err, events.ErrHeld) {
			return nil, events.Snooze(retryHeld, "another worker of this test holds the lease")
		}
		return facts, err
	}}
}

// lease is one that the worker of a consumer takes.
func (s *service) lease(consumer bus.Consumer) string {
	if consumer.Name == "tagwatch-report" {
		return "report.web"
	}
	return map[string]string{"tagwatch": "watch.github=2Ecom", "builder": "build.web.1", "releaser": "release.dev.web", "cdnpush": "cdn.beta.web"}[s.name]
}

func (s *service) first(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tried == nil {
		s.tried = map[string]bool{}
	}
	first := !s.tried[key]
	s.tried[key] = true
	return first
}

// workers gives every consumer of the service its step.
func (s *service) workers() []bus.Worker {
	var workers []bus.Worker
	for _, c := range consumers() {
		if c.Name == s.name || strings.HasPrefix(c.Name, s.name+"-") {
			step := s.step
			if c.Name == "tagwatch-report" {
				step = s.report
			}
			workers = append(workers, s.worker(c, step))
		}
	}
	return workers
}

func (s *service) step(ctx context.Context, m events.Event) ([]events.Fact, error) {
	switch m := m.(type) {
	case *events.Hook:
		return s.hear(ctx)
	case *events.TagSeen:
		return s.build(ctx, m)
	case *events.BuildDone:
		if s.name == "cdnpush" {
			return s.publish(ctx, m)
		}
		return s.want(ctx, "dev", "build", m.TagSeq)
	case *events.ReleaseWanted:
		return s.release(ctx, m)
	case *events.ReleaseDone:
		return s.want(ctx, "demo", "dev", m.TagSeq)
	case *events.Request:
		switch m.Kind() {
		case events.TagRequested:
			return s.look(ctx, m)
		case events.ReleaseRequested:
			return s.want(ctx, m.Place(), "", 1)
		case events.BuildRequested:
			return []events.Fact{&events.BuildRefused{App: m.App, Version: m.Version, Reason: "built already"}}, nil
		case events.CDNRequested:
			return []events.Fact{&events.CDNRefused{Channel: m.Place(), App: m.App, Version: m.Version, Reason: "published already"}}, nil
		}
	}
	return nil, events.Permanent(fmt.Errorf("no step for %s", m.Subject()))
}

func (s *service) look(ctx context.Context, asked *events.Request) ([]events.Fact, error) {
	digest, archive := source()
	if asked.By == "builder" {
		if there, err := s.bus.HasSource(ctx, digest); err != nil || !there {
			return nil, fmt.Errorf("the source is there: %t, %w", there, err)
		}
		return []events.Fact{&events.TagLooked{App: app}}, nil
	}
	if err := s.bus.PutSource(ctx, digest, bytes.NewReader(archive)); err != nil {
		return nil, err
	}
	if err := s.keep(ctx); err != nil {
		return nil, err
	}
	if err := s.absent(ctx, events.KindTagSeen.Subject(app, version)); err != nil {
		return nil, err
	}
	seen := &events.TagSeen{
		App: app, Version: version, Tag: version, Repo: "/srv/git/web.git", Commit: strings.Repeat("a", 40),
		Source: events.Source{Digest: digest, Size: int64(len(archive))},
		Recipe: events.Recipe{Build: events.Build{Run: events.Commands{"true"}}, Image: &events.RecipeImage{Base: "scratch", Layers: []events.Layer{{Name: "app", Copy: map[string]string{"web": "/web"}}}, Entrypoint: []string{"/web"}}},
	}
	if _, err := s.bus.Publish(ctx, seen); err != nil {
		return nil, err
	}
	if _, err := s.bus.Hint(ctx, &events.Hook{Host: "github.com", RepoID: "42", Tag: version, Deleted: true}); err != nil { // as a webhook would
		return nil, err
	}
	return []events.Fact{&events.TagLooked{App: app, New: []string{version}}}, nil
}

// hear believes a hook that says that the tag was deleted.
func (s *service) hear(ctx context.Context) ([]events.Fact, error) {
	seen, err := s.bus.Last(ctx, events.KindTagSeen.Subject(app, version))
	if err != nil {
		return nil, err
	}
	commit := ""
	if f, ok := seen.Fact.(*events.TagSeen); ok {
		commit = f.Commit
	}
	return []events.Fact{&events.TagDeleted{App: app, Version: version, Tag: version, Commit: commit}}, nil
}

// report looks up what a report says, and keeps that it was made.
func (s *service) report(ctx context.Context, m events.Event) ([]events.Fact, error) {
	for _, kind := range []events.Kind{events.KindTagSeen, events.KindBuildDone, events.KindReleaseDone} {
		if _, err := s.bus.LastSeq(ctx, kind.All()); err != nil {
			return nil, err
		}
	}
	return nil, change(ctx, s.bus.Table(bus.TableReports), "web."+events.Escape(m.Subject()))
}

// absent looks up what is not there yet.
func (s *service) absent(ctx context.Context, subject string) error {
	_, err := s.bus.Last(ctx, subject)
	switch {
	case err == nil:
		return fmt.Errorf("%s is there already", subject)
	case errors.Is(err, events.ErrNotRecorded):
		return nil
	}
	return err
}

// keep uses the table of what is known of repositories in every way.
func (s *service) keep(ctx context.Context) error {
	const key = "web.tags.v1"
	table := s.bus.Table(bus.TableWatch)
	if err := change(ctx, table, key); err != nil {
		return err
	}
	all, err := table.All(ctx, "web")
	if err != nil {
		return err
	}
	if len(all) != 1 {
		return fmt.Errorf("table watch has %d values, want 1", len(all))
	}
	return table.Delete(ctx, key)
}

// change writes one value of a table in every way.
func change(ctx context.Context, table *bus.Table, key string) error {
	if err := table.Create(ctx, key, []byte("{}")); err != nil {
		return err
	}
	value, revision, err := table.Get(ctx, key)
	if err != nil {
		return err
	}
	if err := table.Update(ctx, key, value, revision); err != nil {
		return err
	}
	return table.Put(ctx, key, value)
}

func (s *service) build(ctx context.Context, seen *events.TagSeen) ([]events.Fact, error) {
	tag, err := s.bus.Last(ctx, seen.Subject())
	if err != nil {
		return nil, err
	}
	if err := s.absent(ctx, events.KindBuildDone.Subject(app, version)); err != nil {
		return nil, err
	}
	again := events.NewRequest(events.TagRequested, "", app, version, "builder") // as when the source is gone
	if _, err := s.bus.Request(ctx, again); err != nil {
		return nil, err
	}
	if asked, err := s.bus.Requests(ctx, again.Subject(), tag.Time); err != nil || len(asked) == 0 {
		return nil, fmt.Errorf("%d requests since the tag was seen, %w", len(asked), err)
	}
	if _, err := s.bus.Publish(ctx, &events.BuildStarted{App: app, Version: version, Commit: seen.Commit, Executor: "host"}); err != nil {
		return nil, err
	}
	archive, err := s.bus.GetSource(ctx, seen.Source.Digest)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, archive); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return []events.Fact{&events.BuildDone{
		App: app, Version: version, Commit: seen.Commit, TagSeq: tag.Seq,
		Image: &events.Image{Repository: "registry.internal:5000/web", Digest: seen.Source.Digest},
	}}, nil
}

func (s *service) want(ctx context.Context, env, promoted string, tagSeq uint64) ([]events.Fact, error) {
	done, err := s.bus.Last(ctx, events.KindBuildDone.Subject(app, version))
	if err != nil {
		return nil, err
	}
	if _, err := s.bus.Last(ctx, events.KindTagSeen.Subject(app, version)); err != nil { // as when saying why a version is not built
		return nil, err
	}
	wanted := &events.ReleaseWanted{Release: releaseOf(env, done), TagSeq: tagSeq, Promoted: promoted}
	head, err := s.bus.LastSeq(ctx, wanted.Subject())
	if err != nil {
		return nil, err
	}
	_, err = s.bus.Publish(ctx, wanted, events.Fence{Filter: wanted.Subject(), Seq: head})
	return nil, err
}

func releaseOf(env string, done events.Recorded) events.Release {
	digest, _ := source()
	if built, ok := done.Fact.(*events.BuildDone); ok {
		digest = built.Image.Digest
	}
	return events.Release{Env: env, App: app, Version: version, Digest: digest}
}

func (s *service) release(ctx context.Context, wanted *events.ReleaseWanted) ([]events.Fact, error) {
	filter := "release.*." + wanted.Env + ".web"
	head, err := s.bus.LastSeq(ctx, filter)
	if err != nil {
		return nil, err
	}
	for _, err := range s.bus.Facts(ctx, filter, false) {
		if err != nil {
			return nil, err
		}
	}
	if _, err := s.bus.Newest(ctx, "release.done."+wanted.Env+".*"); err != nil {
		return nil, err
	}
	id := "r-" + wanted.Env
	if _, err := s.bus.Publish(ctx, &events.ReleaseStarted{Release: wanted.Release, ReleaseID: id}, events.Fence{Filter: filter, Seq: head}); err != nil {
		return nil, err
	}
	return []events.Fact{&events.ReleaseDone{Release: wanted.Release, ReleaseID: id, Instances: 1, TagSeq: wanted.TagSeq}}, nil
}

func (s *service) publish(ctx context.Context, built *events.BuildDone) ([]events.Fact, error) {
	if _, err := s.bus.Last(ctx, events.KindTagSeen.Subject(app, version)); err != nil {
		return nil, err
	}
	for _, err := range s.bus.Facts(ctx, "cdn.done.beta.*", false) {
		if err != nil {
			return nil, err
		}
	}
	if _, err := s.bus.Publish(ctx, &events.CDNStarted{Channel: "beta", App: app, Version: version}); err != nil {
		return nil, err
	}
	return []events.Fact{&events.CDNDone{
		Channel: "beta", App: app, Version: version, TagSeq: built.TagSeq,
		Files: []events.Download{{URL: "https://dl.example.org/beta/web.tar.gz", Digest: built.Image.Digest, Size: 1}},
	}}, nil
}

// run starts the four services, each as its own user.
func (c *cluster) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, name := range []string{"tagwatch", "builder", "releaser", "cdnpush"} {
		s := &service{bus: c.bus(t, name, name, true), name: name}
		running.Go(func() {
			if err := s.bus.Run(ctx, s.workers()...); err != nil {
				t.Errorf("run %s: %v", name, err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// The whole pipeline runs with the permissions as they are: a developer asks for
// a look, ops for a release to prod, and a viewer sees all of it.
func testPipeline(t *testing.T, c *cluster) {
	developer, ops := c.bus(t, "developer", "cli", true), c.bus(t, "ops", "cli", true)
	viewer := c.bus(t, "viewer", "cli", true)
	record := eventstest.NewRecorder(t, viewer)
	c.run(t)

	ask(t, developer, events.NewRequest(events.TagRequested, "", app, "", "ann"))
	record.Wait(events.KindTagLooked.Subject(app))
	record.Wait(events.KindTagDeleted.Subject(app, version))
	record.Wait(events.KindReleaseDone.Subject("demo", app))
	record.Wait(events.KindCDNDone.Subject("beta", app))
	ask(t, developer, events.NewRequest(events.BuildRequested, "", app, version, "ann"))
	record.Wait(events.KindBuildRefused.Subject(app, version))
	ask(t, ops, events.NewRequest(events.ReleaseRequested, "prod", app, version, "ann"))
	record.Wait(events.KindReleaseDone.Subject("prod", app))
	ask(t, ops, events.NewRequest(events.CDNRequested, "stable", app, version, "ann"))
	record.Wait(events.KindCDNRefused.Subject("stable", app))

	garbage := []string{
		"tag.seen.web.x", "release.wanted.dev.web", "build.done.web.x", // builder, releaser, both promotions, and reports
		"tag.refused.web.x", "build.started.web.x", "build.failed.web.x", "release.started.dev.web", "release.failed.dev.web", // reports
		"tag.web", "hook.web", "cdn.beta",
	}
	admin := c.connect(t, "admin")
	for _, subject := range garbage {
		if err := admin.Publish(subject, []byte("garbage")); err != nil {
			t.Fatal(err)
		}
	}
	letters := record.Dead(14)
	var from []string
	for _, l := range letters {
		from = append(from, l.Consumer)
	}
	slices.Sort(from)
	want := "builder cdnpush cdnpush-beta releaser-dev releaser-dev-promote tagwatch tagwatch" + strings.Repeat(" tagwatch-report", 7)
	if got := strings.Join(from, " "); got != want {
		t.Errorf("dead letters of %s, want %s", got, want)
	}
	testDeadLetters(t, ops, letters)
	record.Settled()
	if _, err := viewer.Table(bus.TableWatch).All(t.Context(), ""); err != nil {
		t.Errorf("see what tagwatch knows, as viewer: %v", err)
	}
	testServices(t, c)

	output := 0
	for _, err := range viewer.Output(t.Context(), app, version, false) {
		if err != nil {
			t.Fatalf("read output as viewer: %v", err)
		}
		output++
	}
	if output == 0 {
		t.Error("viewer sees no output")
	}
}

func ask(t *testing.T, b *bus.Bus, r *events.Request) {
	t.Helper()
	if _, err := b.Request(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// testDeadLetters replays every dead letter as ops, of which each is given up on again, and drops those.
func testDeadLetters(t *testing.T, ops *bus.Bus, letters []bus.DeadLetter) {
	for _, l := range letters {
		if err := ops.Replay(t.Context(), l.Seq, "ann"); err != nil {
			t.Errorf("replay as ops: %v", err)
		}
	}
	again := eventstest.NewRecorder(t, ops).Dead(2 * len(letters))
	for _, l := range again {
		if l.Settled != nil {
			continue
		}
		if err := ops.Drop(t.Context(), l.Seq, "ann"); err != nil {
			t.Errorf("drop as ops: %v", err)
		}
	}
}

// testServices asks as viewer who is there, as "nats micro ls" does, and how the builder is.
func testServices(t *testing.T, c *cluster) {
	viewer := c.connect(t, "viewer")
	answers, err := viewer.SubscribeSync(viewer.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	if err := viewer.PublishRequest("$SRV.PING", answers.Subject, nil); err != nil {
		t.Fatal(err)
	}
	var names []string
	for range 4 {
		msg, err := answers.NextMsg(eventstest.Patience)
		if err != nil {
			t.Fatalf("%v after answers of %v", err, names)
		}
		var answer struct{ Name string }
		if err := json.Unmarshal(msg.Data, &answer); err != nil {
			t.Fatal(err)
		}
		names = append(names, answer.Name)
	}
	slices.Sort(names)
	if got, want := strings.Join(names, " "), "builder cdnpush releaser tagwatch"; got != want {
		t.Errorf("services that answer: %s, want %s", got, want)
	}
	if _, err := viewer.Request("svc.builder.status", nil, eventstest.Patience); err != nil {
		t.Errorf("ask the builder how it is: %v", err)
	}
}
