package releaser

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"go.uber.org/zap"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/releaser/internal/docker"
	"github.com/tagship/tagship/services/releaser/internal/front"
	"github.com/tagship/tagship/services/releaser/internal/process"
	"github.com/tagship/tagship/services/releaser/internal/release"
)

// targets are the targets of all environments, and what they share.
type targets struct {
	byEnv   map[string]release.Target
	watches []func(context.Context) // run for as long as the service does
	closers []func() error
	atLast  []func() error // after all closers

	cfg          Config
	rt           daemon.Runtime
	logs         func(app, version string) io.WriteCloser
	installation string
	images       *process.Images
	starter      *process.Starter
}

// openTargets makes the targets ready. Logs takes the live output of processes.
func openTargets(ctx context.Context, cfg Config, rt daemon.Runtime, logs func(app, version string) io.WriteCloser) (*targets, error) {
	t := &targets{byEnv: map[string]release.Target{}, cfg: cfg, rt: rt, logs: logs}
	if err := t.open(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *targets) open(ctx context.Context) error {
	unlock, err := lock(t.rt.DataDir)
	if err != nil {
		return err
	}
	t.atLast = append(t.atLast, unlock)
	if t.installation, err = installation(t.rt.DataDir); err != nil {
		return err
	}
	for _, name := range t.cfg.names() {
		if err := t.openTarget(ctx, name, t.cfg.Environments[name].Target); err != nil {
			return fmt.Errorf("environment %s: %w", name, err)
		}
	}
	return nil
}

func (t *targets) openTarget(ctx context.Context, env string, c Target) error {
	log := t.rt.Log.With(zap.String("env", env))
	switch {
	case c.Docker != nil:
		return t.openDocker(env, *c.Docker, log)
	case c.Process != nil:
		return t.openProcess(env, *c.Process, log)
	case docker.Answers(ctx, ""):
		log.Info("a Docker engine answers: apps run in containers")
		return t.openDocker(env, Docker{Listen: loopback}, log)
	}
	log.Info("no Docker engine answers: apps run as processes")
	return t.openProcess(env, Process{Listen: loopback}, log)
}

const loopback = "127.0.0.1"

// fronts are the ports of an environment's apps.
func (t *targets) fronts(env, kind, listen string, ports map[string]int) (*front.Fronts, error) {
	return front.New(front.Options{
		Env:     env,
		Listen:  listen,
		Ports:   ports,
		Setting: "releaser.environments." + env + ".target." + kind + ".ports",
		Dir:     t.dir(env),
		Log:     t.rt.Log,
	})
}

func (t *targets) dir(env string) string {
	return filepath.Join(t.rt.DataDir, "environments", events.Escape(env))
}

func (t *targets) openDocker(env string, c Docker, log *zap.Logger) error {
	fronts, err := t.fronts(env, "docker", c.Listen, c.Ports)
	if err != nil {
		return err
	}
	logins := map[string]docker.Login{}
	for host, r := range t.cfg.Registries {
		logins[host] = docker.Login{Username: r.Username, Password: r.Password.Reveal()}
	}
	target, err := docker.New(docker.Options{
		Env:          env,
		Installation: t.installation,
		Host:         c.Host,
		Logins:       logins,
		RemoveOnExit: t.cfg.StopOnExit,
		Fronts:       fronts,
		Log:          log,
	})
	if err != nil {
		return err
	}
	t.byEnv[env] = target
	t.watches = append(t.watches, target.Watch)
	t.closers = append(t.closers, target.Close)
	return nil
}

func (t *targets) openProcess(env string, c Process, log *zap.Logger) error {
	fronts, err := t.fronts(env, "process", c.Listen, c.Ports)
	if err != nil {
		return err
	}
	if t.images == nil {
		if err := t.openImages(); err != nil {
			return err
		}
	}
	target, err := process.New(process.Options{
		Dir:     t.dir(env),
		Images:  t.images,
		Starter: t.starter,
		Fronts:  fronts,
		Logs:    t.logs,
		Log:     log,
	})
	if err != nil {
		return err
	}
	t.byEnv[env] = target
	t.closers = append(t.closers, target.Close)
	return nil
}

// openImages makes ready what all process targets share.
func (t *targets) openImages() (err error) {
	logins := map[string]process.Login{}
	for host, r := range t.cfg.Registries {
		logins[host] = process.Login{Username: r.Username, Password: r.Password.Reveal()}
	}
	if t.images, err = process.NewImages(filepath.Join(t.rt.DataDir, "images"), logins, t.rt.Log); err != nil {
		return err
	}
	t.starter = process.NewStarter()
	t.atLast = append(t.atLast, func() error {
		t.starter.Close()
		return nil
	})
	return nil
}

// Close closes all targets at once, for each may take its apps' grace.
func (t *targets) Close() error {
	problems := make([]error, len(t.closers))
	var closing sync.WaitGroup
	for i, c := range t.closers {
		closing.Go(func() { problems[i] = c() })
	}
	closing.Wait()
	for _, c := range t.atLast {
		problems = append(problems, c())
	}
	return errors.Join(problems...)
}

// lock keeps a second releaser out of the folder: each would take the other's
// processes for leftovers.
func lock(dir string) (unlock func() error, err error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errors.New("another releaser works in it; give each a folder of its own")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the data folder %s: %w", dir, err), file.Close())
	}
	return file.Close, nil // the lock goes with the file, and with the process
}

// installation is what tells the containers of this installation from those of
// others on the same engine. It is made up once.
func installation(dir string) (string, error) {
	name := filepath.Join(dir, "installation")
	text, err := os.ReadFile(name)
	if err == nil && len(text) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the installation's id: %w", err)
	}
	id := strings.ToLower(rand.Text())
	// Renamed, so that it is never there in part.
	if err := os.WriteFile(name+".new", []byte(id+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("write the installation's id: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return "", fmt.Errorf("write the installation's id: %w", err)
	}
	return id, nil
}
