package releaser

import (
	"context"
	"time"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/services/releaser/internal/release"
)

// Wire is the workers of one life of the service, and how it ends.
func Wire(ctx context.Context, cfg Config, rt daemon.Runtime) ([]bus.Worker, func() error, error) {
	t, err := openTargets(ctx, cfg, rt)
	if err != nil {
		return nil, nil, err
	}
	r := release.New(environments(cfg, t), rt.Bus, rt.Bus, rt.Bus, time.Duration(cfg.GiveUp), rt.Log)
	return Workers(cfg, r), t.Close, nil
}
