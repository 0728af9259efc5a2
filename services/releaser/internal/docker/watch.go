package docker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/events"
	"go.uber.org/zap"
)

// watchAgain is when a broken stream of events is opened again.
const watchAgain = time.Second

// Watch follows containers to the ports the engine gives them, which are others
// each time one is started again, until ctx ends.
func (t *Target) Watch(ctx context.Context) {
	for ctx.Err() == nil {
		t.follow(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(watchAgain):
		}
	}
}

// follow returns when the engine does not answer any more.
func (t *Target) follow(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	selected := t.filter()
	selected.Add("type", string(events.ContainerEventType))
	selected.Add("event", string(events.ActionStart))
	selected.Add("event", string(events.ActionDie))
	happened, broken := t.engine.Events(ctx, events.ListOptions{Filters: selected})
	t.rerouteAll(ctx) // for what happened while nobody looked
	for {
		select {
		case e := <-happened:
			t.reroute(ctx, e.Actor.Attributes[labelApp])
		case err := <-broken:
			if ctx.Err() == nil {
				t.opts.Log.Warn("the Docker engine's events broke off", zap.Error(err))
			}
			return
		}
	}
}

func (t *Target) rerouteAll(ctx context.Context) {
	t.mu.Lock()
	var apps []string
	for app := range t.settled {
		apps = append(apps, app)
	}
	t.mu.Unlock()
	for _, app := range apps {
		t.reroute(ctx, app)
	}
}

func (t *Target) reroute(ctx context.Context, app string) {
	// Nobody is stopped here, so nobody need be waited for.
	if _, err := t.route(ctx, app); err != nil && ctx.Err() == nil {
		t.opts.Log.Warn("the app's traffic may go to the wrong port", zap.String("app", app), zap.Error(err))
	}
}
