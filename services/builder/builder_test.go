package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
	"github.com/tagship/tagship/services/builder/internal/buildtest"
	"github.com/tagship/tagship/services/builder/internal/host"
	"github.com/tagship/tagship/services/builder/internal/oci"
)

func newRegistry(t *testing.T) *buildtest.Registry {
	t.Helper()
	r, err := buildtest.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func section(registry, executor string) Config {
	return Config{Registry: registry, Executor: executor, Slots: 2, GiveUp: events.Duration(2 * time.Hour)}
}

// start runs the service until the test ends.
func start(t *testing.T, cfg Config, b *bus.Bus) {
	t.Helper()
	ready := make(chan struct{})
	rt := daemon.Runtime{Bus: b, Log: zaptest.NewLogger(t), Mux: http.NewServeMux(), DataDir: t.TempDir(), Ready: func() { close(ready) }}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg, rt) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the service ended with %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatalf("the service did not start: %v", err)
	}
}

// seen is the fact that a version exists, with its source staged.
func seen(t testing.TB, b *bus.Bus, version string, recipe events.Recipe) *events.TagSeen {
	t.Helper()
	archive, digest := buildtest.Archive(t, buildtest.Program())
	if err := b.PutSource(t.Context(), digest, bytes.NewReader(archive)); err != nil {
		t.Fatal(err)
	}
	fact := &events.TagSeen{
		App: "web", Version: version, Tag: version, Repo: "github.com/acme/web", Commit: buildtest.Commit,
		Source: events.Source{Digest: digest, Size: int64(len(archive))}, Recipe: recipe,
	}
	fact.ID = fact.Subject()
	return fact
}

func publish(t *testing.T, b *bus.Bus, fact events.Fact) {
	t.Helper()
	if _, err := b.Publish(t.Context(), fact); err != nil {
		t.Fatal(err)
	}
}

// built waits until a version is built; that it fails ends the test.
func built(t *testing.T, rec *eventstest.Recorder, version string) *events.BuildDone {
	t.Helper()
	subject := events.KindBuildDone.Subject("web", version)
	rec.WaitFor("build.>", subject, func(facts []events.Recorded) bool {
		for _, f := range facts {
			if failed, ok := f.Fact.(*events.BuildFailed); ok && failed.Version == version {
				t.Fatalf("the build failed: %s", failed.Reason)
			}
			if f.Fact.Subject() == subject {
				return true
			}
		}
		return false
	})
	done, ok := rec.Once(subject).(*events.BuildDone)
	if !ok {
		t.Fatalf("the fact on %s is of another type", subject)
	}
	return done
}

func pull(t *testing.T, reference string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	return pulled
}

// goCache is where Go keeps the standard library compiled, which takes long to compile again.
func goCache(t *testing.T) string {
	t.Helper()
	folder, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(folder))
}

func TestOnTheHost(t *testing.T) { // not in parallel: it needs the processors to itself
	registry := newRegistry(t)
	server := eventstest.NewServer(t)
	tags := server.Bus("tagwatch")
	rec := eventstest.NewRecorder(t, tags)
	start(t, section(registry.Host, ExecutorHost), server.Bus(Name))

	recipe := buildtest.Recipe()
	recipe.Build.Env["GOCACHE"] = goCache(t)
	recipe.Packages = []events.RecipePackage{
		{File: "out/web"},
		{Deb: &events.Deb{Name: "web-app", Arch: "amd64", Contents: map[string]string{"out/web": "/usr/bin/web"}}},
	}
	publish(t, tags, seen(t, tags, "v1.0.0", recipe))
	done := built(t, rec, "v1.0.0")
	if done.Toolchain != "" || len(done.Packages) != 2 || done.PackageSet == nil || done.Packages[1].Name != "web-app_1.0.0_amd64.deb" {
		t.Errorf("build.done is %+v", done)
	}
	if layers, err := pull(t, done.Image.Ref()).Layers(); err != nil || len(layers) != 2 {
		t.Errorf("%d layers, error %v", len(layers), err)
	}
	repository, err := name.NewRepository(done.PackageSet.Repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range done.Packages {
		layer, err := remote.Layer(repository.Digest(p.Digest))
		if err != nil {
			t.Fatal(err)
		}
		if size, err := layer.Size(); err != nil || size != p.Size {
			t.Errorf("%s has %d bytes in the registry, error %v, expected %d", p.Name, size, err, p.Size)
		}
	}
	// The same source under another name: all but what carries the name is the same.
	publish(t, tags, seen(t, tags, "v1.0.1", recipe))
	second := built(t, rec, "v1.0.1")
	if second.Image.Digest == done.Image.Digest {
		t.Error("two versions are one image")
	}
	rec.Settled()
	rec.Dead(0)
}

func TestInContainers(t *testing.T) { // not in parallel: it needs the processors to itself
	engine := buildtest.Engine(t)
	registry := newRegistry(t)
	toolchain, err := registry.PushGo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server := eventstest.NewServer(t)
	tags := server.Bus("tagwatch")
	rec := eventstest.NewRecorder(t, tags)
	cfg := section(registry.Host, ExecutorAuto)
	cfg.Toolchains = map[string]string{"golang:1.26": toolchain}
	start(t, cfg, server.Bus(Name))
	t.Cleanup(func() { removeVolumes(t, engine, registry.Host) })

	recipe := buildtest.Recipe()
	recipe.Build.Toolchain, recipe.Build.Cache = "golang:1.26", []string{"/root/.cache/go-build"}
	publish(t, tags, seen(t, tags, "v1.0.0", recipe))
	done := built(t, rec, "v1.0.0")
	if !strings.HasPrefix(done.Toolchain, registry.Host+"/toolchain/go@sha256:") {
		t.Errorf("the toolchain is %q", done.Toolchain)
	}

	// The engine runs what was built.
	reader, err := engine.ImagePull(t.Context(), done.Image.Ref(), image.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var progress bytes.Buffer
	if _, err := progress.ReadFrom(reader); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := engine.ImageRemove(context.WithoutCancel(t.Context()), done.Image.Ref(), image.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	})
	if printed := runImage(t, engine, done.Image.Ref()); printed != "web v1.0.0\n" {
		t.Errorf("the image printed %q", printed)
	}
}

// runImage runs an image to its end and returns what it printed.
func runImage(t *testing.T, engine *client.Client, reference string) string {
	t.Helper()
	made, err := engine.ContainerCreate(t.Context(), &container.Config{Image: reference, Tty: true}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	})
	ended, failed := engine.ContainerWait(t.Context(), made.ID, container.WaitConditionNextExit)
	if err := engine.ContainerStart(t.Context(), made.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case err := <-failed:
		t.Fatal(err)
	}
	output, err := engine.ContainerLogs(t.Context(), made.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if _, err := text.ReadFrom(output); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(text.String(), "\r\n", "\n") // a terminal's line ends
}

func removeVolumes(t *testing.T, engine *client.Client, instance string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	volumes, err := engine.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", "tagship.instance="+instance))})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes.Volumes {
		if err := engine.VolumeRemove(ctx, v.Name, true); err != nil {
			t.Error(err)
		}
	}
}

// quick is a recipe that takes no time.
func quick() events.Recipe {
	return events.Recipe{
		Build:    events.Build{Run: events.Commands{"mkdir -p out", "cp go.mod out/web"}, Timeout: events.Duration(time.Minute)},
		Image:    &events.RecipeImage{Base: "scratch", Entrypoint: []string{"/web"}, Layers: []events.Layer{{Name: "app", Copy: map[string]string{"out/web": "/web"}}}},
		Packages: []events.RecipePackage{{File: "out/web"}},
	}
}

// conform exercises one of the service's steps, that of the worker on a stream, on the host.
func conform(t *testing.T, stream string, trigger func(*events.TagSeen) events.Event) {
	t.Helper()
	eventstest.Exercise(t, func(t *testing.T) eventstest.Subject {
		registry := newRegistry(t)
		cfg := section(registry.Host, ExecutorHost)
		archive, digest := buildtest.Archive(t, buildtest.Program())
		fact := &events.TagSeen{
			App: "web", Version: "v1", Tag: "v1", Repo: "github.com/acme/web", Commit: buildtest.Commit,
			Source: events.Source{Digest: digest, Size: int64(len(archive))}, Recipe: quick(),
		}
		fact.ID = fact.Subject()
		asked := trigger(fact)
		return eventstest.Subject{
			Service: Name,
			Workers: func(t testing.TB, b *bus.Bus) []bus.Worker {
				rt := daemon.Runtime{Bus: b, Log: zaptest.NewLogger(t, zaptest.Level(zap.FatalLevel)), DataDir: t.TempDir()}
				images, err := oci.New(cfg.registry(filepath.Join(rt.DataDir, "layers")))
				if err != nil {
					t.Fatal(err)
				}
				all := workers(cfg, newBuilder(cfg, images, &host.Executor{Homes: filepath.Join(rt.DataDir, "homes")}, rt))
				return slices.DeleteFunc(all, func(w bus.Worker) bool { return w.Consumer.Stream != stream })
			},
			Prepare: func(t testing.TB, b *bus.Bus) {
				if err := b.PutSource(t.Context(), digest, bytes.NewReader(archive)); err != nil {
					t.Fatal(err)
				}
				if asked == events.Event(fact) {
					return
				}
				if _, err := b.Publish(t.Context(), fact); err != nil {
					t.Fatal(err)
				}
			},
			Trigger: asked,
			Outcome: events.KindBuildDone.All(),
			Effects: func(t testing.TB) int { return tagsOf(t, registry.Host+"/web") },
		}
	})
}

func tagsOf(t testing.TB, repository string) int {
	t.Helper()
	repo, err := name.NewRepository(repository)
	if err != nil {
		t.Fatal(err)
	}
	tags, err := remote.List(repo)
	if err != nil {
		return 0 // no such repository yet
	}
	return len(tags)
}

func TestConformanceOfTagSeen(t *testing.T) {
	t.Parallel()
	conform(t, events.StreamTags, func(fact *events.TagSeen) events.Event { return fact })
}

func TestConformanceOfRequest(t *testing.T) {
	t.Parallel()
	conform(t, events.StreamBuilds, func(*events.TagSeen) events.Event {
		return events.NewRequest(events.BuildRequested, "", "web", "v1", "ann")
	})
}

func TestDataFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	left := filepath.Join(folder, "work", "0123", "tree")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	unlock, err := takeFolder(folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed builder left: %v", err)
	}
	if _, err := takeFolder(folder); err == nil || !strings.Contains(err.Error(), "in use by another builder") {
		t.Errorf("a second builder in the same folder: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}

func TestAutoWithoutAnEngine(t *testing.T) {
	t.Parallel()
	silent := httptest.NewServer(http.NotFoundHandler())
	silent.Close()
	cfg := section("registry.test:5000", ExecutorAuto)
	cfg.Docker.Host = "tcp://" + strings.TrimPrefix(silent.URL, "http://")
	registry, err := oci.New(cfg.registry(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	rt := daemon.Runtime{Log: zaptest.NewLogger(t), DataDir: t.TempDir()}
	for configured, want := range map[string]string{ExecutorAuto: ExecutorHost, ExecutorHost: ExecutorHost, ExecutorDocker: ExecutorDocker} {
		cfg.Executor = configured
		executor, closeExecutor, err := newExecutor(t.Context(), cfg, registry, rt)
		if err != nil {
			t.Fatal(err)
		}
		if executor.Name() != want {
			t.Errorf("%s became %s, expected %s", configured, executor.Name(), want)
		}
		if err := closeExecutor(); err != nil {
			t.Error(err)
		}
	}
}

func decode(text string) (Config, error) {
	var c Config
	err := config.Decode("builder.yaml", []byte(text), &c, func(string) (string, bool) { return "s3cret", true })
	return c, err
}

func TestConfig(t *testing.T) {
	t.Parallel()
	c, err := decode(`
registry: registry.internal:5000/team
registry_user: robot
registry_password: ${PASSWORD}
docker: {memory: 2147483648, cpus: 1.5}
toolchains: {"golang:1.26": "registry.internal:5000/golang:1.26"}
env: {GOPROXY: "https://proxy.internal", GOPRIVATE_TOKEN: "${TOKEN}"}
`)
	if err != nil {
		t.Fatal(err)
	}
	if c.Executor != ExecutorDocker || c.Slots != 2 || c.GiveUp.String() != "2h0m0s" || c.Docker.CPUs != 1.5 || c.Env["GOPRIVATE_TOKEN"].Reveal() != "s3cret" || c.Toolchains["golang:1.26"] == "" {
		t.Errorf("decoded to %+v", c)
	}
	if err := c.Complete(); err != nil {
		t.Error(err)
	}
	if shown := fmt.Sprintf("%+v", c); strings.Contains(shown, "s3cret") {
		t.Errorf("a secret is in %s", shown)
	}
	empty, err := decode(`{}`)
	if err != nil {
		t.Errorf("`tagship up` fills the registry in, so this must do: %v", err)
	}
	if err := empty.Complete(); err == nil || !strings.Contains(err.Error(), "builder.registry is missing") {
		t.Errorf("error is %v", err)
	}
}

func TestConfigNamesEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := decode(`
registry: "not a host"
registry_user: robot
executor: podman
docker: {memory: 1, cpus: -1}
env: {"A B": x, TAGSHIP_APP: y}
slots: 0
give_up: 0s
unknown: 1
`)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{":2:", "registry", "registry_user", "executor", "docker.memory", "docker.cpus", "env.A B", "env.TAGSHIP_APP", "slots", "give_up", "unknown"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in:\n%v", want, err)
		}
	}
}
