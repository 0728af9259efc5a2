package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/tagship/tagship/events"
)

// heldDelay is when a release looks again whether the one under way has ended.
const heldDelay = time.Second

// Wanted carries out a release. What it has to say it commits itself, fenced.
func (r *Releaser) Wanted(ctx context.Context, d events.Delivery[*events.ReleaseWanted]) ([]events.Fact, error) {
	wanted := d.Message
	env, known := r.environments[wanted.Env]
	if !known {
		return []events.Fact{refused(wanted.Env, wanted.App, wanted.Version, "there is no environment %q any more; the environments are %s", wanted.Env, r.knownEnvironments())}, nil
	}
	a := attempt{env: env, wanted: wanted, origin: d.Origin, id: releaseID(wanted, d.Origin)}
	err := r.leases.Hold(ctx, leaseKey(wanted.Env, wanted.App), func(ctx context.Context) error {
		a.out = progress{env: wanted.Env, to: r.logs.Log(wanted.App, wanted.Version), log: r.log.With(zap.String("release", a.id))}
		defer a.out.close()
		err := r.carryOut(ctx, a)
		_, _, snoozed := events.IsSnooze(err)
		if err == nil || snoozed || time.Since(d.Time) < r.giveUp || ctx.Err() != nil {
			return err
		}
		return r.abandon(ctx, a, err)
	})
	if errors.Is(err, events.ErrHeld) {
		return nil, events.Snooze(heldDelay, "another release of "+wanted.App+" in "+wanted.Env+" is under way")
	}
	return nil, err
}

func leaseKey(env, app string) string {
	return "release." + events.Escape(env) + "." + events.Escape(app)
}

// carryOut decides on the ledger what is left to do, and does it. Where a commit
// finds that something else was recorded meanwhile, it decides again.
func (r *Releaser) carryOut(ctx context.Context, a attempt) error {
	for {
		err := r.decide(ctx, a)
		if !errors.Is(err, events.ErrConflict) {
			return err
		}
	}
}

func (r *Releaser) decide(ctx context.Context, a attempt) error {
	l, err := r.readLedger(ctx, a)
	if err != nil {
		return err
	}
	switch {
	case l.ended != nil:
		return nil
	case l.started != nil && l.overrun != nil:
		return r.commit(ctx, a, l, a.failed(l, "overtaken by "+l.overrun.Version+" while it was being released"))
	case l.started == nil && l.newer != nil:
		return r.commit(ctx, a, l, refused(a.wanted.Env, a.wanted.App, a.wanted.Version, "superseded by %s", l.newer.Version))
	}
	plan, refusal, err := r.plan(ctx, a.wanted.Release, a.id)
	switch {
	case err != nil:
		return err
	case refusal != "":
		return r.commit(ctx, a, l, refused(a.wanted.Env, a.wanted.App, a.wanted.Version, "%s", refusal))
	}
	if err := r.restoreFirst(ctx, a, l); err != nil {
		return err
	}
	if l.started == nil {
		unchanged, err := r.alreadyRuns(ctx, a, l, plan)
		if err != nil || unchanged {
			return err
		}
		started := &events.ReleaseStarted{Release: a.wanted.Release, ReleaseID: a.id, Replaces: l.runningVersion()}
		if err := r.commit(ctx, a, l, started); err != nil {
			return err
		}
	}
	return r.deploy(ctx, a, l, plan)
}

// plan is what the target is to run for a release. Refusal says why there is nothing to run.
func (r *Releaser) plan(ctx context.Context, release events.Release, id string) (p Plan, refusal string, err error) {
	build, _, built, err := last[*events.BuildDone](ctx, r.record, events.KindBuildDone.Subject(release.App, release.Version))
	switch {
	case err != nil:
		return p, "", err
	case !built:
		return p, fmt.Sprintf("%s %s is not built", release.App, release.Version), nil
	case build.Deploy == nil || build.Image == nil:
		return p, fmt.Sprintf("%s %s has no deploy section", release.App, release.Version), nil
	case build.Image.Digest != release.Digest:
		return p, fmt.Sprintf("%s is wanted as %s, but was built as %s", release.Version, release.Digest, build.Image.Digest), nil
	}
	return Plan{
		Release: id,
		Env:     release.Env,
		App:     release.App,
		Version: release.Version,
		Image:   *build.Image,
		Deploy:  *build.Deploy,
	}, "", nil
}

// alreadyRuns commits release.done if the wanted version runs already, healthy
// and alone; then nothing is touched.
func (r *Releaser) alreadyRuns(ctx context.Context, a attempt, l *ledger, wanted Plan) (bool, error) {
	if l.running == nil || l.running.Version != a.wanted.Version || l.running.Digest != a.wanted.Digest {
		return false, nil
	}
	running := wanted
	running.Release = l.running.ReleaseID
	state, err := a.env.Target.Observe(ctx, running)
	if err != nil {
		return false, fmt.Errorf("observe %s in %s: %w", a.wanted.App, a.wanted.Env, err)
	}
	if !state.Settled || state.Healthy < wanted.Deploy.Instances {
		return false, nil
	}
	done := a.done(state, time.Time{})
	done.ReleaseID, done.Unchanged = l.running.ReleaseID, true
	return true, r.commit(ctx, a, l, done)
}

// deploy brings the plan to the target, and back what ran before if the app is at fault.
func (r *Releaser) deploy(ctx context.Context, a attempt, l *ledger, p Plan) error {
	begun := time.Now()
	if l.started != nil {
		begun = l.started.Time
	}
	a.out.say("releasing %s %s", p.App, p.Version)
	state, err := r.bringUp(ctx, a, p)
	var fault *Fault
	switch {
	case err == nil:
		a.out.say("%s %s runs", p.App, p.Version)
		return r.conclude(ctx, a, func(*ledger) events.Fact { return a.done(state, begun) })
	case errors.As(err, &fault) && ctx.Err() == nil:
		a.out.say("%s", fault)
		return r.rollBack(ctx, a, fault.Error(), false)
	}
	return err
}

// bringUp applies the plan, moves the traffic once it has proved healthy, and
// returns what the target reports then.
func (r *Releaser) bringUp(ctx context.Context, a attempt, p Plan) (State, error) {
	soak := time.Duration(p.Deploy.Health.Soak)
	if _, err := r.converge(ctx, a.env.Target, p, soak, a.out); err != nil {
		return State{}, err
	}
	if err := r.stillOurs(ctx, a); err != nil {
		return State{}, err
	}
	if err := r.settle(ctx, a.env, p); err != nil {
		return State{}, err
	}
	return r.converge(ctx, a.env.Target, p, 0, a.out)
}

// rollBack makes run what ran before and commits release.failed. The last
// attempt commits it even where the target's trouble keeps it from rolling back.
func (r *Releaser) rollBack(ctx context.Context, a attempt, reason string, lastAttempt bool) error {
	l, err := r.readLedger(ctx, a)
	if err != nil {
		return err
	}
	if l.overrun != nil {
		return a.overtaken(l)
	}
	running := l.runningVersion()
	if err := r.bringBack(ctx, a, l); err != nil {
		var fault *Fault
		if ctx.Err() != nil || !errors.As(err, &fault) && !lastAttempt {
			return err
		}
		reason += fmt.Sprintf("; rolling back to %s failed too: %s", orNothing(running), err)
		running = ""
	}
	a.out.say("rolled back; running now: %s", orNothing(running))
	return r.conclude(ctx, a, func(l *ledger) events.Fact {
		failed := a.failed(l, reason)
		failed.Running = running
		return failed
	})
}

// bringBack makes the newest release.done run again, or nothing if there is none.
func (r *Releaser) bringBack(ctx context.Context, a attempt, l *ledger) error {
	if l.running == nil {
		if err := a.env.Target.Clear(ctx, a.wanted.App); err != nil {
			return fmt.Errorf("clear %s in %s: %w", a.wanted.App, a.wanted.Env, err)
		}
		return nil
	}
	p, refusal, err := r.plan(ctx, l.running.Release, l.running.ReleaseID)
	switch {
	case err != nil:
		return err
	case refusal != "":
		return &Fault{Reason: refusal}
	}
	a.out.say("rolling back to %s", p.Version)
	if _, err := r.converge(ctx, a.env.Target, p, 0, a.out); err != nil {
		return err
	}
	return r.settle(ctx, a.env, p)
}

// abandon ends a release that the target's trouble has kept from ending for too
// long. What was recorded meanwhile makes it decide again.
func (r *Releaser) abandon(ctx context.Context, a attempt, trouble error) error {
	for {
		err := r.abandonOnce(ctx, a, trouble)
		if !errors.Is(err, events.ErrConflict) {
			return err
		}
	}
}

func (r *Releaser) abandonOnce(ctx context.Context, a attempt, trouble error) error {
	l, err := r.readLedger(ctx, a)
	if err != nil {
		return err
	}
	reason := fmt.Sprintf("given up after %s: %s", r.giveUp, trouble)
	switch {
	case l.ended != nil || l.overrun != nil:
		return trouble
	case l.started == nil:
		return r.commit(ctx, a, l, refused(a.wanted.Env, a.wanted.App, a.wanted.Version, "%s", reason))
	}
	return r.rollBack(ctx, a, reason, true)
}

// stillOurs reads the ledger once more before the traffic is moved: whoever has
// begun a newer release owns the target.
func (r *Releaser) stillOurs(ctx context.Context, a attempt) error {
	l, err := r.readLedger(ctx, a)
	if err != nil {
		return err
	}
	if l.overrun != nil {
		return a.overtaken(l)
	}
	return nil
}

// conclude commits the end of a release. What was recorded meanwhile makes it
// read the ledger again; only a newer release's start stops it.
func (r *Releaser) conclude(ctx context.Context, a attempt, end func(*ledger) events.Fact) error {
	for {
		l, err := r.readLedger(ctx, a)
		if err != nil {
			return err
		}
		if l.ended != nil {
			return nil
		}
		if l.overrun != nil {
			return a.overtaken(l)
		}
		if err = r.commit(ctx, a, l, end(l)); !errors.Is(err, events.ErrConflict) {
			return err
		}
	}
}

// overtaken puts the message back until the newer release has ended; then the
// ledger tells how this one ends.
func (a attempt) overtaken(l *ledger) error {
	return events.Snooze(heldDelay, "overtaken by "+l.overrun.ReleaseID)
}

func (a attempt) done(s State, begun time.Time) *events.ReleaseDone {
	done := &events.ReleaseDone{
		Release:   a.wanted.Release,
		ReleaseID: a.id,
		Address:   s.Address,
		Instances: s.Healthy,
		TagSeq:    a.wanted.TagSeq,
	}
	if !begun.IsZero() {
		done.Took = events.Duration(max(0, time.Since(begun).Round(time.Millisecond)))
	}
	return done
}

func (a attempt) failed(l *ledger, reason string) *events.ReleaseFailed {
	return &events.ReleaseFailed{
		Release:   a.wanted.Release,
		ReleaseID: a.id,
		Reason:    reason,
		Running:   l.runningVersion(),
	}
}

// progress tells people how a release goes, in its live output.
type progress struct {
	env string
	to  io.WriteCloser
	log *zap.Logger
}

func (p progress) say(format string, args ...any) {
	if _, err := fmt.Fprintf(p.to, p.env+": "+format+"\n", args...); err != nil {
		p.log.Debug("live output is not stored", zap.Error(err))
	}
}

func (p progress) close() {
	if err := p.to.Close(); err != nil {
		p.log.Debug("live output is not stored", zap.Error(err))
	}
}

func orNothing(version string) string {
	if version == "" {
		return "nothing"
	}
	return version
}
