package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tagship/tagship/services/releaser/internal/front"
	"github.com/tagship/tagship/services/releaser/internal/health"
	"github.com/tagship/tagship/services/releaser/internal/release"
)

// Options are what a target works with.
type Options struct {
	Dir     string // the target's own folder
	Images  *Images
	Starter *Starter
	Fronts  *front.Fronts
	Logs    func(app, version string) io.WriteCloser
	Log     *zap.Logger
}

// Target runs the apps of one environment as processes. It implements [release.Target].
type Target struct {
	opts   Options
	prober *health.Prober
	pidDir string

	mu     sync.Mutex
	groups map[string]*group // by release id
}

var _ release.Target = (*Target)(nil)

// group is the instances of one release.
type group struct {
	plan      release.Plan
	image     *image
	instances []*instance
	out       io.Closer
	settled   bool
}

// New makes a target, and stops what a killed predecessor left running.
func New(opts Options) (*Target, error) {
	t := &Target{
		opts:   opts,
		prober: health.NewProber(),
		pidDir: filepath.Join(opts.Dir, "running"),
		groups: map[string]*group{},
	}
	if err := os.MkdirAll(t.pidDir, 0o755); err != nil {
		return nil, fmt.Errorf("keep process files: %w", err)
	}
	if err := stopLeftovers(t.pidDir, opts.Log); err != nil {
		return nil, err
	}
	return t, nil
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
	if t.group(p.Release) != nil {
		return nil
	}
	unpacked, err := t.opts.Images.acquire(ctx, p.Image)
	if err != nil {
		return err
	}
	c, err := commandOf(p, unpacked)
	if err != nil {
		t.opts.Images.release(unpacked.digest, false)
		return err
	}
	t.start(p, unpacked, c)
	return nil
}

func (t *Target) start(p release.Plan, unpacked *image, c command) {
	log := t.opts.Logs(p.App, p.Version)
	g := &group{plan: p, image: unpacked, out: log}
	for range p.Deploy.Instances {
		g.instances = append(g.instances, &instance{
			release: p.Release,
			command: c,
			starter: t.opts.Starter,
			pidDir:  t.pidDir,
			out:     &output{forward: log},
			grace:   time.Duration(p.Deploy.StopGrace),
			started: func() { t.route(p.Release) },
			log:     t.opts.Log,
		})
	}
	t.mu.Lock()
	t.groups[p.Release] = g
	t.mu.Unlock()
	for _, i := range g.instances {
		i.begin()
	}
}

func (t *Target) group(id string) *group {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.groups[id]
}

// Observe implements [release.Target].
func (t *Target) Observe(ctx context.Context, p release.Plan) (release.State, error) {
	t.mu.Lock()
	g := t.groups[p.Release]
	alone := true
	for id, other := range t.groups {
		alone = alone && (id == p.Release || other.plan.App != p.App)
	}
	settled := g != nil && g.settled
	t.mu.Unlock()
	if g == nil {
		return release.State{}, nil
	}
	state := release.State{Settled: settled && alone}
	if p.Deploy.Port != 0 {
		state.Address = t.opts.Fronts.Address(p.App, p.Deploy.Health.HTTP != "")
	}
	for _, i := range g.instances {
		problem, exited := t.check(ctx, p, i)
		if problem == "" {
			state.Healthy++
			continue
		}
		state.Problem, state.Output = problem, i.out.tail()
		if exited && !settled {
			state.Failed = true
			return state, nil
		}
	}
	return state, nil
}

// check says what is wrong with an instance; nothing if it is healthy.
func (t *Target) check(ctx context.Context, p release.Plan, i *instance) (problem string, exited bool) {
	port, runs, exit := i.look()
	switch {
	case !runs && exit != "":
		return "the process " + exit, true
	case !runs:
		return "the process is being started", false
	case p.Deploy.Port == 0:
		return "", false
	}
	if err := t.prober.Probe(ctx, loopback(port), p.Deploy.Health.HTTP); err != nil {
		return fmt.Sprintf("%s (the program is to listen on the port in PORT, %d)", err, port), false
	}
	return "", false
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Settle implements [release.Target].
func (t *Target) Settle(ctx context.Context, p release.Plan) error {
	g := t.group(p.Release)
	if g == nil {
		return fmt.Errorf("release %s is not there", p.Release)
	}
	t.mu.Lock()
	g.settled = true
	t.mu.Unlock()
	for _, i := range g.instances {
		i.keepRunning()
	}
	wait := t.route(p.Release)
	if err := wait(ctx); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	if p.Deploy.Port == 0 {
		if err := t.opts.Fronts.Shut(p.App); err != nil {
			return fmt.Errorf("close the port of %s: %w", p.App, err)
		}
	}
	t.stop(true, func(other *group) bool { return other.plan.App == p.App && other != g })
	return nil
}

// route sends the app's traffic to the settled release's instances, and returns
// how to wait for those that had it before. It does nothing for a release that
// is not settled.
func (t *Target) route(id string) (wait func(context.Context) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	none := func(context.Context) error { return nil }
	g := t.groups[id]
	if g == nil || !g.settled {
		return none
	}
	f := t.opts.Fronts.Get(g.plan.App)
	if f == nil {
		return none
	}
	to := front.Backends{HTTP: g.plan.Deploy.Health.HTTP != "", Grace: time.Duration(g.plan.Deploy.StopGrace)}
	for _, i := range g.instances {
		if port, runs, _ := i.look(); runs {
			to.Addrs = append(to.Addrs, loopback(port))
		}
	}
	if f.Serves(to) {
		return none
	}
	return f.Switch(to)
}

// Clear implements [release.Target].
func (t *Target) Clear(_ context.Context, app string) error {
	err := t.opts.Fronts.Shut(app)
	t.stop(true, func(g *group) bool { return g.plan.App == app })
	if err != nil {
		return fmt.Errorf("close the port of %s: %w", app, err)
	}
	return nil
}

// Close stops all apps. Their images stay for the next start.
func (t *Target) Close() error {
	err := t.opts.Fronts.Close()
	t.stop(false, func(*group) bool { return true })
	return err
}

// stop ends the selected releases, all at once.
func (t *Target) stop(removeImages bool, selected func(*group) bool) {
	t.mu.Lock()
	var going []*group
	for id, g := range t.groups {
		if selected(g) {
			going = append(going, g)
			delete(t.groups, id)
		}
	}
	t.mu.Unlock()
	var ending sync.WaitGroup
	for _, g := range going {
		for _, i := range g.instances {
			ending.Go(i.end)
		}
	}
	ending.Wait()
	for _, g := range going {
		if err := g.out.Close(); err != nil {
			t.opts.Log.Debug("live output is not stored", zap.Error(err))
		}
		t.opts.Images.release(g.image.digest, removeImages)
	}
}
