package up

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/services/builder"
	"github.com/tagship/tagship/services/cdnpush"
	"github.com/tagship/tagship/services/releaser"
	"github.com/tagship/tagship/services/tagwatch"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// serve runs the services until ctx ends, or one of them does.
func (p *process) serve(ctx context.Context) error {
	watch, err := p.connect(ctx, "up")
	if err != nil {
		return err
	}
	// Streams are made once, here, not by four services at the same time.
	if err := watch.Ensure(ctx); err != nil {
		return err
	}
	p.listener.Watch(watch.Connected)
	if err := p.prepareRunFile(ctx, watch); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	ready := &readiness{left: 4, all: func() {
		group.Go(func() error { return p.report(ctx, watch) })
	}}
	start(ctx, p, group, ready, tagwatch.Name, p.config.tagwatch, tagwatch.Run)
	start(ctx, p, group, ready, builder.Name, p.config.builder, builder.Run)
	start(ctx, p, group, ready, releaser.Name, p.config.releaser, releaser.Run)
	start(ctx, p, group, ready, cdnpush.Name, p.config.cdnpush, cdnpush.Run)
	err = group.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// connect connects as one service, through memory instead of TCP.
func (p *process) connect(ctx context.Context, service string) (*bus.Bus, error) {
	options, err := p.config.nats.Options(service, p.log.With(zap.String("service", service)))
	if err != nil {
		return nil, err
	}
	options.URL = p.nats.ClientURL()
	options.Connection = []nats.Option{nats.InProcessServer(p.nats)}
	options.Metrics = p.metrics
	connected, err := bus.Connect(ctx, options)
	if err != nil {
		return nil, err
	}
	p.closeLater(connected.Close)
	return connected, nil
}

// start runs one service with a runtime of its own.
func start[C any](ctx context.Context, p *process, group *errgroup.Group, ready *readiness, name string, config C, run func(context.Context, C, daemon.Runtime) error) {
	group.Go(func() error {
		data := filepath.Join(p.data, name)
		if err := os.MkdirAll(data, 0o750); err != nil {
			return fmt.Errorf("make the folder of %s: %w", name, err)
		}
		connected, err := p.connect(ctx, name)
		if err != nil {
			return err
		}
		err = run(ctx, config, daemon.Runtime{
			Bus: connected, Log: p.log.With(zap.String("service", name)),
			Metrics: p.metrics, Mux: p.listener.Mux, DataDir: data, Ready: sync.OnceFunc(ready.one),
		})
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// readiness calls all once every service is ready.
type readiness struct {
	mu   sync.Mutex
	left int
	all  func()
}

func (r *readiness) one() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left--; r.left == 0 {
		r.all()
	}
}

// report says that everything answers, and from then on what happens.
func (p *process) report(ctx context.Context, watch *bus.Bus) error {
	p.listener.Ready()
	p.mu.Lock()
	p.run.content.CDN = p.cdn
	p.mu.Unlock()
	if err := p.run.publish(); err != nil {
		return err
	}
	p.closeLater(func() {
		if err := p.run.remove(); err != nil {
			p.log.Warn("could not remove run.json", zap.Error(err))
		}
	})
	r := &reporter{out: p.out, colour: daemon.IsTerminal(p.out)}
	r.say("tagship %s is up after %.1fs", daemon.Version(), time.Since(p.began).Seconds())
	r.say("  NATS      %s", p.run.content.NATS)
	r.say("  registry  %s", p.run.content.Registry)
	if p.run.content.CDN != "" {
		r.say("  packages  %s", p.run.content.CDN)
	}
	r.say("  webhooks  %s/webhooks/", p.run.content.Webhooks)
	r.say("  data      %s", p.data)
	err := r.follow(ctx, watch, p.began, func(f events.Fact) error {
		if done, ok := f.(*events.ReleaseDone); ok {
			return p.run.setApp(done.Env, done.App, done.Address)
		}
		return nil
	})
	if ctx.Err() != nil {
		r.say("stopping; what is in work may go on for %s", p.config.nats.Grace)
		return nil //nolint:nilerr // reading ended because everything does
	}
	return err
}

// prepareRunFile gathers what run.json will say once everything answers: apps
// that were released before answer where they did.
func (p *process) prepareRunFile(ctx context.Context, watch *bus.Bus) error {
	p.run = &runFile{dir: p.data, content: RunFile{
		PID: os.Getpid(), NATS: p.nats.ClientURL(), Registry: p.registry,
		Webhooks: p.listener.URL(), Apps: map[string]map[string]string{},
	}}
	running, err := watch.Newest(ctx, events.KindReleaseDone.All())
	if err != nil {
		return err
	}
	for _, r := range running {
		done, ok := r.Fact.(*events.ReleaseDone)
		if !ok || done.Address == "" {
			continue
		}
		if p.run.content.Apps[done.Env] == nil {
			p.run.content.Apps[done.Env] = map[string]string{}
		}
		p.run.content.Apps[done.Env][done.App] = done.Address
	}
	return nil
}

// loopback reports whether an address is one of this machine only.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
