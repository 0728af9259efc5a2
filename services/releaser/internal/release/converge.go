package release

import (
	"context"
	"fmt"
	"time"
)

const (
	// pollEvery is how often a target is asked how a release fares.
	pollEvery = 250 * time.Millisecond
	// tolerated is how many observations in a row may find a soaking release
	// unhealthy: one slow answer is no crash.
	tolerated = 2
)

// converge applies a plan and returns what the target reports once all
// instances have been healthy for as long as soak. The error is a [*Fault] if they do not
// become or stay healthy.
func (r *Releaser) converge(ctx context.Context, target Target, p Plan, soak time.Duration, out progress) (State, error) {
	if err := target.Apply(ctx, p); err != nil {
		return State{}, fmt.Errorf("apply %s: %w", p.Release, err)
	}
	w := watch{plan: p, soak: soak, deadline: time.Now().Add(time.Duration(p.Deploy.Health.Within))}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		state, err := target.Observe(ctx, p)
		if err != nil {
			return State{}, fmt.Errorf("observe %s: %w", p.Release, err)
		}
		wasHealthy := !w.healthySince.IsZero()
		stable, err := w.judge(state, time.Now())
		if stable || err != nil {
			return state, err
		}
		if !wasHealthy && !w.healthySince.IsZero() && soak > 0 {
			out.say("healthy; watching for %s", soak)
		}
		select {
		case <-ctx.Done():
			return State{}, fmt.Errorf("wait for %s to become healthy: %w", p.Release, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// watch judges what is observed of a release.
type watch struct {
	plan         Plan
	soak         time.Duration
	deadline     time.Time
	healthySince time.Time // zero until all instances were healthy
	misses       int       // unhealthy observations in a row since then
}

func (w *watch) judge(s State, now time.Time) (stable bool, fault error) {
	if s.Problem == "" {
		s.Problem = "the target does not know of the others"
	}
	if s.Failed {
		return false, &Fault{Reason: s.Problem, Output: s.Output}
	}
	healthy := s.Healthy >= w.plan.Deploy.Instances
	switch {
	case healthy && w.healthySince.IsZero():
		w.healthySince = now
	case healthy:
		w.misses = 0
	case w.healthySince.IsZero():
		if now.Before(w.deadline) {
			return false, nil
		}
		return false, &Fault{
			Reason: fmt.Sprintf("%d of %d instances healthy within %s: %s", s.Healthy, w.plan.Deploy.Instances, w.plan.Deploy.Health.Within, s.Problem),
			Output: s.Output,
		}
	default:
		if w.misses++; w.misses <= tolerated {
			return false, nil
		}
		return false, &Fault{
			Reason: fmt.Sprintf("was healthy, but not for %s: %s", w.soak, s.Problem),
			Output: s.Output,
		}
	}
	return healthy && now.Sub(w.healthySince) >= w.soak, nil
}
