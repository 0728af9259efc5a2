package release

import (
	"context"

	"github.com/tagship/tagship/events"
)

// Requested answers a request with release.wanted or release.refused. A person
// may ask for any version that is built, older ones too.
func (r *Releaser) Requested(ctx context.Context, d events.Delivery[*events.Request]) ([]events.Fact, error) {
	facts, err := r.answer(ctx, d)
	for _, fact := range facts {
		fact.Head().By = d.Message.By
	}
	return facts, err
}

func (r *Releaser) answer(ctx context.Context, d events.Delivery[*events.Request]) ([]events.Fact, error) {
	request := d.Message
	env, app, version := request.Place(), request.App, request.Version
	if _, known := r.environments[env]; !known {
		return []events.Fact{refused(env, app, version, "there is no environment %q; the environments are %s", env, r.knownEnvironments())}, nil
	}
	// A request that comes again stays refused, though it could be followed by now:
	// whoever asked has read the answer.
	before, _, answered, err := last[*events.ReleaseRefused](ctx, r.record, events.KindReleaseRefused.Subject(env, app))
	if err != nil {
		return nil, err
	}
	if answered && before.Cause != nil && *before.Cause == d.Origin {
		return nil, events.Skip("refused before: %s", before.Reason)
	}
	build, _, built, err := last[*events.BuildDone](ctx, r.record, events.KindBuildDone.Subject(app, version))
	if err != nil {
		return nil, err
	}
	if !built {
		refusal, err := r.refuseUnbuilt(ctx, env, app, version)
		if err != nil {
			return nil, err
		}
		return []events.Fact{refusal}, nil
	}
	if build.Deploy == nil || build.Image == nil {
		return []events.Fact{refused(env, app, version, "%s %s is not released to environments: its %s has no deploy section", app, version, events.RecipeFile)}, nil
	}
	return []events.Fact{&events.ReleaseWanted{
		Release: events.Release{Env: env, App: app, Version: version, Digest: build.Image.Digest},
		TagSeq:  build.TagSeq,
	}}, nil
}

// refuseUnbuilt tells a person who asked for a version that is not built why it
// is not, and what to do.
func (r *Releaser) refuseUnbuilt(ctx context.Context, env, app, version string) (*events.ReleaseRefused, error) {
	_, _, seen, err := last[*events.TagSeen](ctx, r.record, events.KindTagSeen.Subject(app, version))
	if err != nil {
		return nil, err
	}
	if !seen {
		return r.refuseUnseen(ctx, env, app, version)
	}
	failed, failedAt, hasFailed, err := last[*events.BuildFailed](ctx, r.record, events.KindBuildFailed.Subject(app, version))
	if err != nil {
		return nil, err
	}
	_, startedAt, hasStarted, err := last[*events.BuildStarted](ctx, r.record, events.KindBuildStarted.Subject(app, version))
	if err != nil {
		return nil, err
	}
	switch {
	case hasFailed && failedAt.Seq > startedAt.Seq:
		return refused(env, app, version, "the build of %s %s failed: %s; push a new tag, or build it again with %s@%s on %s",
			app, version, failed.Reason, app, version, events.BuildRequested.Subject(app)), nil
	case hasStarted:
		return refused(env, app, version, "%s %s is still being built; ask again after %s", app, version, events.KindBuildDone.Subject(app, version)), nil
	}
	return refused(env, app, version, "%s %s waits to be built; ask again after %s", app, version, events.KindBuildDone.Subject(app, version)), nil
}

func (r *Releaser) refuseUnseen(ctx context.Context, env, app, version string) (*events.ReleaseRefused, error) {
	rejected, _, found, err := last[*events.TagRefused](ctx, r.record, events.KindTagRefused.Subject(app, version))
	if err != nil {
		return nil, err
	}
	if found {
		return refused(env, app, version, "the tag of %s %s was refused: %s", app, version, rejected.Reason), nil
	}
	newest, _, found, err := last[*events.TagSeen](ctx, r.record, string(events.KindTagSeen)+"."+events.Escape(app)+".*")
	if err != nil {
		return nil, err
	}
	if found {
		return refused(env, app, version, "%s has no version %s; its newest is %s; if there is such a tag, ask for it with %s@%s on %s",
			app, version, newest.Version, app, version, events.TagRequested.Subject(app)), nil
	}
	return refused(env, app, version, "no tag of an app %q was ever seen; is the name right, and does tagwatch watch its repository?", app), nil
}

// MalformedRequest answers a request that cannot be understood.
func MalformedRequest(subject string, body []byte, err error) events.Fact {
	request, _ := events.ParseRequest(subject, body) // the error is the one that was given
	env := request.Place()
	if env == "" {
		env = events.Unknown
	}
	return refused(env, request.App, request.Version, "%s", err)
}

// RequestGivenUp answers a request that could not be handled in time.
func RequestGivenUp(m events.Event, reason error) []events.Fact {
	request, ok := m.(*events.Request)
	if !ok {
		return nil
	}
	return []events.Fact{refused(request.Place(), request.App, request.Version, "given up: %s", reason)}
}
