// Package docker compiles in containers, through the Docker Engine API.
//
// Nothing of the builder's machine is mounted into a container: the source is
// copied in and the outputs are copied out, so the engine may run elsewhere. A
// toolchain needs nothing but what it compiles with: no shell, no user, no
// folders. Of one build there is, on the engine, a container and a volume that
// holds the source; both carry labels that tell whose they are, and are removed
// when the build ends or, after the builder was killed, when it is tried again.
package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"go.uber.org/zap"

	"github.com/tagship/tagship/services/builder/internal/build"
	"github.com/tagship/tagship/services/builder/internal/command"
)

const (
	// sourceFolder is where the source stands in a container, always the same, as it may get into what is built.
	sourceFolder = "/tagship/source"

	labelBuild    = "tagship.build"    // <app>@<version>
	labelInstance = "tagship.instance" // which installation of Tagship it belongs to
	labelDeadline = "tagship.deadline" // Unix time after which it is a leftover
	labelCache    = "tagship.cache"    // <app>:<folder>

	// cleanupTime bounds what is done after a build was cancelled.
	cleanupTime = 30 * time.Second
)

// Options say how to run builds on an engine.
type Options struct {
	// Host is the engine's address, such as tcp://engine:2376; empty means what the
	// docker command would use: DOCKER_HOST, or the local socket.
	Host string
	// Instance tells this installation of Tagship from others that use the same engine.
	Instance string
	// Memory and CPUs bound each build; 0 means no bound.
	Memory int64 // bytes
	CPUs   float64
	// Network is the network of the containers; empty means the engine's default.
	Network string
	// Toolchains replaces references to toolchains, by mirrors for example.
	Toolchains map[string]string
	// Login is how to log in to the registry of a reference.
	Login func(ctx context.Context, reference string) (Login, error)
	Log   *zap.Logger
}

// Executor runs builds on one engine. It may be used by several goroutines, for
// different versions.
type Executor struct {
	engine  *client.Client
	options Options
}

var _ build.Executor = (*Executor)(nil)

// New makes an executor. It does not talk to the engine.
func New(o Options) (*Executor, error) {
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if o.Host != "" {
		opts = append(opts, client.WithHost(o.Host))
	}
	engine, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, fmt.Errorf("use the Docker engine: %w", err)
	}
	return &Executor{engine: engine, options: o}, nil
}

// Close gives up connections to the engine.
func (e *Executor) Close() error { return e.engine.Close() }

// Name implements [build.Executor].
func (*Executor) Name() string { return "docker" }

// Ping reports whether the engine answers.
func (e *Executor) Ping(ctx context.Context) error {
	if _, err := e.engine.Ping(ctx); err != nil {
		return fmt.Errorf("reach the Docker engine at %s: %w", e.engine.DaemonHost(), err)
	}
	return nil
}

// Run implements [build.Executor].
func (e *Executor) Run(ctx context.Context, job build.Job) (toolchain string, err error) {
	if err := e.removeLeftovers(ctx, job); err != nil {
		return "", err
	}
	image, err := e.toolchain(ctx, job)
	if err != nil {
		return "", err
	}
	b := &run{Executor: e, job: job, image: image, env: environment(image, job)}
	b.labels = map[string]string{
		labelBuild: job.App + "@" + job.Version, labelInstance: e.options.Instance,
		labelDeadline: strconv.FormatInt(time.Now().Add(job.Timeout+time.Hour).Unix(), 10),
	}
	defer func() {
		if cleanErr := b.remove(ctx); cleanErr != nil {
			e.options.Log.Warn("cannot remove what a build left on the Docker engine; the next build of the version tries again",
				zap.String("app", job.App), zap.String("version", job.Version), zap.Error(cleanErr))
		}
	}()
	if err := b.run(ctx); err != nil {
		return "", err
	}
	return image.digest, nil
}

// environment is what the commands see: the toolchain's own, then the job's.
func environment(image toolchain, job build.Job) map[string]string {
	env := map[string]string{"HOME": "/root"} // commands run as root, whether or not the toolchain has users
	for _, variable := range image.env {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	maps.Copy(env, job.Env)
	return env
}

// run is one build on the engine.
type run struct {
	*Executor
	job     build.Job
	image   toolchain
	env     map[string]string
	labels  map[string]string
	volume  string   // holds the source
	started []string // containers
}

func (r *run) run(ctx context.Context) error {
	programs, err := r.programs(ctx)
	if err != nil {
		return err
	}
	limited, cancel := r.job.Limit(ctx)
	defer cancel()
	var last string
	for i, program := range programs {
		if last, err = r.prepare(ctx, program); err != nil {
			return because(ctx, err)
		}
		if i == 0 {
			if err := r.copyIn(ctx, last); err != nil {
				return because(ctx, err)
			}
		}
		if err := r.execute(limited, last, program); err != nil {
			return because(limited, err)
		}
	}
	return because(ctx, r.copyOut(ctx, last))
}

// because is the cause of ctx's end, where that is why err came about.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// programs are the processes to run, each in a container: all commands in one, if
// there is one command only or the toolchain has a shell. Without a shell, each
// command starts from the toolchain as it is, with the source and the caches of
// the one before.
func (r *run) programs(ctx context.Context) ([]command.Program, error) {
	var programs []command.Program
	var needsShell string
	for _, line := range r.job.Commands {
		program, shell, err := command.Parse(line, r.env)
		if err != nil {
			return nil, build.Failf("%v", err)
		}
		if shell && needsShell == "" {
			needsShell = line
		}
		programs = append(programs, program)
	}
	if len(programs) == 1 && needsShell == "" {
		return programs, nil
	}
	hasShell, err := r.hasShell(ctx)
	switch {
	case err != nil:
		return nil, err
	case hasShell:
		return []command.Program{command.Sequence(r.job.Commands)}, nil
	case needsShell != "":
		return nil, build.Failf("command %q needs %s, which the toolchain %s does not have", needsShell, command.Shell, r.job.Toolchain)
	}
	return programs, nil
}

func (r *run) hasShell(ctx context.Context) (bool, error) {
	probe, err := r.prepare(ctx, command.Program{Args: []string{command.Shell}})
	if err != nil {
		return false, err
	}
	_, err = r.engine.ContainerStatPath(ctx, probe, command.Shell)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s in the toolchain: %w", command.Shell, err)
	}
	return true, nil
}

// prepare makes a container for a program, and the volumes it needs.
func (r *run) prepare(ctx context.Context, program command.Program) (id string, err error) {
	mounts, err := r.mounts(ctx)
	if err != nil {
		return "", err
	}
	config := &container.Config{
		Image: r.image.id, Entrypoint: program.Args[:1], Cmd: program.Args[1:], WorkingDir: sourceFolder,
		User: "0:0", Labels: r.labels, AttachStdout: true, AttachStderr: true,
	}
	for _, name := range slices.Sorted(maps.Keys(r.env)) {
		config.Env = append(config.Env, name+"="+r.env[name])
	}
	config.Env = append(config.Env, program.Env...)
	host := &container.HostConfig{
		Mounts: mounts, NetworkMode: container.NetworkMode(r.options.Network),
		Resources:   container.Resources{Memory: r.options.Memory, NanoCPUs: int64(r.options.CPUs * 1e9)},
		SecurityOpt: []string{"no-new-privileges"},
		// The output is attached to; a second copy on the engine's disk serves nobody.
		LogConfig: container.LogConfig{Type: "none"},
	}
	created, err := r.engine.ContainerCreate(ctx, config, host, nil, nil, "")
	if err != nil {
		return "", fmt.Errorf("create container: %w", err)
	}
	r.started = append(r.started, created.ID)
	return created.ID, nil
}

// mounts are the volume of the source, made once, and those of the app's caches,
// which stay. The engine fills a new volume with what the toolchain has in its place.
func (r *run) mounts(ctx context.Context) ([]mount.Mount, error) {
	if r.volume == "" {
		made, err := r.engine.VolumeCreate(ctx, volume.CreateOptions{Labels: r.labels})
		if err != nil {
			return nil, fmt.Errorf("create volume: %w", err)
		}
		r.volume = made.Name
	}
	mounts := []mount.Mount{{Type: mount.TypeVolume, Source: r.volume, Target: sourceFolder}}
	for _, folder := range r.job.Cache {
		sum := sha256.Sum256([]byte(r.options.Instance + "\x00" + r.job.App + "\x00" + folder))
		name := "tagship-cache-" + hex.EncodeToString(sum[:10])
		labels := map[string]string{labelCache: r.job.App + ":" + folder, labelInstance: r.options.Instance}
		if _, err := r.engine.VolumeCreate(ctx, volume.CreateOptions{Name: name, Labels: labels}); err != nil {
			return nil, fmt.Errorf("create volume for cache %s: %w", folder, err)
		}
		mounts = append(mounts, mount.Mount{Type: mount.TypeVolume, Source: name, Target: folder})
	}
	return mounts, nil
}

// remove removes the containers and the volume of the source, also after ctx ended.
func (r *run) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	var problems []error
	for _, id := range r.started {
		problems = append(problems, r.removeContainer(ctx, id))
	}
	if r.volume != "" {
		problems = append(problems, r.removeVolume(ctx, r.volume))
	}
	return errors.Join(problems...)
}
