// Package releaser is the service that puts versions into environments.
//
//	consumes  release.<env>                 a request to release
//	          build.done.<app>.<version>    where an environment is promoted from builds
//	          release.done.<env>.<app>      where one is promoted from another
//	          release.wanted.<env>.<app>    its own: a release to carry out
//	states    release.wanted.<env>.<app>    by request or promotion; the newest wins
//	          release.started.<env>.<app>   the target is being changed
//	          release.done.<env>.<app>      the wanted digest runs, healthy
//	          release.failed.<env>.<app>    what ran before runs again
//	          release.refused.<env>.<app>   nothing was touched
//
// The targets docker and process run apps on the releaser's own machine, behind
// ports that this process serves: an environment with such a target is released
// to by one releaser only.
package releaser

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/services/releaser/internal/release"
)

// Name is the name of the service, and of its section in tagship.yaml.
const Name = "releaser"

// netGiveUp is how much later than the domain, which then ends a release as
// failed, the runtime gives up on a release.wanted that nothing can be done about.
const netGiveUp = time.Hour

// Workers returns the service's workers.
func Workers(cfg Config, r *release.Releaser) []bus.Worker {
	workers := []bus.Worker{{
		// One at a time keeps the order in which people asked.
		Consumer:  bus.Consumer{Name: Name + requestsSuffix, Stream: events.StreamReleases, Filters: []string{events.ReleaseRequested.All()}, MaxInFlight: 1},
		Handle:    bus.Handle(r.Requested),
		Malformed: release.MalformedRequest,
		GaveUp:    release.RequestGivenUp,
	}}
	for _, env := range cfg.names() {
		token := events.Escape(env)
		workers = append(workers, bus.Worker{
			Consumer: bus.Consumer{
				Name:    Name + "-" + token,
				Stream:  events.StreamReleases,
				Filters: []string{string(events.KindReleaseWanted) + "." + token + ".*"},
			},
			Slots:  cfg.Slots,
			GiveUp: time.Duration(cfg.GiveUp) + netGiveUp,
			Handle: bus.Handle(r.Wanted),
		})
		promote := cfg.Environments[env].Promote
		if promote == nil {
			continue
		}
		worker := bus.Worker{Consumer: bus.Consumer{Name: Name + "-" + token + promoteSuffix}}
		if promote.From == release.FromBuild {
			worker.Consumer.Stream, worker.Consumer.Filters = events.StreamBuilds, []string{events.KindBuildDone.All()}
			worker.Handle = bus.Handle(r.PromoteBuilds(env))
		} else {
			worker.Consumer.Stream = events.StreamReleases
			worker.Consumer.Filters = []string{string(events.KindReleaseDone) + "." + events.Escape(promote.From) + ".*"}
			worker.Handle = bus.Handle(r.PromoteReleases(env))
		}
		workers = append(workers, worker)
	}
	return workers
}

// Run releases until ctx ends.
func Run(ctx context.Context, cfg Config, rt daemon.Runtime) (err error) {
	// Checked again for callers that did not read the section from a file.
	if err := cfg.Check(); err != nil {
		return err
	}
	targets, err := openTargets(ctx, cfg, rt, rt.Bus.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, targets.Close()) }()

	r := release.New(environments(cfg, targets), rt.Bus, rt.Bus, rt.Bus, time.Duration(cfg.GiveUp), rt.Log)
	// Restoring reads the streams, which a first start has yet to make.
	if err := rt.Bus.Ensure(ctx); err != nil {
		return err
	}
	group, work := errgroup.WithContext(ctx)
	group.Go(func() error { return rt.Bus.Run(work, Workers(cfg, r)...) })
	group.Go(func() error {
		if err := r.Restore(work); err != nil && work.Err() == nil {
			return fmt.Errorf("restore what ran before: %w", err)
		}
		return nil
	})
	for _, watch := range targets.watches {
		group.Go(func() error {
			watch(work)
			return nil
		})
	}
	rt.Ready()
	rt.Log.Info("releasing", zap.Strings("environments", cfg.names()))
	if err := group.Wait(); err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled)) {
		return err
	}
	return nil
}

func environments(cfg Config, t *targets) []release.Environment {
	var all []release.Environment
	for _, name := range cfg.names() {
		e := release.Environment{Name: name, Target: t.byEnv[name], Restore: true}
		if p := cfg.Environments[name].Promote; p != nil {
			e.Promote = &release.Promotion{From: p.From, Soak: time.Duration(p.Soak), Apps: p.Apps}
		}
		all = append(all, e)
	}
	return all
}
