package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tagship/tagship/events"
)

// Promote says which versions come to a channel by themselves.
type Promote struct {
	// From is [FromBuild], or the channel they come from.
	From string
	// Soak is how long a version stays there first.
	Soak time.Duration
	// Apps are those that are promoted; none means all.
	Apps []string
}

// FromBuild promotes what is built.
const FromBuild = "build"

// PromotedBuild handles the builds for a channel that is promoted to from them.
func (p *Publisher) PromotedBuild(channel string) events.Handler[*events.BuildDone] {
	return func(ctx context.Context, d events.Delivery[*events.BuildDone]) ([]events.Fact, error) {
		promoted := publication{channel: channel, build: d.Message, asked: d.Time, origin: d.Origin}
		return p.promote(ctx, promoted)
	}
}

// PromotedChannel handles what was published on the channel that another one is
// promoted to from. A version is refused if, while it soaked, the first channel
// was taken back to an older one.
func (p *Publisher) PromotedChannel(channel string) events.Handler[*events.CDNDone] {
	return func(ctx context.Context, d events.Delivery[*events.CDNDone]) ([]events.Fact, error) {
		build, err := p.built(ctx, d.Message.App, d.Message.Version)
		if errors.Is(err, events.ErrNotRecorded) {
			return nil, events.Permanent(fmt.Errorf("promote to %s: %s %s was published but has no build.done: %w", channel, d.Message.App, d.Message.Version, err))
		}
		if err != nil {
			return nil, err
		}
		return p.promote(ctx, publication{channel: channel, build: build, asked: d.Time, origin: d.Origin})
	}
}

func (p *Publisher) promote(ctx context.Context, pub publication) ([]events.Fact, error) {
	channel, known := p.Channels[pub.channel]
	if !known || channel.Promote == nil {
		return nil, events.Permanent(fmt.Errorf("channel %s is not promoted to", pub.channel))
	}
	promote, app := channel.Promote, pub.build.App
	switch left := time.Until(pub.asked.Add(promote.Soak)); {
	case len(promote.Apps) > 0 && !slices.Contains(promote.Apps, app):
		return nil, events.Skip("%s is not among the apps promoted to %s", app, pub.channel)
	case len(pub.build.Packages) == 0:
		return nil, events.Skip("%s %s has no packages", app, pub.build.Version)
	case left > 0:
		return nil, events.Snooze(left, fmt.Sprintf("%s %s soaks on its way to %s", app, pub.build.Version, pub.channel))
	}
	pub.store, pub.begun = channel.Store, time.Now()
	withdrawn, err := p.withdrawn(ctx, promote.From, pub)
	if err != nil {
		return nil, err
	}
	if withdrawn != "" {
		return []events.Fact{pub.refused(withdrawn)}, nil
	}
	return p.publish(ctx, pub)
}

// withdrawn says why a version is not to follow from one channel to the next.
func (p *Publisher) withdrawn(ctx context.Context, from string, pub publication) (string, error) {
	if from == FromBuild {
		return "", nil
	}
	last, err := p.Record.Last(ctx, events.KindCDNDone.Subject(from, pub.build.App))
	if errors.Is(err, events.ErrNotRecorded) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	newest, ok := last.Fact.(*events.CDNDone)
	if !ok || last.Seq <= pub.origin.Seq || !newest.Latest || newest.TagSeq >= pub.build.TagSeq {
		return "", nil
	}
	return fmt.Sprintf("%s was taken back to %s while %s soaked there: request it for %s if that is meant", from, newest.Version, pub.build.Version, pub.channel), nil
}
