package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/docker/docker/client"
	"go.uber.org/zap"

	"github.com/tagship/tagship/services/releaser/internal/front"
	"github.com/tagship/tagship/services/releaser/internal/health"
	"github.com/tagship/tagship/services/releaser/internal/release"
)

// Login is how to get into a registry.
type Login struct{ Username, Password string }

// Options are what a target works with.
type Options struct {
	Env          string
	Installation string           // tells this installation's containers from others'
	Host         string           // the engine, such as unix:///var/run/docker.sock; empty for what DOCKER_HOST says
	Logins       map[string]Login // by the registry's host
	RemoveOnExit bool             // Close removes the containers; else they keep running
	Fronts       *front.Fronts
	Log          *zap.Logger
}

// Target runs the apps of one environment as containers. It implements [release.Target].
type Target struct {
	opts   Options
	engine *client.Client
	prober *health.Prober

	mu      sync.Mutex
	settled map[string]release.Plan // by app: what has the traffic
}

var _ release.Target = (*Target)(nil)

// New makes a target. The engine need not answer yet.
func New(opts Options) (*Target, error) {
	engine, err := connect(opts.Host)
	if err != nil {
		return nil, err
	}
	return &Target{opts: opts, engine: engine, prober: health.NewProber(), settled: map[string]release.Plan{}}, nil
}

func connect(host string) (*client.Client, error) {
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if host != "" {
		options = append(options, client.WithHost(host))
	}
	engine, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, fmt.Errorf("connect to the Docker engine: %w", err)
	}
	return engine, nil
}

// Answers reports whether an engine answers at the host.
func Answers(ctx context.Context, host string) bool {
	engine, err := connect(host)
	if err != nil {
		return false
	}
	defer engine.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = engine.Ping(ctx)
	return err == nil
}

// Apply implements [release.Target].
func (t *Target) Apply(ctx context.Context, p release.Plan) error {
	if p.Deploy.Port != 0 {
		if _, err := t.opts.Fronts.Open(p.App); err != nil {
			var taken *front.TakenError
			if errors.As(err, &taken) {
				return &release.Fault{Reason: err.Error()}
			}
			return err
		}
	}
	there, err := t.instances(ctx, ofRelease(p))
	if err != nil {
		return err
	}
	return t.start(ctx, p, there)
}

// Observe implements [release.Target].
func (t *Target) Observe(ctx context.Context, p release.Plan) (release.State, error) {
	all, err := t.instances(ctx, ofApp(p.App))
	if err != nil {
		return release.State{}, err
	}
	t.mu.Lock()
	settled, isSettled := t.settled[p.App]
	t.mu.Unlock()
	state := release.State{Settled: isSettled && settled.Release == p.Release}
	if p.Deploy.Port != 0 {
		state.Address = t.opts.Fronts.Address(p.App, p.Deploy.Health.HTTP != "")
	}
	for _, i := range all {
		if i.release != p.Release {
			state.Settled = false
			continue
		}
		problem := t.check(ctx, p, i)
		if problem == "" {
			state.Healthy++
			continue
		}
		state.Problem = problem
		if state.Output, err = t.output(ctx, i); err != nil {
			t.opts.Log.Warn("a container's output cannot be shown", zap.Error(err))
		}
		if i.exited && !i.kept {
			state.Failed = true
			return state, nil
		}
	}
	return state, nil
}

// check says what is wrong with an instance; nothing if it is healthy.
func (t *Target) check(ctx context.Context, p release.Plan, i instance) string {
	switch {
	case !i.running:
		return "the container " + i.status
	case p.Deploy.Port == 0:
		return ""
	case i.addr == "":
		return "the container's port is not published"
	}
	if err := t.prober.Probe(ctx, i.addr, p.Deploy.Health.HTTP); err != nil {
		return fmt.Sprintf("%s (the program is to listen on port %d)", err, p.Deploy.Port)
	}
	return ""
}

// Settle implements [release.Target].
func (t *Target) Settle(ctx context.Context, p release.Plan) error {
	all, err := t.instances(ctx, ofApp(p.App))
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(i instance) bool { return i.release == p.Release }) {
		return fmt.Errorf("release %s has no containers", p.Release)
	}
	var others []instance
	for _, i := range all {
		if i.release != p.Release {
			others = append(others, i)
		} else if err := t.keep(ctx, i); err != nil {
			return err
		}
	}
	t.mu.Lock()
	t.settled[p.App] = p
	t.mu.Unlock()
	wait, err := t.route(ctx, p.App)
	if err != nil {
		return err
	}
	if err := wait(ctx); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	if p.Deploy.Port == 0 {
		if err := t.opts.Fronts.Shut(p.App); err != nil {
			return fmt.Errorf("close the port of %s: %w", p.App, err)
		}
	}
	return t.remove(ctx, others)
}

// route sends the app's traffic to where its settled release's containers are
// now, and returns how to wait for those that had it before.
func (t *Target) route(ctx context.Context, app string) (wait func(context.Context) error, err error) {
	none := func(context.Context) error { return nil }
	t.mu.Lock()
	p, settled := t.settled[app]
	t.mu.Unlock()
	f := t.opts.Fronts.Get(app)
	if !settled || f == nil {
		return none, nil
	}
	there, err := t.instances(ctx, ofRelease(p))
	if err != nil {
		return nil, err
	}
	to := front.Backends{HTTP: p.Deploy.Health.HTTP != "", Grace: time.Duration(p.Deploy.StopGrace)}
	for _, i := range there {
		if i.running && i.addr != "" {
			to.Addrs = append(to.Addrs, i.addr)
		}
	}
	// The release may have changed while the engine was asked.
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.settled[app].Release != p.Release || f.Serves(to) {
		return none, nil
	}
	return f.Switch(to), nil
}

// Clear implements [release.Target].
func (t *Target) Clear(ctx context.Context, app string) error {
	t.mu.Lock()
	delete(t.settled, app)
	t.mu.Unlock()
	if err := t.opts.Fronts.Shut(app); err != nil {
		return fmt.Errorf("close the port of %s: %w", app, err)
	}
	all, err := t.instances(ctx, ofApp(app))
	if err != nil {
		return err
	}
	return t.remove(ctx, all)
}

// removalTime is how long Close may take to remove the containers.
const removalTime = 30 * time.Second

// Close closes the ports and, if it is to, removes the environment's containers.
func (t *Target) Close() error {
	err := t.opts.Fronts.Close()
	if t.opts.RemoveOnExit {
		ctx, cancel := context.WithTimeout(context.Background(), removalTime)
		defer cancel()
		all, listErr := t.instances(ctx, nil)
		err = errors.Join(err, listErr, t.remove(ctx, all))
	}
	return errors.Join(err, t.engine.Close())
}

// hostOf is the loopback address to reach a published port at.
func hostOf(ip, port string) string {
	if ip == "" || ip == "0.0.0.0" {
		ip = loopback
	}
	return net.JoinHostPort(ip, port)
}
