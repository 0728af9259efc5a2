package releaser_test

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
	"github.com/tagship/tagship/services/releaser"
)

// TestExercise runs the conformance suite over a release by request, on the
// process target.
func TestExercise(t *testing.T) {
	shop := newWorkshop(t)
	image := shop.push(t, app, "v1")
	eventstest.Exercise(t, func(t *testing.T) eventstest.Subject {
		b := &bench{t: t, kind: "process", data: t.TempDir()}
		cfg := releaser.Config{
			Environments: map[string]releaser.Environment{"dev": {Target: b.target()}},
			Slots:        2,
			GiveUp:       events.Duration(eventstest.Patience),
		}
		targets, err := releaser.OpenTargets(t.Context(), cfg, b.data, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := targets.Close(); err != nil {
				t.Error(err)
			}
		})
		return eventstest.Subject{
			Service: releaser.Name,
			Workers: func(t testing.TB, connected *bus.Bus) []bus.Worker {
				return targets.Workers(connected, zaptest.NewLogger(t))
			},
			Prepare: func(t testing.TB, connected *bus.Bus) {
				if _, err := connected.Publish(t.Context(), &events.BuildDone{
					App: app, Version: "v1", Commit: commit, TagSeq: 1, Image: &image, Deploy: deploy(1), Took: 1,
				}); err != nil {
					t.Fatal(err)
				}
			},
			Trigger: events.NewRequest(events.ReleaseRequested, "dev", app, "v1", "ann"),
			Outcome: events.KindReleaseDone.Subject("dev", app),
			Counts:  func(f events.Fact) bool { return !f.(*events.ReleaseDone).Unchanged },
			Effects: func(testing.TB) int { return len(b.left()) },
		}
	})
}
