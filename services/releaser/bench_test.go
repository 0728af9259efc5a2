package releaser_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
	"github.com/tagship/tagship/services/releaser"
	"github.com/tagship/tagship/services/releaser/internal/docker"
)

// asProgram makes this test's binary be the releaser's program, so that a test
// can kill it.
const asProgram = "TAGSHIP_TEST_AS_RELEASER"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(daemon.Main(releaser.Name, releaser.Run))
	}
	os.Exit(m.Run())
}

// workshop is what all tests share: a registry, and the app to release.
type workshop struct {
	registry string // host:port
	layer    v1.Layer
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	program := filepath.Join(t.TempDir(), "server")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./testdata/server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the app: %v\n%s", err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err = w.WriteHeader(&tar.Header{Name: "srv/server", Mode: 0o755, Size: int64(len(text)), Typeflag: tar.TypeReg})
	if err == nil {
		_, err = w.Write(text)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return &workshop{registry: strings.TrimPrefix(server.URL, "http://"), layer: layer}
}

// push pushes an image of the app; each version is another image.
func (w *workshop) push(t *testing.T, app, version string) events.Image {
	t.Helper()
	image, err := mutate.AppendLayers(empty.Image, w.layer)
	if err != nil {
		t.Fatal(err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config = v1.Config{Entrypoint: []string{"/srv/server"}, Labels: map[string]string{"version": version}}
	if image, err = mutate.ConfigFile(image, file); err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(w.registry + "/" + app + ":" + version)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return events.Image{Repository: w.registry + "/" + app, Digest: digest.String()}
}

// bench is one installation: a NATS server, and a releaser that can be started
// and stopped.
type bench struct {
	*eventstest.Recorder
	t      *testing.T
	shop   *workshop
	kind   string
	nats   *eventstest.Server
	bus    *bus.Bus
	data   string
	config releaser.Config
	tags   uint64
}

const app = "team/web"

// newBench makes an installation whose environment dev is of the given kind.
func newBench(t *testing.T, shop *workshop, kind string) *bench {
	t.Helper()
	if kind == "docker" && !docker.Answers(t.Context(), "") {
		if os.Getenv("CI") != "" {
			t.Fatal("no Docker engine answers, and CI is set")
		}
		t.Skip("no Docker engine answers")
	}
	nats := eventstest.NewServer(t)
	b := &bench{t: t, shop: shop, kind: kind, nats: nats, bus: nats.Bus("builder"), data: t.TempDir()}
	b.Recorder = eventstest.NewRecorder(t, b.bus)
	b.config = releaser.Config{
		Environments: map[string]releaser.Environment{"dev": {Target: b.target()}},
		Slots:        4,
		GiveUp:       events.Duration(time.Hour),
		StopOnExit:   true,
	}
	return b
}

func (b *bench) target() releaser.Target {
	if b.kind == "docker" {
		return releaser.Target{Docker: &releaser.Docker{Listen: "127.0.0.1"}}
	}
	return releaser.Target{Process: &releaser.Process{Listen: "127.0.0.1"}}
}

// start runs the releaser until stop is called, or the test ends.
func (b *bench) start() (stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	ready, ended := make(chan struct{}), make(chan error, 1)
	runtime := daemon.Runtime{
		Bus:     b.nats.Bus(releaser.Name),
		Log:     zaptest.NewLogger(b.t, zaptest.Level(zap.InfoLevel)),
		Mux:     http.NewServeMux(),
		DataDir: b.data,
		Ready:   sync.OnceFunc(func() { close(ready) }),
	}
	go func() { ended <- releaser.Run(ctx, b.config, runtime) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("the releaser ended: %v", err)
		}
	})
	b.t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-ended:
		b.t.Fatalf("the releaser did not start: %v", err)
	}
	return stop
}

// deploy is how the app is deployed, with what makes it misbehave.
func deploy(instances int, env ...string) *events.Deploy {
	d := &events.Deploy{
		Instances: instances,
		Port:      8080,
		Health:    events.Health{HTTP: "/healthz", Within: events.Duration(15 * time.Second), Soak: events.Duration(2 * time.Second)},
		StopGrace: events.Duration(5 * time.Second),
		Env:       map[string]string{},
	}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		d.Env[name] = value
	}
	return d
}

const commit = "0123456789abcdef0123456789abcdef01234567"

// build states that a version is built.
func (b *bench) build(version string, d *events.Deploy) {
	b.t.Helper()
	image := b.shop.push(b.t, app, version)
	b.buildOf(version, image, d)
}

func (b *bench) buildOf(version string, image events.Image, d *events.Deploy) {
	b.t.Helper()
	b.tags++
	if _, err := b.bus.Publish(b.t.Context(), &events.BuildDone{
		App: app, Version: version, Commit: commit, TagSeq: b.tags, Image: &image, Deploy: d, Took: events.Duration(time.Second),
	}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) request(version string) {
	b.t.Helper()
	if _, err := b.bus.Request(b.t.Context(), events.NewRequest(events.ReleaseRequested, "dev", app, version, "ann")); err != nil {
		b.t.Fatal(err)
	}
}

// release asks for a version and returns how that ended.
func (b *bench) release(version string) events.Fact {
	b.t.Helper()
	before := b.ends()
	b.request(version)
	return b.end(version, before)
}

// ends are the facts that end a release.
func ends(facts []events.Recorded) (found []events.Fact) {
	for _, f := range facts {
		switch f.Fact.Kind() {
		case events.KindReleaseDone, events.KindReleaseFailed, events.KindReleaseRefused:
			found = append(found, f.Fact)
		}
	}
	return found
}

func (b *bench) filter() string { return "release.*.dev." + events.Escape(app) }

func (b *bench) ends() int { return len(ends(b.Facts(b.filter()))) }

// end waits for one more release to end than before.
func (b *bench) end(version string, before int) events.Fact {
	b.t.Helper()
	facts := b.WaitFor(b.filter(), "the end of the release of "+version, func(facts []events.Recorded) bool { return len(ends(facts)) > before })
	return ends(facts)[before]
}

func (b *bench) done(version string) *events.ReleaseDone {
	b.t.Helper()
	return asDone(b.t, b.release(version))
}

func asDone(t *testing.T, end events.Fact) *events.ReleaseDone {
	t.Helper()
	done, ok := end.(*events.ReleaseDone)
	if !ok {
		t.Fatalf("ended as %s, expected release.done: %+v", end.Kind(), end)
	}
	return done
}

func (b *bench) failed(version, running string, reasons ...string) {
	b.t.Helper()
	end := b.release(version)
	failed, ok := end.(*events.ReleaseFailed)
	if !ok {
		b.t.Fatalf("%s ended as %s, expected release.failed: %+v", version, end.Kind(), end)
	}
	if failed.Running != running {
		b.t.Errorf("%s failed with %q running, expected %q", version, failed.Running, running)
	}
	for _, reason := range reasons {
		if !strings.Contains(failed.Reason, reason) {
			b.t.Errorf("%s failed because %q, expected %q in it", version, failed.Reason, reason)
		}
	}
}

// get asks the app, and returns version, environment and instance.
func get(client *http.Client, url string) (answer [3]string, err error) {
	resp, err := client.Get(url)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer, err
	}
	words := strings.Fields(string(body))
	if resp.StatusCode != http.StatusOK || len(words) != 3 {
		return answer, fmt.Errorf("answered %d %q", resp.StatusCode, body)
	}
	return [3]string(words), nil
}

// answers asks the app now; it must answer.
func (b *bench) answers(url, version string) (instance string) {
	b.t.Helper()
	answer, err := get(http.DefaultClient, url)
	if err != nil {
		b.t.Fatalf("ask %s: %v", url, err)
	}
	if answer[0] != version {
		b.t.Errorf("%s answers as %s, expected %s", url, answer[0], version)
	}
	return answer[2]
}

// load asks the app all the time, until the function it returns is called.
func (b *bench) load(url string) (end func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	var (
		load    sync.WaitGroup
		mu      sync.Mutex
		asked   int
		problem error
	)
	for n := range 4 {
		load.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: n%2 == 0}}
			defer client.CloseIdleConnections()
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				_, err := get(client, url)
				mu.Lock()
				asked++
				problem = errors.Join(problem, err)
				mu.Unlock()
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		})
	}
	return func() {
		b.t.Helper()
		cancel()
		load.Wait()
		if problem != nil {
			b.t.Errorf("requests failed: %v", problem)
		}
		b.t.Logf("%d requests, none failed", asked)
	}
}
