package releaser

import (
	"context"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/services/releaser/internal/release"
)

// Targets outlive the lives of a service in a test.
type Targets struct {
	*targets
	cfg Config
}

// OpenTargets opens targets whose live output goes nowhere.
func OpenTargets(ctx context.Context, cfg Config, dir string, log *zap.Logger) (*Targets, error) {
	t, err := openTargets(ctx, cfg, daemon.Runtime{Log: log, DataDir: dir}, func(string, string) io.WriteCloser { return nowhere{io.Discard} })
	return &Targets{t, cfg}, err
}

// Workers are the workers of one life.
func (t *Targets) Workers(b *bus.Bus, log *zap.Logger) []bus.Worker {
	r := release.New(environments(t.cfg, t.targets), b, b, b, time.Duration(t.cfg.GiveUp), log)
	return Workers(t.cfg, r)
}

type nowhere struct{ io.Writer }

func (nowhere) Close() error { return nil }
