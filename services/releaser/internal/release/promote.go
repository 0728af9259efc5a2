package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tagship/tagship/events"
)

// candidate is a version that automation may bring to an environment.
type candidate struct {
	release events.Release // for the environment it goes to
	tagSeq  uint64
	from    string
}

// PromoteBuilds makes the handler that wants every built version in the environment.
func (r *Releaser) PromoteBuilds(env string) events.Handler[*events.BuildDone] {
	return func(ctx context.Context, d events.Delivery[*events.BuildDone]) ([]events.Fact, error) {
		build := d.Message
		e, err := r.promoting(env, build.App)
		if err != nil {
			return nil, err
		}
		if build.Deploy == nil || build.Image == nil {
			return nil, events.Skip("%s %s has no deploy section", build.App, build.Version)
		}
		if wait := time.Until(d.Time.Add(e.Promote.Soak)); wait > 0 {
			return nil, events.Snooze(wait, "soaks after its build")
		}
		return nil, r.promote(ctx, d.Origin, candidate{
			release: events.Release{Env: env, App: build.App, Version: build.Version, Digest: build.Image.Digest},
			tagSeq:  build.TagSeq,
			from:    FromBuild,
		})
	}
}

// PromoteReleases makes the handler that wants in the environment what has run
// for long enough in the one it is promoted from.
func (r *Releaser) PromoteReleases(env string) events.Handler[*events.ReleaseDone] {
	return func(ctx context.Context, d events.Delivery[*events.ReleaseDone]) ([]events.Fact, error) {
		done := d.Message
		e, err := r.promoting(env, done.App)
		if err != nil {
			return nil, err
		}
		now, _, found, err := last[*events.ReleaseDone](ctx, r.record, done.Subject())
		if err != nil {
			return nil, err
		}
		if found && now.Version != done.Version {
			return nil, events.Skip("%s in %s was replaced by %s", done.Version, done.Env, now.Version)
		}
		if wait := time.Until(d.Time.Add(e.Promote.Soak)); wait > 0 {
			return nil, events.Snooze(wait, "soaks in "+done.Env)
		}
		return nil, r.promote(ctx, d.Origin, candidate{
			release: events.Release{Env: env, App: done.App, Version: done.Version, Digest: done.Digest},
			tagSeq:  done.TagSeq,
			from:    done.Env,
		})
	}
}

func (r *Releaser) promoting(env, app string) (Environment, error) {
	e, known := r.environments[env]
	if !known || e.Promote == nil {
		return e, events.Permanent(fmt.Errorf("promote %s to %s: nothing is promoted there", app, env))
	}
	if len(e.Promote.Apps) > 0 && !slices.Contains(e.Promote.Apps, app) {
		return e, events.Skip("%s is not among the apps promoted to %s", app, env)
	}
	return e, nil
}

// promote states release.wanted, unless the environment wants something newer
// already or the version has failed there: automation only goes forward.
func (r *Releaser) promote(ctx context.Context, origin events.Cause, c candidate) error {
	for {
		err := r.promoteOnce(ctx, origin, c)
		if !errors.Is(err, events.ErrConflict) {
			return err
		}
	}
}

func (r *Releaser) promoteOnce(ctx context.Context, origin events.Cause, c candidate) error {
	env, app := c.release.Env, c.release.App
	subject := events.KindReleaseWanted.Subject(env, app)
	head, err := r.record.LastSeq(ctx, subject)
	if err != nil {
		return err
	}
	wanted, err := r.furthest(ctx, subject)
	if err != nil {
		return err
	}
	if wanted != nil && wanted.TagSeq >= c.tagSeq {
		return events.Skip("superseded by %s in %s", wanted.Version, env)
	}
	failed, _, found, err := last[*events.ReleaseFailed](ctx, r.record, events.KindReleaseFailed.Subject(env, app))
	if err != nil {
		return err
	}
	if found && failed.Version == c.release.Version {
		return events.Skip("%s has failed in %s before; request it to try again", failed.Version, env)
	}
	fact := &events.ReleaseWanted{
		Meta:     events.Meta{Cause: &origin},
		Release:  c.release,
		TagSeq:   c.tagSeq,
		Promoted: c.from,
	}
	if _, err := r.record.Publish(ctx, fact, events.Fence{Filter: subject, Seq: head}); err != nil {
		return fmt.Errorf("want %s %s in %s: %w", app, c.release.Version, env, err)
	}
	return nil
}

// furthest is the release.wanted of the newest tag, nil if there is none. Where a
// person went back to an older version it is not the last one: automation must
// not bring a version that lies between the two.
func (r *Releaser) furthest(ctx context.Context, subject string) (*events.ReleaseWanted, error) {
	furthest, _, found, err := last[*events.ReleaseWanted](ctx, r.record, subject)
	if err != nil || !found || furthest.Promoted != "" { // what was promoted was newer than all before it
		return furthest, err
	}
	for recorded, err := range r.record.Facts(ctx, subject, false) {
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", subject, err)
		}
		if wanted, ok := recorded.Fact.(*events.ReleaseWanted); ok && wanted.TagSeq > furthest.TagSeq {
			furthest = wanted
		}
	}
	return furthest, nil
}
