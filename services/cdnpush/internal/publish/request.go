package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tagship/tagship/events"
)

// Requested publishes the version that somebody asked for. Unlike promotion it
// may take a channel's latest pointer back to an older version. What cannot be
// published is refused, saying what is known and what to do.
func (p *Publisher) Requested(ctx context.Context, d events.Delivery[*events.Request]) ([]events.Fact, error) {
	r := d.Message
	pub := publication{
		channel: r.Place(), by: r.By, requested: true, asked: d.Time, origin: d.Origin, begun: time.Now(),
		build: &events.BuildDone{App: r.App, Version: r.Version},
	}
	channel, known := p.Channels[pub.channel]
	if !known {
		return []events.Fact{pub.refused(p.unknownChannel(pub.channel))}, nil
	}
	pub.store = channel.Store
	switch before, err := p.refusedBefore(ctx, pub); {
	case err != nil:
		return nil, err
	case before != "":
		return nil, events.Skip("refused before: %s", before)
	}
	build, err := p.built(ctx, r.App, r.Version)
	if errors.Is(err, events.ErrNotRecorded) {
		reason, err := p.whyNotBuilt(ctx, r.App, r.Version)
		if err != nil {
			return nil, err
		}
		return []events.Fact{pub.refused(reason)}, nil
	}
	if err != nil {
		return nil, err
	}
	pub.build = build
	if len(build.Packages) == 0 {
		return []events.Fact{pub.refused(fmt.Sprintf("%s %s has no packages: its %s lists none", r.App, r.Version, events.RecipeFile))}, nil
	}
	return p.publish(ctx, pub)
}

// refusedBefore is why an earlier delivery of the same request was refused. It
// stays refused, though it could be followed by now: whoever asked has read the answer.
func (p *Publisher) refusedBefore(ctx context.Context, pub publication) (reason string, err error) {
	last, err := p.Record.Last(ctx, events.KindCDNRefused.Subject(pub.channel, pub.build.App))
	if errors.Is(err, events.ErrNotRecorded) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	refused, ok := last.Fact.(*events.CDNRefused)
	if !ok || refused.Cause == nil || *refused.Cause != pub.origin {
		return "", nil
	}
	return refused.Reason, nil
}

func (p *Publisher) unknownChannel(channel string) string {
	known := "there are none"
	if len(p.Channels) > 0 {
		known = "the channels are " + strings.Join(slices.Sorted(maps.Keys(p.Channels)), ", ")
	}
	return fmt.Sprintf("there is no channel %q; %s. Channels are listed in section cdnpush of tagship.yaml", channel, known)
}

// built looks up the build of a version; the error wraps [events.ErrNotRecorded] if there is none.
func (p *Publisher) built(ctx context.Context, app, version string) (*events.BuildDone, error) {
	last, err := p.Record.Last(ctx, events.KindBuildDone.Subject(app, version))
	if err != nil {
		return nil, err
	}
	build, ok := last.Fact.(*events.BuildDone)
	if !ok {
		return nil, events.Permanent(fmt.Errorf("%s is recorded where a build.done belongs", last.Fact.Kind()))
	}
	return build, nil
}

// whyNotBuilt explains to a person why a version cannot be published.
func (p *Publisher) whyNotBuilt(ctx context.Context, app, version string) (string, error) {
	for _, filter := range []string{
		events.KindBuildFailed.Subject(app, version),
		events.KindBuildStarted.Subject(app, version),
		events.KindTagSeen.Subject(app, version),
		events.KindTagSeen.Subject(app) + ".*",
	} {
		last, err := p.Record.Last(ctx, filter)
		if errors.Is(err, events.ErrNotRecorded) {
			continue
		}
		if err != nil {
			return "", err
		}
		switch f := last.Fact.(type) {
		case *events.BuildFailed:
			return fmt.Sprintf("%s %s could not be built: %s", app, version, f.Reason), nil
		case *events.BuildStarted:
			return fmt.Sprintf("%s %s is being built: request it again after its build.done", app, version), nil
		case *events.TagSeen:
			if f.Version == version {
				return fmt.Sprintf("%s %s was seen but is not built yet: request it again after its build.done", app, version), nil
			}
			return fmt.Sprintf("no tag of %s for version %s was seen, the newest one seen is %s: is it pushed?", app, version, f.Version), nil
		}
	}
	return fmt.Sprintf("no version of %s was ever seen: is the app's name right, and is it listed in section tagwatch of tagship.yaml?", app), nil
}

// Malformed answers a request that cannot be understood.
func Malformed(subject string, body []byte, problem error) events.Fact {
	r, _ := events.ParseRequest(subject, body) // its error is the problem; r says what could be understood
	channel := r.Place()
	if channel == "" {
		channel = events.Unknown
	}
	return &events.CDNRefused{Channel: channel, App: r.App, Version: r.Version, Reason: problem.Error()}
}

// GaveUp states that a request, or a promotion to a channel, was given up on.
// Channel is empty for requests, which name it themselves.
func GaveUp(channel string) func(m events.Event, reason error) []events.Fact {
	return func(m events.Event, reason error) []events.Fact {
		failed := &events.CDNFailed{Channel: channel, Reason: "given up: " + reason.Error()}
		switch m := m.(type) {
		case *events.Request:
			failed.Channel, failed.App, failed.Version, failed.By = m.Place(), m.App, m.Version, m.By
		case *events.BuildDone:
			failed.App, failed.Version = m.App, m.Version
		case *events.CDNDone:
			failed.App, failed.Version = m.App, m.Version
		default:
			return nil
		}
		return []events.Fact{failed}
	}
}
