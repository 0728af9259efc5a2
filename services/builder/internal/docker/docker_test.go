package docker_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"go.uber.org/zap/zaptest"

	"github.com/tagship/tagship/services/builder/internal/build"
	"github.com/tagship/tagship/services/builder/internal/buildtest"
	"github.com/tagship/tagship/services/builder/internal/docker"
)

// suite is what the tests on an engine share: the toolchains, which take a while to make.
type suite struct {
	registry *buildtest.Registry
	goRef    string // nothing but a compiler
	shellRef string // a shell and a few programs
}

func TestOnAnEngine(t *testing.T) {
	buildtest.Engine(t)
	registry, err := buildtest.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &suite{registry: registry}
	if s.goRef, err = registry.PushGo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.shellRef, err = registry.PushShell(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]func(*testing.T){
		"compiles without a shell":                  s.compilesWithoutAShell,
		"several commands without a shell":          s.severalCommandsWithoutAShell,
		"shell":                                     s.shell,
		"cache is kept":                             s.cacheIsKept,
		"failures":                                  s.failures,
		"cancel kills the container":                s.cancelKillsTheContainer,
		"leftovers of a killed builder are removed": s.leftoversOfAKilledBuilderAreRemoved,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// fixture is an executor whose containers and volumes are the test's own.
type fixture struct {
	*docker.Executor
	engine   *client.Client
	instance string
	log      buildtest.Log
}

func start(t *testing.T, change ...func(*docker.Options)) *fixture {
	t.Helper()
	f := &fixture{engine: buildtest.Engine(t), instance: t.Name() + strconv.FormatInt(time.Now().UnixNano(), 36)}
	options := docker.Options{
		Instance: f.instance, Log: zaptest.NewLogger(t),
		Login: func(context.Context, string) (docker.Login, error) { return docker.Login{}, nil },
	}
	for _, c := range change {
		c(&options)
	}
	var err error
	if f.Executor, err = docker.New(options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left := f.left(t); len(left) > 0 {
			t.Errorf("left on the engine: %q", left)
		}
		f.removeCaches(t)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) ours() filters.Args {
	return filters.NewArgs(filters.Arg("label", "tagship.instance="+f.instance))
}

// left is what is on the engine of the test's builds.
func (f *fixture) left(t *testing.T) (left []string) {
	t.Helper()
	containers, err := f.engine.ContainerList(context.WithoutCancel(t.Context()), container.ListOptions{All: true, Filters: f.ours()})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		left = append(left, c.ID)
	}
	volumes, err := f.engine.VolumeList(context.WithoutCancel(t.Context()), volume.ListOptions{Filters: f.ours()})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes.Volumes {
		if v.Labels["tagship.cache"] == "" {
			left = append(left, v.Name)
		}
	}
	return left
}

func (f *fixture) removeCaches(t *testing.T) {
	t.Helper()
	volumes, err := f.engine.VolumeList(context.WithoutCancel(t.Context()), volume.ListOptions{Filters: f.ours()})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes.Volumes {
		if err := f.engine.VolumeRemove(context.WithoutCancel(t.Context()), v.Name, true); err != nil {
			t.Error(err)
		}
	}
}

func (f *fixture) job(t *testing.T, toolchain string, files map[string]string, outputs []string, commands ...string) build.Job {
	t.Helper()
	job := buildtest.Job(t, &f.log, files, outputs, commands...)
	job.Toolchain = toolchain
	return job
}

func read(t *testing.T, job build.Job, name string) string {
	t.Helper()
	content, err := job.Tree.ReadFile(name)
	if err != nil {
		t.Fatalf("read output: %v", err)
	}
	return string(content)
}

func (s *suite) compilesWithoutAShell(t *testing.T) {
	f := start(t)
	recipe := buildtest.Recipe()
	var digests, binaries []string
	for range 2 {
		job := f.job(t, s.goRef, buildtest.Program(), []string{"out/web"}, recipe.Build.Run...)
		job.Cache = []string{"/root/.cache/go-build"}
		begin := time.Now()
		digest, err := f.Run(t.Context(), job)
		if err != nil {
			t.Fatalf("%v; output:\n%s", err, f.log.String())
		}
		t.Logf("took %s", time.Since(begin))
		digests = append(digests, digest)
		binaries = append(binaries, read(t, job, "out/web"))
	}
	if want := s.registry.Host + "/toolchain/go@sha256:"; !strings.HasPrefix(digests[0], want) || digests[0] != digests[1] {
		t.Errorf("toolchains are %q, expected %s… twice", digests, want)
	}
	if binaries[0] != binaries[1] {
		t.Error("two builds of the same source gave different bytes")
	}
}

func (s *suite) severalCommandsWithoutAShell(t *testing.T) {
	f := start(t)
	job := f.job(t, s.goRef, buildtest.Program(), []string{"go.mod", "go.sum"}, `go mod edit -module example.com/one`, `go mod edit -go=1.25`)
	if _, err := f.Run(t.Context(), job); err != nil {
		t.Fatalf("%v; output:\n%s", err, f.log.String())
	}
	if got := read(t, job, "go.mod"); got != "module example.com/one\n\ngo 1.25\n" {
		t.Errorf("go.mod is %q", got)
	}
	if _, err := job.Tree.Stat("go.sum"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an output that was not made: %v", err)
	}
}

func (s *suite) shell(t *testing.T) {
	f := start(t)
	job := f.job(t, s.shellRef, map[string]string{"in.sh": "#!/bin/sh\necho ran >made/ran\n", "old/stale": "x"}, []string{"made", "old"},
		`mkdir made && echo "$GREETING" >made/a`, `./in.sh`, `touch /outside; cd /`, `cat /outside && cat made/a`, `ln -s a made/link; ln made/a made/hard`, `X=1 env`, `mkdir other; cat old/stale; : >old/new`)
	if _, err := f.Run(t.Context(), job); err != nil {
		t.Fatalf("%v; output:\n%s", err, f.log.String())
	}
	for name, want := range map[string]string{"made/a": "hello from the toolchain\n", "made/link": "hello from the toolchain\n", "made/hard": "hello from the toolchain\n", "made/ran": "ran\n", "old/new": ""} {
		if got := read(t, job, name); got != want {
			t.Errorf("%s is %q, expected %q", name, got, want)
		}
	}
	for _, want := range []string{"+ ./in.sh\n", "TAGSHIP_VERSION=v1.2.3\n", "HOME=/root\n", "X=1\n", "PWD=/tagship/source\n"} {
		if !strings.Contains(f.log.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, f.log.String())
		}
	}
}

func (s *suite) cacheIsKept(t *testing.T) {
	f := start(t)
	for i, want := range []string{"none\n", "kept\n"} {
		job := f.job(t, s.shellRef, nil, []string{"saw"}, `cat /cache/file >saw 2>/dev/null || echo none >saw; echo kept >/cache/file`)
		job.Cache = []string{"/cache"}
		if _, err := f.Run(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		if got := read(t, job, "saw"); got != want {
			t.Errorf("build %d saw %q, expected %q", i, got, want)
		}
	}
	other := f.job(t, s.shellRef, nil, []string{"saw"}, `cat /cache/file >saw 2>/dev/null || echo none >saw`)
	other.App, other.Cache = "other", []string{"/cache"}
	if _, err := f.Run(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if got := read(t, other, "saw"); got != "none\n" {
		t.Errorf("another app saw %q", got)
	}
}

func (s *suite) failures(t *testing.T) {
	f := start(t)
	for name, test := range map[string]struct {
		toolchain, command, want string
		timeout                  time.Duration
	}{
		"exit code":         {s.shellRef, `exit 3`, "exited with 3", 0},
		"unknown program":   {s.goRef, `make all`, "make cannot be executed in the toolchain", 0},
		"no shell":          {s.goRef, `go version && go env`, "needs /bin/sh, which the toolchain", 0},
		"broken command":    {s.goRef, `go build "`, "is not valid", 0},
		"no toolchain":      {"", `true`, "no build.toolchain", 0},
		"bad toolchain":     {"Not A Reference", `true`, "is not a reference", 0},
		"missing toolchain": {s.registry.Host + "/toolchain/none:1", `true`, "is not in its registry", 0},
		"timeout":           {s.shellRef, `sleep 600`, "longer than the recipe's timeout of 1s", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := f.job(t, test.toolchain, nil, nil, test.command)
			job.Version = name // versions are built side by side
			if test.timeout > 0 {
				job.Timeout = test.timeout
			}
			_, err := f.Run(t.Context(), job)
			var failure *build.Failure
			if !errors.As(err, &failure) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, expected a failure with %q", err, test.want)
			}
		})
	}
}

func (s *suite) cancelKillsTheContainer(t *testing.T) {
	f := start(t)
	job := f.job(t, s.shellRef, nil, nil, `echo running; sleep 600`)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	ended := make(chan error, 1)
	go func() {
		_, err := f.Run(ctx, job)
		ended <- err
	}()
	f.running(t, ended)
	cancel(stop)
	if err := <-ended; !errors.Is(err, stop) {
		t.Errorf("error is %v, expected the cause of the cancellation", err)
	}
	if left := f.left(t); len(left) > 0 {
		t.Errorf("left on the engine: %q", left)
	}
}

// running waits until a build's output is seen: it is live.
func (f *fixture) running(t *testing.T, ended <-chan error) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(f.log.String(), "running\n") {
		select {
		case err := <-ended:
			t.Fatalf("the build ended with %v; output: %q", err, f.log.String())
		case <-deadline:
			t.Fatalf("no output seen while the build runs; output: %q", f.log.String())
		case <-tick.C:
		}
	}
}

func (s *suite) leftoversOfAKilledBuilderAreRemoved(t *testing.T) {
	f := start(t)
	if _, err := f.Run(t.Context(), f.job(t, s.shellRef, nil, nil, `echo pulled`)); err != nil {
		t.Fatal(err)
	}
	leave := func(version, instance string, deadline time.Time) string {
		t.Helper()
		labels := map[string]string{"tagship.build": "web@" + version, "tagship.instance": instance, "tagship.deadline": strconv.FormatInt(deadline.Unix(), 10)}
		made, err := f.engine.ContainerCreate(t.Context(), &container.Config{Image: s.shellRef, Cmd: []string{"sleep", "600"}, Labels: labels}, nil, nil, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.engine.ContainerStart(t.Context(), made.ID, container.StartOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			err := f.engine.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{Force: true})
			if err != nil && !errdefs.IsNotFound(err) {
				t.Error(err)
			}
		})
		return made.ID
	}
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	same, old, other, foreign := leave("v1.2.3", f.instance, later), leave("v1", f.instance, before), leave("v2", f.instance, later), leave("v1.2.3", "foreign", before)
	if _, err := f.engine.VolumeCreate(t.Context(), volume.CreateOptions{Labels: map[string]string{"tagship.build": "web@v1.2.3", "tagship.instance": f.instance}}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Run(t.Context(), f.job(t, s.shellRef, nil, nil, `echo again`)); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{same: false, old: false, other: true, foreign: true} {
		_, err := f.engine.ContainerInspect(t.Context(), id)
		if there := err == nil; there != want {
			t.Errorf("container %.12s: there is %v, expected %v (%v)", id, there, want, err)
		}
	}
	if err := f.engine.ContainerRemove(t.Context(), other, container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
}

func TestMirrorAndCopyOfTheEngine(t *testing.T) {
	t.Parallel()
	registry, err := buildtest.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	reference, err := registry.PushShell(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, func(o *docker.Options) {
		o.Toolchains = map[string]string{"shell:1": reference}
		o.Memory, o.CPUs = 256<<20, 0.5
	})
	t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	})
	first, err := f.Run(t.Context(), f.job(t, "shell:1", nil, nil, `echo one`))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(first, registry.Host+"/toolchain/shell@sha256:") {
		t.Errorf("toolchain is %s", first)
	}
	registry.Stop()
	second, err := f.Run(t.Context(), f.job(t, "shell:1", nil, nil, `echo two`))
	if err != nil || second != first {
		t.Errorf("without its registry the toolchain is %s, error %v, expected %s", second, err, first)
	}
	if !strings.Contains(f.log.String(), "using the copy of toolchain") {
		t.Errorf("the output does not say so:\n%s", f.log.String())
	}
}

func TestNoEngine(t *testing.T) {
	t.Parallel()
	executor, err := docker.New(docker.Options{Host: "tcp://127.0.0.1:1", Instance: "x", Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := executor.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "tcp://127.0.0.1:1") {
		t.Errorf("error is %v, expected it to name the engine", err)
	}
	var log buildtest.Log
	var failure *build.Failure
	if _, err := executor.Run(t.Context(), buildtest.Job(t, &log, nil, nil, `true`)); err == nil || errors.As(err, &failure) {
		t.Errorf("error is %v, expected one that may pass", err)
	}
}
