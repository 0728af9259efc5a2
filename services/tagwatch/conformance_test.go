package tagwatch

import (
	"testing"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

// exercised is the service with a repository that has the tag v1, and one worker.
func exercised(t *testing.T, worker int, trigger events.Event, backfill string) eventstest.Subject {
	u := newUpstream(t)
	u.git("tag", "v1")
	return eventstest.Subject{
		Service: Name,
		Workers: func(t testing.TB, b *bus.Bus) []bus.Worker {
			cfg := section(map[string]App{"web": {Repo: u.path, Tags: "v*", Backfill: backfill}})
			rt := daemon.Runtime{Bus: b, Log: zaptest.NewLogger(t, zaptest.Level(zap.FatalLevel)), DataDir: t.TempDir()}
			hosts, err := openHosts(cfg, rt)
			if err != nil {
				t.Fatal(err)
			}
			w, err := newWatcher(cfg, hosts, rt)
			if err != nil {
				t.Fatal(err)
			}
			return watchWorkers(w, 4)[worker : worker+1]
		},
		Trigger: trigger,
		Outcome: "tag.seen.web.v1",
	}
}

func TestConformanceOfRequests(t *testing.T) {
	t.Parallel()
	eventstest.Exercise(t, func(t *testing.T) eventstest.Subject {
		return exercised(t, 0, events.NewRequest(events.TagRequested, "", "web", "v1", "ann"), "none")
	})
}

func TestConformanceOfHooks(t *testing.T) {
	t.Parallel()
	eventstest.Exercise(t, func(t *testing.T) eventstest.Subject {
		return exercised(t, 1, &events.Hook{App: "web", By: "webhook"}, "all")
	})
}
