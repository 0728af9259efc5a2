package eventstest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

// porter is a service as small as one can be that still has everything: it
// answers requests, takes a second step, states a fact during the work, holds a
// lease, and has an effect outside.
type porter struct {
	bus   *bus.Bus
	world *world
	fault string // what it does wrong, if anything
}

// world is what the porter's effect is stored in; it outlives every process.
type world struct {
	mu      sync.Mutex
	running map[string]bool
	started int
}

func (w *world) start(id string) (already bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running[id] {
		return true
	}
	w.running[id] = true
	w.started++
	return false
}

func (w *world) count(testing.TB) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.started
}

func (p *porter) workers() []bus.Worker {
	return []bus.Worker{
		{
			Consumer: bus.Consumer{Name: "porter-requests", Stream: events.StreamReleases, Filters: []string{"release.*"}},
			Handle:   bus.Handle(p.requested),
			Malformed: func(subject string, body []byte, err error) events.Fact {
				r, _ := events.ParseRequest(subject, body)
				return refusal(r, err)
			},
			GaveUp: func(m events.Event, reason error) []events.Fact {
				return []events.Fact{refusal(m.(*events.Request), reason)}
			},
		},
		{
			Consumer: bus.Consumer{Name: "porter-dev", Stream: events.StreamReleases, Filters: []string{"release.wanted.dev.*"}},
			Handle:   bus.Handle(p.wanted),
		},
	}
}

func refusal(r *events.Request, reason error) events.Fact {
	return &events.ReleaseRefused{Env: r.Place(), App: r.App, Version: r.Version, Reason: reason.Error()}
}

func (p *porter) requested(ctx context.Context, d events.Delivery[*events.Request]) ([]events.Fact, error) {
	wanted := &events.ReleaseWanted{
		Release: events.Release{Env: d.Message.Place(), App: d.Message.App, Version: d.Message.Version, Digest: "sha256:" + strings.Repeat("a", 64)},
		TagSeq:  1,
	}
	return []events.Fact{wanted}, nil
}

func (p *porter) wanted(ctx context.Context, d events.Delivery[*events.ReleaseWanted]) ([]events.Fact, error) {
	release := d.Message.Release
	var done events.Fact
	err := p.bus.Hold(ctx, "release."+release.Env+"."+release.App, func(ctx context.Context) error {
		id := fmt.Sprintf("%s-%s-%s", release.Env, release.App, release.Version)
		if p.fault == "a new effect every time" {
			id += fmt.Sprint(time.Now().UnixNano())
		}
		started := &events.ReleaseStarted{Release: release, ReleaseID: id}
		if _, err := p.bus.Publish(ctx, started); err != nil {
			return err
		}
		p.world.start(id)
		unchanged := false
		last, err := p.bus.Last(ctx, events.KindReleaseDone.Subject(release.Env, release.App))
		switch {
		case err == nil:
			unchanged = last.Fact.(*events.ReleaseDone).Cause.Seq != d.Origin.Seq
		case !errors.Is(err, events.ErrNotRecorded):
			return err
		}
		stated := &events.ReleaseDone{Release: release, ReleaseID: id, Instances: 1, TagSeq: 1, Unchanged: unchanged}
		if p.fault == "another id every time" {
			stated.ID, stated.Unchanged = fmt.Sprint("done ", time.Now().UnixNano()), false
		}
		done = stated
		return nil
	})
	if errors.Is(err, events.ErrHeld) {
		return nil, events.Snooze(200*time.Millisecond, err.Error())
	}
	if err != nil {
		return nil, err
	}
	return []events.Fact{done}, nil
}

func exercise(t *testing.T, fault string) {
	eventstest.Exercise(t, func(t *testing.T) eventstest.Subject {
		w := &world{running: map[string]bool{}}
		return eventstest.Subject{
			Service: "porter",
			Workers: func(_ testing.TB, b *bus.Bus) []bus.Worker {
				return (&porter{bus: b, world: w, fault: fault}).workers()
			},
			Trigger: events.NewRequest(events.ReleaseRequested, "dev", "web", "v1.2.3", "ann"),
			Outcome: "release.done.dev.web",
			Counts:  func(f events.Fact) bool { return !f.(*events.ReleaseDone).Unchanged },
			Effects: w.count,
		}
	})
}

func TestExercise(t *testing.T) { exercise(t, "") }

// TestExerciseHook examines a step whose trigger is replaced when it comes again.
func TestExerciseHook(t *testing.T) {
	eventstest.Exercise(t, func(t *testing.T) eventstest.Subject {
		return eventstest.Subject{
			Service: "porter",
			Workers: func(testing.TB, *bus.Bus) []bus.Worker {
				return []bus.Worker{{
					Consumer: bus.Consumer{Name: "porter", Stream: events.StreamHooks, Filters: []string{events.HookReceived.All()}},
					Handle:   bus.Handle(deleted),
				}}
			},
			Trigger: &events.Hook{Host: "github.com", RepoID: "42", Repo: "acme/web", Tag: "v1.2.3", Deleted: true},
			Outcome: events.KindTagDeleted.All(),
		}
	})
}

// deleted believes what a hook says.
func deleted(_ context.Context, d events.Delivery[*events.Hook]) ([]events.Fact, error) {
	gone := &events.TagDeleted{App: "web", Version: d.Message.Tag, Tag: d.Message.Tag, Repo: d.Message.Repo, Commit: strings.Repeat("1", 40)}
	gone.ID = gone.Subject() + "@1" // whatever says so, it happened once
	return []events.Fact{gone}, nil
}

// TestExerciseFindsFaults runs the suite over services with known faults, each in
// a process of its own, and wants it to fail where the fault shows.
func TestExerciseFindsFaults(t *testing.T) {
	const which = "EVENTSTEST_FAULT"
	if fault := os.Getenv(which); fault != "" {
		exercise(t, fault)
		return
	}
	t.Parallel()
	for _, c := range []struct{ fault, scenario, says string }{
		{"a new effect every time", "killed_between_publication_and_acknowledgement", "wanted 1 effects, saw 2"},
		{"another id every time", "killed_between_publication_and_acknowledgement", "wanted the outcome on release.done.dev.web once, saw it 2 times"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			run := exec.CommandContext(t.Context(), os.Args[0], "-test.timeout=40s", "-test.run=^TestExerciseFindsFaults$/^"+c.scenario+"$")
			run.Env = append(os.Environ(), which+"="+c.fault)
			out, err := run.CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.says) {
				t.Errorf("wanted a failure that says %q, saw %v:\n%s", c.says, err, out)
			}
		})
	}
}
