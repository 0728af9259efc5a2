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

func TestConformance(t *testing.T) {
	t.Parallel()
	eventstest.Exercise(t, func(t *testing.T) eventstest.Subject {
		u := newUpstream(t)
		u.git("tag", "v1")
		return eventstest.Subject{
			Service: Name,
			Workers: func(t testing.TB, b *bus.Bus) []bus.Worker {
				w, err := newWatcher(section(map[string]App{"web": {Repo: u.path, Tags: "v*"}}), daemon.Runtime{
					Bus: b, Log: zaptest.NewLogger(t, zaptest.Level(zap.FatalLevel)), DataDir: t.TempDir(),
				})
				if err != nil {
					t.Fatal(err)
				}
				return []bus.Worker{requestWorker(w, 4)}
			},
			Trigger: events.NewRequest(events.TagRequested, "", "web", "v1", "ann"),
			Outcome: "tag.seen.web.v1",
		}
	})
}
