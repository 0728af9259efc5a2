package cdnpush

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

func newRegistry(t *testing.T) (host string) {
	t.Helper()
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// build pushes packages as a builder does, and returns the fact that says so.
func build(t *testing.T, host, version string, tagSeq uint64, packages map[string]string) *events.BuildDone {
	t.Helper()
	fact := &events.BuildDone{
		Meta: events.Meta{ID: "build.done.agent." + version, By: "builder"},
		App:  "agent", Version: version, Commit: strings.Repeat("a", 40), TagSeq: tagSeq,
	}
	artifact := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.oci.empty.v1+json")
	for file, text := range packages {
		layer := static.NewLayer([]byte(text), "application/octet-stream")
		digest, err := layer.Digest()
		if err != nil {
			t.Fatal(err)
		}
		fact.Packages = append(fact.Packages, events.Package{Name: file, Digest: digest.String(), Size: int64(len(text))})
		if artifact, err = mutate.Append(artifact, mutate.Addendum{Layer: layer, Annotations: map[string]string{"org.opencontainers.image.title": file}}); err != nil {
			t.Fatal(err)
		}
	}
	repository, err := name.NewRepository(host + "/agent/packages")
	if err != nil {
		t.Fatal(err)
	}
	digest, err := artifact.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(repository.Digest(digest.String()), artifact, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	fact.PackageSet = &events.Image{Repository: repository.String(), Digest: digest.String()}
	return fact
}

func twoPackages(version string) map[string]string {
	return map[string]string{"agent_" + version + "_amd64.deb": "a package of " + version, "agent.tar.gz": strings.Repeat("an archive of "+version+"\n", 10_000)}
}

// section is a configuration in which beta follows builds, and stable follows beta.
func section(dir, listen string) Config {
	store := Store{Folder: &Folder{Path: dir, Listen: listen}}
	return Config{Slots: 2, GiveUp: events.Duration(1 << 40), Channels: map[string]Channel{
		"beta":   {Store: store, Promote: &Promote{From: "build"}},
		"stable": {Store: store, Promote: &Promote{From: "beta"}},
		"lts":    {Store: store},
	}}
}

// service is a running service.
type service struct {
	urls map[string]string
	stop func()
}

func start(t *testing.T, server *eventstest.Server, cfg Config) service {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := service{urls: map[string]string{}}
	cfg.Serving = func(channel, url string) { s.urls[channel] = url }
	ready, ended := make(chan struct{}), make(chan error, 1)
	b := server.Bus(Name)
	go func() {
		ended <- Run(ctx, cfg, daemon.Runtime{
			Bus: b, Log: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)), Mux: http.NewServeMux(), DataDir: t.TempDir(), Ready: func() { close(ready) },
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("run: %v", err)
	}
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(s.stop)
	return s
}

func download(t *testing.T, url string, header ...string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// From a build to downloads on both channels, through a restart of the service.
func TestFromBuildToDownload(t *testing.T) {
	t.Parallel()
	host, server, dir := newRegistry(t), eventstest.NewServer(t), t.TempDir()
	b := server.Bus("builder")
	record := eventstest.NewRecorder(t, b)
	s := start(t, server, section(dir, "127.0.0.1:0"))
	publish := func(version string, seq uint64) {
		if _, err := b.Publish(t.Context(), build(t, host, version, seq, twoPackages(version))); err != nil {
			t.Fatal(err)
		}
	}
	publish("v1.0.0", 1)
	done, ok := record.Wait("cdn.done.stable.agent").(*events.CDNDone)
	if !ok || !done.Latest || done.Unchanged || len(done.Files) != 3 {
		t.Fatalf("done is %+v", done)
	}
	if !strings.HasPrefix(done.Files[0].URL, s.urls["stable"]) {
		t.Errorf("URL is %s, the channel is at %s", done.Files[0].URL, s.urls["stable"])
	}

	// What sha256sum -c does, over HTTP.
	base := s.urls["stable"] + "agent/v1.0.0/"
	_, sums := download(t, base+"SHA256SUMS")
	lines := strings.Split(strings.TrimSuffix(sums, "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("sums are %q", sums)
	}
	for _, line := range lines {
		want, file, _ := strings.Cut(line, "  ")
		status, body := download(t, base+file)
		if status != 200 || digestOf(body) != want || body != twoPackages("v1.0.0")[file] {
			t.Errorf("%s: %d, %d bytes with %s, want %s", file, status, len(body), digestOf(body), want)
		}
	}
	if status, part := download(t, base+"agent.tar.gz", "Range", "bytes=3-9"); status != 206 || part != "archive" {
		t.Errorf("range: %d %q", status, part)
	}
	if _, latest := download(t, s.urls["beta"]+"agent/latest"); latest != "v1.0.0\n" {
		t.Errorf("latest is %q", latest)
	}

	s.stop()
	s = start(t, server, section(dir, "127.0.0.1:0"))
	publish("v1.1.0", 2)
	record.WaitFor("cdn.done.stable.agent", "v1.1.0 on stable", func(facts []events.Recorded) bool { return len(facts) == 2 })
	if _, latest := download(t, s.urls["stable"]+"agent/latest"); latest != "v1.1.0\n" {
		t.Errorf("latest is %q", latest)
	}

	if _, err := b.Request(t.Context(), events.NewRequest(events.CDNRequested, "stable", "agent", "v1.0.0", "ann")); err != nil {
		t.Fatal(err)
	}
	record.WaitFor("cdn.done.stable.agent", "an answer to the request", func(facts []events.Recorded) bool { return len(facts) == 3 })
	if _, latest := download(t, s.urls["stable"]+"agent/latest"); latest != "v1.0.0\n" {
		t.Errorf("after the request latest is %q", latest)
	}
	record.Settled()
}

func TestGarbageIsRefused(t *testing.T) {
	t.Parallel()
	server := eventstest.NewServer(t)
	record := eventstest.NewRecorder(t, server.Bus("observer"))
	start(t, server, section(t.TempDir(), "127.0.0.1:0"))
	if _, err := server.Bus("ann").Request(t.Context(), events.NewRequest(events.CDNRequested, "gamma", "agent", "v1", "ann")); err != nil {
		t.Fatal(err)
	}
	refused, ok := record.Wait("cdn.refused.gamma.agent").(*events.CDNRefused)
	if !ok || !strings.Contains(refused.Reason, "beta, lts, stable") {
		t.Errorf("refused is %+v", refused)
	}
}

func TestTakenPortNamesTheKey(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := section(t.TempDir(), taken.Addr().String())
	err = Run(t.Context(), cfg, daemon.Runtime{Log: zap.NewNop()})
	for _, want := range []string{"channel beta", taken.Addr().String(), "cdnpush.channels.beta.store.folder.listen"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	err = Run(t.Context(), Config{Channels: map[string]Channel{"beta": {}}}, daemon.Runtime{Log: zap.NewNop()})
	if err == nil || !strings.Contains(err.Error(), "cdnpush.channels.beta has no store") {
		t.Errorf("without a store: %v", err)
	}
}

func TestConsumers(t *testing.T) {
	t.Parallel()
	want := []bus.Consumer{
		{Name: "cdnpush", Stream: "CDN", Filters: []string{"cdn.*"}},
		{Name: "cdnpush-beta", Stream: "BUILDS", Filters: []string{"build.done.*.*"}},
		{Name: "cdnpush-stable", Stream: "CDN", Filters: []string{"cdn.done.beta.*"}},
	}
	if diff := cmp.Diff(want, Consumers(section("", ""))); diff != "" {
		t.Errorf("consumers (-want +got):\n%s", diff)
	}
}

func TestConformanceOfRequests(t *testing.T) {
	t.Parallel()
	host := newRegistry(t)
	eventstest.Exercise(t, func(t *testing.T) eventstest.Subject {
		subject, dir := conformance(t)
		fact := build(t, host, "v1", 1, twoPackages("v1"))
		subject.Prepare = func(t testing.TB, b *bus.Bus) {
			if _, err := b.Publish(t.Context(), fact); err != nil {
				t.Fatal(err)
			}
		}
		// Without those of promotion, which would die beside the request's worker
		// over the fact that it needs, and after five times be given up on too.
		all := subject.Workers
		subject.Workers = func(t testing.TB, b *bus.Bus) []bus.Worker { return all(t, b)[:1] }
		subject.Trigger = events.NewRequest(events.CDNRequested, "lts", "agent", "v1", "ann")
		subject.Outcome = "cdn.done.lts.agent"
		subject.Effects = func(t testing.TB) int { return published(t, dir, "lts") }
		return subject
	})
}

func TestConformanceOfPromotion(t *testing.T) {
	t.Parallel()
	host := newRegistry(t)
	eventstest.Exercise(t, func(t *testing.T) eventstest.Subject {
		subject, dir := conformance(t)
		fact := build(t, host, "v1", 1, twoPackages("v1"))
		fact.ID = ""
		subject.Trigger = fact
		subject.Outcome = "cdn.done.stable.agent"
		subject.Effects = func(t testing.TB) int { return published(t, dir, "stable") }
		return subject
	})
}

func conformance(t *testing.T) (subject eventstest.Subject, dir string) {
	dir = t.TempDir()
	cfg := section(dir, "127.0.0.1:0")
	return eventstest.Subject{
		Service: Name,
		Workers: func(t testing.TB, b *bus.Bus) []bus.Worker {
			quiet := zap.NewNop()
			s, err := openSites(cfg, quiet)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.close(); err != nil {
					t.Error(err)
				}
			})
			p, err := newPublisher(cfg, s, daemon.Runtime{Bus: b, Log: quiet})
			if err != nil {
				t.Fatal(err)
			}
			return workers(cfg, p)
		},
		Counts: func(f events.Fact) bool {
			done, ok := f.(*events.CDNDone)
			return ok && !done.Unchanged
		},
	}, dir
}

// published counts the versions of the app that are complete on a channel.
func published(t testing.TB, dir, channel string) int {
	complete, err := filepath.Glob(filepath.Join(dir, channel, "agent", "*", "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, sums := range complete {
		files, err := os.ReadDir(filepath.Dir(sums))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 3 {
			count++
		}
	}
	return count
}
