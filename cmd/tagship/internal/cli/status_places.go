package cli

import (
	"context"
	"math"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
)

// released is the newest fact of each kind about one app in one environment.
type released struct {
	wanted, started, done, failed, refused *events.Recorded
}

func causedBy(r *events.Recorded, cause events.Cause) bool {
	return r != nil && r.Fact.Head().Cause != nil && *r.Fact.Head().Cause == cause
}

func seqOf(r *events.Recorded) uint64 {
	if r == nil {
		return 0
	}
	return r.Seq
}

func (r *reading) readReleases(ctx context.Context, b *bus.Bus, facts []events.Recorded) error {
	type key struct{ env, app string }
	all, keys := map[key]*released{}, []key{}
	promotedFrom := map[string]string{}
	for _, fact := range facts {
		_, env, app, _ := concerns(fact.Fact.Subject())
		k := key{env, app}
		if all[k] == nil {
			all[k] = &released{}
			keys = append(keys, k)
		}
		switch f := fact.Fact.(type) {
		case *events.ReleaseWanted:
			all[k].wanted = &fact
			if f.Promoted != "" || promotedFrom[env] == "" {
				promotedFrom[env] = f.Promoted
			}
		case *events.ReleaseStarted:
			all[k].started = &fact
		case *events.ReleaseDone:
			all[k].done = &fact
		case *events.ReleaseFailed:
			all[k].failed = &fact
		case *events.ReleaseRefused:
			all[k].refused = &fact
		}
	}
	for _, k := range keys {
		if err := r.readRelease(ctx, b, k.env, k.app, all[k], promotionOrder(promotedFrom, k.env)); err != nil {
			return err
		}
	}
	return nil
}

// promotionOrder is how far an environment is from the build. One that nothing
// is promoted to comes last.
func promotionOrder(promotedFrom map[string]string, env string) int {
	for steps := 0; steps <= len(promotedFrom); steps++ {
		switch env = promotedFrom[env]; env {
		case "":
			return math.MaxInt
		case "build":
			return steps
		}
	}
	return math.MaxInt
}

func (r *reading) readRelease(ctx context.Context, b *bus.Bus, env, app string, l *released, order int) error {
	if l.done != nil || l.wanted != nil {
		place := Place{Name: env, order: order}
		if l.done != nil {
			f := l.done.Fact.(*events.ReleaseDone)
			place.Version, place.At, place.Address, place.Instances = f.Version, f.At, f.Address, f.Instances
		}
		a := r.of(app)
		a.Environments = append(a.Environments, place)
	}
	inFlight, err := isInFlight(ctx, b, env, app, l)
	if err != nil {
		return err
	}
	if inFlight {
		f := l.wanted.Fact.(*events.ReleaseWanted)
		step := Step{Step: "release", App: app, Version: f.Version, Place: env, State: "waiting", Since: f.At, By: f.By}
		if causedBy(l.started, events.Cause{Stream: events.StreamReleases, Seq: l.wanted.Seq}) {
			step.State, step.Since = "started", l.started.Fact.Head().At
		}
		r.inFlight = append(r.inFlight, step)
	}
	if seqOf(l.failed) > seqOf(l.done) {
		f := l.failed.Fact.(*events.ReleaseFailed)
		r.problem(f, Problem{App: app, Version: f.Version, Place: env, Reason: f.Reason, Running: f.Running})
	}
	if seqOf(l.refused) > seqOf(l.done) {
		if f := l.refused.Fact.(*events.ReleaseRefused); r.recent(f, refusedFor) {
			r.problem(f, Problem{App: app, Version: f.Version, Place: env, Reason: f.Reason})
		}
	}
	return nil
}

// isInFlight reports whether the newest release.wanted has no end yet.
func isInFlight(ctx context.Context, b *bus.Bus, env, app string, l *released) (bool, error) {
	if l.wanted == nil {
		return false, nil
	}
	wanted := events.Cause{Stream: events.StreamReleases, Seq: l.wanted.Seq}
	if causedBy(l.done, wanted) || causedBy(l.failed, wanted) || causedBy(l.refused, wanted) {
		return false, nil
	}
	if seqOf(l.refused) < l.wanted.Seq {
		return true, nil
	}
	// The newest refusal may answer a later request, and hide the one that ended this release.
	for fact, err := range b.Facts(ctx, events.KindReleaseRefused.Subject(env, app), false) {
		if err != nil {
			return false, err
		}
		if causedBy(&fact, wanted) {
			return false, nil
		}
	}
	return true, nil
}

func (r *reading) readCDN(facts []events.Recorded) {
	type key struct{ channel, app string }
	all, keys := map[key]*released{}, []key{}
	for _, fact := range facts {
		_, channel, app, _ := concerns(fact.Fact.Subject())
		k := key{channel, app}
		if all[k] == nil {
			all[k] = &released{}
			keys = append(keys, k)
		}
		switch fact.Fact.(type) {
		case *events.CDNStarted:
			all[k].started = &fact
		case *events.CDNDone:
			all[k].done = &fact
		case *events.CDNFailed:
			all[k].failed = &fact
		case *events.CDNRefused:
			all[k].refused = &fact
		}
	}
	for _, k := range keys {
		r.readPublication(k.channel, k.app, all[k])
	}
}

func (r *reading) readPublication(channel, app string, l *released) {
	if l.done != nil || l.started != nil {
		place := Place{Name: channel}
		if l.done != nil {
			f := l.done.Fact.(*events.CDNDone)
			place.Version, place.At = f.Version, f.At
		}
		a := r.of(app)
		a.Channels = append(a.Channels, place)
	}
	if started := seqOf(l.started); started > seqOf(l.done) && started > seqOf(l.failed) && !endedBy(l.refused, l.started) {
		f := l.started.Fact.(*events.CDNStarted)
		r.inFlight = append(r.inFlight, Step{Step: "cdn", App: app, Version: f.Version, Place: channel, State: "started", Since: f.At, By: f.By})
	}
	if seqOf(l.failed) > seqOf(l.done) {
		f := l.failed.Fact.(*events.CDNFailed)
		r.problem(f, Problem{App: app, Version: f.Version, Place: channel, Reason: f.Reason})
	}
	if seqOf(l.refused) > seqOf(l.done) {
		if f := l.refused.Fact.(*events.CDNRefused); r.recent(f, refusedFor) {
			r.problem(f, Problem{App: app, Version: f.Version, Place: channel, Reason: f.Reason})
		}
	}
}

// endedBy reports whether end and start have the same cause: the end is that of the start.
func endedBy(end, start *events.Recorded) bool {
	return end != nil && start.Fact.Head().Cause != nil && causedBy(end, *start.Fact.Head().Cause)
}
