package github

import (
	"context"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// Budgets tells what each credential may still do.
func (h *Host) Budgets() []watch.Budget { return nil }

// Pause is the time between two sweeps, such that they use a part of the budget only.
func (h *Host) Pause(interval time.Duration) time.Duration { return interval }

// tally makes the requests by a context be counted as one listing's, until done
// is called. The most expensive listing since the last [Host.Pause] is the sweep
// that it goes by.
func (h *Host) tally(ctx context.Context) (counted context.Context, done func()) { return ctx, func() {} }
