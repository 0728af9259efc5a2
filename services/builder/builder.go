// Package builder is the service that compiles versions, in a toolchain image or
// on the host, and stores the runtime image and the packages in the registry.
//
//	consumes  tag.seen.<app>.<version>       build it
//	          build.<app>                    build it (again)
//	states    build.started.<app>.<version>  its commands run
//	          build.done.<app>.<version>     once; it can be released
//	          build.failed.<app>.<version>   it cannot be built, or was given up on
//	          build.refused.<app>.<version>  the request was not followed
//	asks      tag.<app>                      for a source that is gone
//	streams   log.builder.<app>.<version>    the output, while it is written
//
// What it knows is in the record and in the registry; its data folder holds
// caches and builds in work. Any number of replicas may run, each with a data
// folder of its own.
package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"go.uber.org/zap"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/services/builder/internal/build"
	"github.com/tagship/tagship/services/builder/internal/docker"
	"github.com/tagship/tagship/services/builder/internal/host"
	"github.com/tagship/tagship/services/builder/internal/oci"
	"github.com/tagship/tagship/services/builder/internal/packages"
)

// Name is the name of the service, and of its section in tagship.yaml.
const Name = "builder"

// engineWait is how long a Docker engine may take to answer at the start.
const engineWait = 5 * time.Second

// Consumers are the durable consumers that the service works on.
func Consumers() []bus.Consumer {
	return []bus.Consumer{
		{Name: Name, Stream: events.StreamTags, Filters: []string{events.KindTagSeen.All()}},
		{Name: Name, Stream: events.StreamBuilds, Filters: []string{events.BuildRequested.All()}},
	}
}

// Run builds until ctx ends.
func Run(ctx context.Context, cfg Config, rt daemon.Runtime) (err error) {
	if err := cfg.Complete(); err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	unlock, err := takeFolder(rt.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	registry, err := oci.New(cfg.registry(filepath.Join(rt.DataDir, "layers")))
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	executor, closeExecutor, err := newExecutor(ctx, cfg, registry, rt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeExecutor()) }()
	rt.Ready()
	return rt.Bus.Run(ctx, workers(cfg, newBuilder(cfg, registry, executor, rt))...)
}

// takeFolder makes sure that no other builder uses the data folder, and removes
// what a killed one left of its builds.
func takeFolder(folder string) (unlock func() error, err error) {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	lock := flock.New(filepath.Join(folder, "lock"))
	taken, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	if !taken {
		return nil, fmt.Errorf("the data folder %s is in use by another builder: give each its own with --data", folder)
	}
	work := workFolder(folder)
	host.KillLeftovers(work)
	if err := build.RemoveAll(work); err != nil {
		return nil, errors.Join(fmt.Errorf("remove what a killed builder left: %w", err), lock.Unlock())
	}
	return lock.Unlock, nil
}

func workFolder(folder string) string { return filepath.Join(folder, "work") }

// newExecutor makes the executor that is configured, or that the machine offers.
func newExecutor(ctx context.Context, cfg Config, registry *oci.Registry, rt daemon.Runtime) (_ build.Executor, closeExecutor func() error, err error) {
	nothing := func() error { return nil }
	onHost := &host.Executor{Homes: filepath.Join(rt.DataDir, "homes")}
	if cfg.Executor == ExecutorHost {
		return onHost, nothing, nil
	}
	inDocker, err := docker.New(docker.Options{
		Host: cfg.Docker.Host, Network: cfg.Docker.Network, Memory: cfg.Docker.Memory, CPUs: cfg.Docker.CPUs,
		Instance: cfg.Registry, Toolchains: cfg.Toolchains, Login: dockerLogin(registry), Log: rt.Log,
	})
	if err != nil {
		return nil, nil, daemon.WithExit(daemon.ExitUsage, err)
	}
	ping, cancel := context.WithTimeout(ctx, engineWait)
	defer cancel()
	err = inDocker.Ping(ping)
	switch {
	case err == nil:
		return inDocker, inDocker.Close, nil
	case cfg.Executor == ExecutorAuto:
		rt.Log.Info("builds run on the host, as no Docker engine answers", zap.Error(err))
		return onHost, nothing, inDocker.Close()
	}
	rt.Log.Warn("builds wait for the Docker engine", zap.Error(err))
	return inDocker, inDocker.Close, nil
}

func dockerLogin(registry *oci.Registry) func(context.Context, string) (docker.Login, error) {
	return func(ctx context.Context, reference string) (docker.Login, error) {
		login, err := registry.Login(ctx, reference)
		return docker.Login{User: login.Username, Password: login.Password, IdentityToken: login.IdentityToken, RegistryToken: login.RegistryToken}, err
	}
}

func newBuilder(cfg Config, registry *oci.Registry, executor build.Executor, rt daemon.Runtime) *build.Builder {
	env := map[string]string{}
	for name, value := range cfg.Env {
		env[name] = value.Reveal()
	}
	return &build.Builder{
		Record: rt.Bus, Leases: rt.Bus, Sources: rt.Bus, Logs: rt.Bus,
		Executor: executor, Packager: packages.New(), Images: registry,
		Env: env, Folder: workFolder(rt.DataDir), Slots: make(chan struct{}, cfg.Slots), Log: rt.Log,
	}
}

// workers are the steps of the service, one for each of its consumers.
func workers(cfg Config, b *build.Builder) []bus.Worker {
	consumers := Consumers()
	giveUp := time.Duration(cfg.GiveUp)
	return []bus.Worker{
		{Consumer: consumers[0], Slots: cfg.Slots, GiveUp: giveUp, Handle: bus.Handle(b.TagSeen), GaveUp: build.GaveUp},
		{Consumer: consumers[1], Slots: cfg.Slots, GiveUp: giveUp, Handle: bus.Handle(b.Requested), Malformed: build.Malformed, GaveUp: build.GaveUp},
	}
}
