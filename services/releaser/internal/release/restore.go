package release

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tagship/tagship/events"
)

// restoreAgain is when restoring an app is tried again while its target is in trouble.
const restoreAgain = 10 * time.Second

// Restore makes the newest release.done of every app run again, in the
// environments whose target does not outlive this process. An app that does not become
// healthy again is logged, and gets its traffic when the target has mended it.
func (r *Releaser) Restore(ctx context.Context) error {
	var (
		restored sync.WaitGroup
		mu       sync.Mutex
		problems []error
	)
	for _, env := range r.environments {
		if !env.Restore {
			continue
		}
		done, err := r.record.Newest(ctx, string(events.KindReleaseDone)+"."+events.Escape(env.Name)+".*")
		if err != nil {
			return fmt.Errorf("list what ran in %s: %w", env.Name, err)
		}
		for _, recorded := range done {
			fact, ok := recorded.Fact.(*events.ReleaseDone)
			if !ok {
				continue
			}
			restored.Go(func() {
				if err := r.restoreApp(ctx, env, fact); err != nil {
					mu.Lock()
					defer mu.Unlock()
					problems = append(problems, err)
				}
			})
		}
	}
	restored.Wait()
	return errors.Join(problems...)
}

func (r *Releaser) restoreApp(ctx context.Context, env Environment, done *events.ReleaseDone) error {
	log := r.log.With(zap.String("env", env.Name), zap.String("app", done.App))
	for {
		err := r.leases.Hold(ctx, leaseKey(env.Name, done.App), func(ctx context.Context) error {
			if r.isSettled(env.Name, done.App) {
				return nil
			}
			return r.runAgain(ctx, env, done.Subject())
		})
		wait := restoreAgain
		switch {
		case err == nil:
			return nil
		case errors.Is(err, events.ErrHeld):
			wait = heldDelay
		case ctx.Err() == nil:
			log.Error("cannot be made to run again yet", zap.Error(err), zap.Duration("again_in", wait))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("restore %s in %s: %w", done.App, env.Name, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// restoreFirst makes what ran before run again where this process has not done
// so yet: a release that continues after a restart must not keep users waiting
// for the version that works.
func (r *Releaser) restoreFirst(ctx context.Context, a attempt, l *ledger) error {
	if !a.env.Restore || l.running == nil || r.isSettled(a.wanted.Env, a.wanted.App) {
		return nil
	}
	err := r.runAgain(ctx, a.env, l.running.Subject())
	if err != nil && ctx.Err() != nil {
		return err
	}
	if err != nil {
		// The new version may be what mends it.
		r.log.Error("what ran before cannot be made to run again", zap.String("release", l.running.ReleaseID), zap.Error(err))
	}
	return nil
}

// runAgain makes the newest fact on a release.done subject run again.
func (r *Releaser) runAgain(ctx context.Context, env Environment, subject string) error {
	done, _, _, err := last[*events.ReleaseDone](ctx, r.record, subject)
	if err != nil {
		return err
	}
	log := r.log.With(zap.String("release", done.ReleaseID), zap.String("version", done.Version))
	p, refusal, err := r.plan(ctx, done.Release, done.ReleaseID)
	switch {
	case err != nil:
		return err
	case refusal != "":
		return fmt.Errorf("restore %s: %s", done.ReleaseID, refusal)
	}
	_, err = r.converge(ctx, env.Target, p, 0, progress{env: env.Name, to: discard{}, log: log})
	var fault *Fault
	switch {
	case err == nil:
		log.Info("runs again")
	case errors.As(err, &fault) && ctx.Err() == nil:
		// It ran before, so it gets the traffic as soon as the target has mended it.
		log.Error("does not become healthy again", zap.Error(fault))
	default:
		return fmt.Errorf("restore %s: %w", done.ReleaseID, err)
	}
	return r.settle(ctx, env, p)
}

// settle gives all the traffic to the plan's release.
func (r *Releaser) settle(ctx context.Context, env Environment, p Plan) error {
	if err := env.Target.Settle(ctx, p); err != nil {
		return fmt.Errorf("settle %s: %w", p.Release, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settled[leaseKey(env.Name, p.App)] = true
	return nil
}

func (r *Releaser) isSettled(env, app string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settled[leaseKey(env, app)]
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }
