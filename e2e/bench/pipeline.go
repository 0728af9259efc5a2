package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
)

// Names and content of what goes through the pipeline.
const (
	version = "v1.0.0"
	env     = "dev"
	channel = "beta"
	digest  = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	commit  = "0000000000000000000000000000000000000000"
)

// pipeline is the four services with their consumers and slots, and steps that
// state what the real ones state, read what they read, and do nothing else.
func pipeline() map[string]func(*bus.Bus) []bus.Worker {
	return map[string]func(*bus.Bus) []bus.Worker{
		"tagwatch": tagwatch,
		"builder":  builder,
		"releaser": releaser,
		"cdnpush":  cdnpush,
	}
}

func tagwatch(*bus.Bus) []bus.Worker {
	return []bus.Worker{{
		Consumer: bus.Consumer{Name: "tagwatch", Stream: events.StreamTags, Filters: []string{events.TagRequested.All()}},
		Slots:    4,
		Handle: bus.Handle(func(_ context.Context, d events.Delivery[*events.Request]) ([]events.Fact, error) {
			return []events.Fact{tagSeen(d.Message.App)}, nil
		}),
	}}
}

func tagSeen(app string) *events.TagSeen {
	return &events.TagSeen{
		App: app, Version: version, Tag: version, Repo: "https://git.internal/" + app, Commit: commit,
		Source: events.Source{Digest: digest, Size: 1},
		Recipe: events.Recipe{
			Build: events.Build{Toolchain: "golang:1.26", Run: events.Commands{"go build -o out/" + app}},
			Image: &events.RecipeImage{
				Base: "scratch", Layers: []events.Layer{{Name: "app", Copy: map[string]string{"out/" + app: "/app"}}},
				Entrypoint: []string{"/app"},
			},
		},
	}
}

func builder(b *bus.Bus) []bus.Worker {
	return []bus.Worker{{
		Consumer: bus.Consumer{Name: "builder", Stream: events.StreamTags, Filters: []string{events.KindTagSeen.All()}},
		Slots:    2,
		Handle: bus.Handle(func(ctx context.Context, d events.Delivery[*events.TagSeen]) ([]events.Fact, error) {
			seen := d.Message
			if _, err := b.Publish(ctx, &events.BuildStarted{App: seen.App, Version: seen.Version, Commit: seen.Commit, Executor: "docker"}); err != nil {
				return nil, err
			}
			return []events.Fact{buildDone(seen.App, seen.Version, d.Origin.Seq)}, nil
		}),
	}}
}

func releaser(b *bus.Bus) []bus.Worker {
	return []bus.Worker{
		{
			Consumer: bus.Consumer{Name: "releaser-" + env + "-promote", Stream: events.StreamBuilds, Filters: []string{events.KindBuildDone.All()}},
			Handle: bus.Handle(func(ctx context.Context, d events.Delivery[*events.BuildDone]) ([]events.Fact, error) {
				return nil, promote(ctx, b, d.Message)
			}),
		},
		{
			Consumer: bus.Consumer{Name: "releaser-" + env, Stream: events.StreamReleases, Filters: []string{string(events.KindReleaseWanted) + "." + env + ".*"}},
			Slots:    4,
			Handle: bus.Handle(func(ctx context.Context, d events.Delivery[*events.ReleaseWanted]) ([]events.Fact, error) {
				return nil, b.Hold(ctx, "release."+env+"."+events.Escape(d.Message.App), func(ctx context.Context) error {
					return release(ctx, b, d)
				})
			}),
		},
	}
}

// promote wants a version, unless something newer is wanted or it has failed before.
func promote(ctx context.Context, b *bus.Bus, done *events.BuildDone) error {
	subject := events.KindReleaseWanted.Subject(env, done.App)
	head, err := b.LastSeq(ctx, subject)
	if err != nil {
		return err
	}
	for _, subject := range []string{subject, events.KindReleaseFailed.Subject(env, done.App)} {
		if _, err := b.Last(ctx, subject); !errors.Is(err, events.ErrNotRecorded) {
			return events.Permanent(fmt.Errorf("found something on %s: %w", subject, err))
		}
	}
	_, err = b.Publish(ctx, &events.ReleaseWanted{
		Release: events.Release{Env: env, App: done.App, Version: done.Version, Digest: done.Image.Digest},
		TagSeq:  done.TagSeq, Promoted: "build",
	}, events.Fence{Filter: subject, Seq: head})
	return err
}

// release reads what is recorded and states start and end, each only if nothing
// came between.
func release(ctx context.Context, b *bus.Bus, d events.Delivery[*events.ReleaseWanted]) error {
	wanted := d.Message
	filter := "release.*." + env + "." + events.Escape(wanted.App)
	head, err := b.LastSeq(ctx, filter)
	if err != nil {
		return err
	}
	for _, err := range b.Facts(ctx, filter, false) {
		if err != nil {
			return err
		}
	}
	id := fmt.Sprintf("%s-%s-%d", wanted.Env, wanted.App, d.Origin.Seq)
	for _, fact := range []events.Fact{
		&events.ReleaseStarted{Release: wanted.Release, ReleaseID: id},
		&events.ReleaseDone{Release: wanted.Release, ReleaseID: id, Instances: 1, TagSeq: wanted.TagSeq, Took: events.Duration(time.Millisecond)},
	} {
		stored, err := b.Publish(ctx, fact, events.Fence{Filter: filter, Seq: head})
		if err != nil {
			return err
		}
		head = stored.Seq
	}
	return nil
}

func cdnpush(*bus.Bus) []bus.Worker {
	return []bus.Worker{{
		Consumer: bus.Consumer{Name: "cdnpush-" + channel, Stream: events.StreamBuilds, Filters: []string{events.KindBuildDone.All()}},
		Slots:    2,
		Handle: bus.Handle(func(_ context.Context, d events.Delivery[*events.BuildDone]) ([]events.Fact, error) {
			done := d.Message
			return []events.Fact{&events.CDNDone{
				Channel: channel, App: done.App, Version: done.Version, TagSeq: done.TagSeq, Latest: true,
				Files: []events.Download{{URL: strings.Join([]string{"https://dl.internal", channel, done.App, done.Version}, "/"), Digest: digest, Size: 1}},
			}}, nil
		}),
	}}
}
