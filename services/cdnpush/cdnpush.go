// Package cdnpush is the service that publishes packages to channels.
//
//	consumes  cdn.<channel>                 publish a version
//	          build.done.<app>.<version>    for channels promoted to from builds
//	          cdn.done.<channel>.<app>      for channels promoted to from another one
//	states    cdn.started.<channel>.<app>   it writes
//	          cdn.done.<channel>.<app>      every package can be downloaded
//	          cdn.failed.<channel>.<app>    it was begun and cannot be completed
//	          cdn.refused.<channel>.<app>   nothing was published
//	serves    the folders of channels, each on the address its store names
//
// What it knows is in the record and in the stores. Any number of replicas may
// run, with folders on a file system that they share.
package cdnpush

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/services/cdnpush/internal/publish"
	"github.com/tagship/tagship/services/cdnpush/internal/registry"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Name is the name of the service, and of its section in tagship.yaml.
const Name = "cdnpush"

// Consumers are the durable consumers that the service works on.
func Consumers(cfg Config) []bus.Consumer {
	consumers := []bus.Consumer{requests()}
	for _, channel := range cfg.promoted() {
		consumers = append(consumers, promotions(channel, cfg.Channels[channel].Promote.From))
	}
	return consumers
}

func requests() bus.Consumer {
	return bus.Consumer{Name: Name, Stream: events.StreamCDN, Filters: []string{events.CDNRequested.All()}}
}

func promotions(channel, from string) bus.Consumer {
	c := bus.Consumer{Name: Name + "-" + events.Escape(channel), Stream: events.StreamBuilds, Filters: []string{events.KindBuildDone.All()}}
	if from != publish.FromBuild {
		c.Stream, c.Filters = events.StreamCDN, []string{events.KindCDNDone.Subject(from) + ".*"}
	}
	return c
}

// Run publishes until ctx ends.
func Run(ctx context.Context, cfg Config, rt daemon.Runtime) error {
	if err := cfg.Complete(); err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	sites, err := openSites(cfg, rt.Log)
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	publisher, err := newPublisher(cfg, sites, rt)
	if err != nil {
		return errors.Join(err, sites.close())
	}
	for channel, url := range sites.urls {
		rt.Log.Info("channel", zap.String("channel", channel), zap.String("url", url))
		if cfg.Serving != nil {
			cfg.Serving(channel, url)
		}
	}
	rt.Ready()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return rt.Bus.Run(ctx, workers(cfg, publisher)...) })
	group.Go(func() error { return sites.serve(ctx) })
	return errors.Join(group.Wait(), sites.close())
}

func newPublisher(cfg Config, s *sites, rt daemon.Runtime) (*publish.Publisher, error) {
	packages, err := registry.New(registry.Options{User: cfg.RegistryUser, Password: cfg.RegistryPassword.Reveal(), Insecure: cfg.Insecure})
	if err != nil {
		return nil, fmt.Errorf("set up the registry: %w", err)
	}
	p := &publish.Publisher{Record: rt.Bus, Leases: rt.Bus, Packages: packages, Channels: map[string]publish.Channel{}, Log: rt.Log}
	for name, c := range cfg.Channels {
		channel := publish.Channel{Store: s.stores[name]}
		if c.Promote != nil {
			channel.Promote = &publish.Promote{From: c.Promote.From, Soak: time.Duration(c.Promote.Soak), Apps: c.Promote.Apps}
		}
		p.Channels[name] = channel
	}
	return p, nil
}

// workers are the steps of the service, one for each of its consumers.
func workers(cfg Config, p *publish.Publisher) []bus.Worker {
	all := []bus.Worker{{
		Consumer: requests(), Slots: cfg.Slots, GiveUp: time.Duration(cfg.GiveUp),
		Handle: bus.Handle(p.Requested), Malformed: publish.Malformed, GaveUp: publish.GaveUp(""),
	}}
	for _, channel := range cfg.promoted() {
		promote := cfg.Channels[channel].Promote
		w := bus.Worker{
			Consumer: promotions(channel, promote.From), Slots: cfg.Slots,
			GiveUp: time.Duration(cfg.GiveUp + promote.Soak), // a message's age counts from before its soak
			Handle: bus.Handle(p.PromotedChannel(channel)), GaveUp: publish.GaveUp(channel),
		}
		if promote.From == publish.FromBuild {
			w.Handle = bus.Handle(p.PromotedBuild(channel))
		}
		all = append(all, w)
	}
	return all
}
