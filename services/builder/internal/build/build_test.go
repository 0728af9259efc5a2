package build_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
	"github.com/tagship/tagship/services/builder/internal/build"
	"github.com/tagship/tagship/services/builder/internal/buildtest"
)

// executor compiles by a function.
type executor func(ctx context.Context, job build.Job) (string, error)

func (executor) Name() string                                             { return "docker" }
func (e executor) Run(ctx context.Context, job build.Job) (string, error) { return e(ctx, job) }

func compiles(_ context.Context, job build.Job) (string, error) {
	if err := job.Tree.MkdirAll("out", 0o755); err != nil {
		return "", err
	}
	return "golang@sha256:" + strings.Repeat("a", 64), job.Tree.WriteFile("out/web", []byte("binary"), 0o755)
}

// store stands for the registry and the packager.
type store struct {
	mu     sync.Mutex
	err    error
	pushed []build.Identity
}

func (s *store) push(of build.Identity, kind string) (events.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushed = append(s.pushed, of)
	return events.Image{Repository: "registry.test/" + of.App + kind, Digest: "sha256:" + strings.Repeat("b", 64)}, s.err
}

func (s *store) PushImage(_ context.Context, of build.Identity, _ events.RecipeImage, _ *os.Root) (events.Image, error) {
	return s.push(of, "")
}

func (s *store) PushPackages(_ context.Context, of build.Identity, _ []build.PackageFile) (events.Image, error) {
	return s.push(of, "/packages")
}

func (s *store) Make(_ context.Context, _ build.Identity, recipe []events.RecipePackage, root *os.Root, _ string) ([]build.PackageFile, error) {
	var made []build.PackageFile
	for _, p := range recipe {
		info, err := root.Stat(p.File)
		if err != nil {
			return nil, err
		}
		made = append(made, build.PackageFile{Package: events.Package{Name: path.Base(p.File), Digest: "sha256:" + strings.Repeat("c", 64), Size: info.Size()}})
	}
	return made, nil
}

// fixture is a builder on a real bus.
type fixture struct {
	*eventstest.Recorder
	server  *eventstest.Server
	tags    *bus.Bus
	store   *store
	builder *build.Builder
	stop    context.CancelFunc
	stopped chan error
}

func start(t *testing.T, run executor) *fixture {
	t.Helper()
	f := &fixture{server: eventstest.NewServer(t), store: &store{}}
	f.tags = f.server.Bus("tagwatch")
	f.Recorder = eventstest.NewRecorder(t, f.tags)
	f.work(t, run)
	return f
}

// work starts a builder process on the same bus and data.
func (f *fixture) work(t *testing.T, run executor) {
	t.Helper()
	b := f.server.Bus("builder", func(o *bus.Options) { o.Grace = 100 * time.Millisecond })
	f.builder = &build.Builder{
		Record: b, Leases: b, Sources: b, Logs: b, Executor: run, Packager: f.store, Images: f.store,
		Env: map[string]string{"TOKEN": "s3cret-value"}, Folder: t.TempDir(), Slots: make(chan struct{}, 2), Log: zaptest.NewLogger(t),
	}
	ctx, stop := context.WithCancel(t.Context())
	f.stop, f.stopped = stop, make(chan error, 1)
	stopped := f.stopped
	go func() {
		defer close(stopped)
		stopped <- b.Run(ctx,
			bus.Worker{Consumer: bus.Consumer{Name: "builder", Stream: events.StreamTags, Filters: []string{events.KindTagSeen.All()}}, Handle: bus.Handle(f.builder.TagSeen), GaveUp: build.GaveUp},
			bus.Worker{Consumer: bus.Consumer{Name: "builder", Stream: events.StreamBuilds, Filters: []string{events.BuildRequested.All()}}, Handle: bus.Handle(f.builder.Requested), Malformed: build.Malformed, GaveUp: build.GaveUp},
		)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil && !errors.Is(err, context.Canceled) { // stopped before it had begun
			t.Errorf("the builder stopped with %v", err)
		}
	})
}

func digestOf(t *testing.T, content []byte) string {
	t.Helper()
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// see stages a source and states that its version exists.
func (f *fixture) see(t *testing.T, version string, recipe events.Recipe, archive []byte) uint64 {
	t.Helper()
	if archive == nil {
		archive, _ = buildtest.Archive(t, buildtest.Program())
	}
	digest := digestOf(t, archive)
	if err := f.tags.PutSource(t.Context(), digest, bytes.NewReader(archive)); err != nil {
		t.Fatal(err)
	}
	seen := &events.TagSeen{App: "web", Version: version, Tag: version, Repo: "github.com/acme/web", Commit: buildtest.Commit, Recipe: recipe, Source: events.Source{Digest: digest, Size: int64(len(archive))}}
	seen.ID = seen.Subject()
	stored, err := f.tags.Publish(t.Context(), seen)
	if err != nil {
		t.Fatal(err)
	}
	return stored.Seq
}

func (f *fixture) ask(t *testing.T, version string) {
	t.Helper()
	if _, err := f.tags.Request(t.Context(), events.NewRequest(events.BuildRequested, "", "web", version, "ann")); err != nil {
		t.Fatal(err)
	}
}

func waitFor[F events.Fact](t *testing.T, f *fixture, kind events.Kind, version string) F {
	t.Helper()
	fact, ok := f.Wait(kind.Subject("web", version)).(F)
	if !ok {
		t.Fatalf("the fact on %s is of another type", kind.Subject("web", version))
	}
	return fact
}

func TestBuild(t *testing.T) {
	t.Parallel()
	var jobs []build.Job
	f := start(t, func(ctx context.Context, job build.Job) (string, error) {
		jobs = append(jobs, job)
		if _, err := io.WriteString(job.Log, "compiling with s3cret-value\n"); err != nil {
			return "", err
		}
		return compiles(ctx, job)
	})
	recipe := buildtest.Recipe()
	recipe.Packages = []events.RecipePackage{{File: "out/{version}.txt"}}
	program := buildtest.Program()
	program["out/v1.2.3.txt"] = "text"
	archive, _ := buildtest.Archive(t, program)
	seq := f.see(t, "v1.2.3", recipe, archive)

	done := waitFor[*events.BuildDone](t, f, events.KindBuildDone, "v1.2.3")
	if done.Took <= 0 || done.Cause == nil || done.Cause.Seq != seq || done.Cause.Stream != events.StreamTags {
		t.Errorf("took %s, cause %v", done.Took, done.Cause)
	}
	done.Meta, done.Took = events.Meta{}, 0
	want := &events.BuildDone{
		App: "web", Version: "v1.2.3", Commit: buildtest.Commit, TagSeq: seq, Toolchain: "golang@sha256:" + strings.Repeat("a", 64),
		Image:      &events.Image{Repository: "registry.test/web", Digest: "sha256:" + strings.Repeat("b", 64)},
		PackageSet: &events.Image{Repository: "registry.test/web/packages", Digest: "sha256:" + strings.Repeat("b", 64)},
		Packages:   []events.Package{{Name: "v1.2.3.txt", Digest: "sha256:" + strings.Repeat("c", 64), Size: 4}},
		Deploy:     recipe.Deploy,
	}
	if diff := cmp.Diff(want, done); diff != "" {
		t.Errorf("build.done (-want +got)\n%s", diff)
	}
	started := waitFor[*events.BuildStarted](t, f, events.KindBuildStarted, "v1.2.3")
	if started.Executor != "docker" || started.Commit != buildtest.Commit {
		t.Errorf("build.started is %+v", started)
	}
	job := jobs[0]
	wantEnv := buildtest.GoEnv()
	for name, value := range map[string]string{"TOKEN": "s3cret-value", "TAGSHIP_APP": "web", "TAGSHIP_VERSION": "v1.2.3", "TAGSHIP_COMMIT": buildtest.Commit, "SOURCE_DATE_EPOCH": "1700000000"} {
		wantEnv[name] = value
	}
	if diff := cmp.Diff(wantEnv, job.Env); diff != "" {
		t.Errorf("environment (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"out/v1.2.3.txt", "out/web", "vendor-data"}, job.Outputs); diff != "" {
		t.Errorf("outputs (-want +got)\n%s", diff)
	}
	if identity := f.store.pushed[0]; !identity.Time.Equal(buildtest.CommitTime()) {
		t.Errorf("the image is of %s, expected the time of the commit", identity.Time)
	}
	var output strings.Builder
	eventstest.Eventually(t, func() error {
		output.Reset()
		for chunk, err := range f.tags.Output(t.Context(), "web", "v1.2.3", false) {
			if err != nil {
				return err
			}
			output.Write(chunk.Data)
		}
		if output.String() != "compiling with ***\n" {
			return errors.New("the output is " + output.String())
		}
		return nil
	})
	f.Settled()
	if left, err := os.ReadDir(f.builder.Folder); err != nil || len(left) != 0 {
		t.Errorf("%d folders are left, error %v", len(left), err)
	}

	f.ask(t, "v1.2.3")
	refused := waitFor[*events.BuildRefused](t, f, events.KindBuildRefused, "v1.2.3")
	if !strings.Contains(refused.Reason, "already built") || refused.By != "ann" {
		t.Errorf("refused by %s: %s", refused.By, refused.Reason)
	}
	if len(jobs) != 1 {
		t.Errorf("built %d times", len(jobs))
	}
}

func TestFailedBuildIsBuiltAgainOnRequest(t *testing.T) {
	t.Parallel()
	var mended atomic.Bool
	f := start(t, func(ctx context.Context, job build.Job) (string, error) {
		if mended.Load() {
			return compiles(ctx, job)
		}
		if _, err := io.WriteString(job.Log, "main.go:1: syntax error near s3cret-value"); err != nil {
			return "", err
		}
		return "", build.Failf("command %q exited with 1", "go build")
	})
	f.see(t, "v1", buildtest.Recipe(), nil)
	failed := waitFor[*events.BuildFailed](t, f, events.KindBuildFailed, "v1")
	want := "command \"go build\" exited with 1; the last output was:\nmain.go:1: syntax error near ***"
	if failed.Reason != want {
		t.Errorf("reason is %q, expected %q", failed.Reason, want)
	}
	mended.Store(true)
	f.ask(t, "v1")
	if done := waitFor[*events.BuildDone](t, f, events.KindBuildDone, "v1"); done.By != "ann" {
		t.Errorf("done by %q", done.By)
	}
	f.Settled()
	f.Dead(0)
}

func TestFaultsOfTheApp(t *testing.T) {
	t.Parallel()
	f := start(t, func(ctx context.Context, job build.Job) (string, error) {
		if job.Version == "v-link" {
			return "", errors.Join(job.Tree.MkdirAll("out", 0o755), job.Tree.Symlink("/etc/passwd", "out/web"))
		}
		if job.Version == "v-outside" {
			return "", job.Tree.Symlink("/etc", "out")
		}
		return "", nil
	})
	plain := buildtest.Recipe()
	plain.Packages = []events.RecipePackage{{File: "{version}"}}
	evil := buildtest.Program()
	evil["../evil"] = "x"
	archive, _ := buildtest.Archive(t, evil)
	for version, test := range map[string]struct {
		recipe  events.Recipe
		archive []byte
		want    string
	}{
		"v-missing": {buildtest.Recipe(), nil, "did not make out/web"},
		"v-link":    {buildtest.Recipe(), nil, "made out/web a symbolic link"},
		"v-outside": {buildtest.Recipe(), nil, "cannot be read inside the source"},
		"v-evil":    {buildtest.Recipe(), archive, "is a path out of the archive"},
		"v-garbage": {buildtest.Recipe(), []byte("this is not an archive"), "is not a tar.gz archive"},
		"../../v":   {plain, nil, "not a path inside the source"},
	} {
		f.see(t, version, test.recipe, test.archive)
		if failed := waitFor[*events.BuildFailed](t, f, events.KindBuildFailed, version); !strings.Contains(failed.Reason, test.want) {
			t.Errorf("%s failed because %q, expected %q", version, failed.Reason, test.want)
		}
	}
	f.Settled()
	f.Dead(0)
}

func TestRequestForAnUnknownVersion(t *testing.T) {
	t.Parallel()
	f := start(t, compiles)
	f.ask(t, "v9")
	refused := waitFor[*events.BuildRefused](t, f, events.KindBuildRefused, "v9")
	if !strings.Contains(refused.Reason, "was never seen") || !strings.Contains(refused.Reason, "tag.web") {
		t.Errorf("reason is %q", refused.Reason)
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	_, err := events.ParseRequest("build.web", []byte(`{"version": 1}`))
	fact, ok := build.Malformed("build.web", []byte(`{"version": 1}`), err).(*events.BuildRefused)
	if !ok || fact.App != "web" || fact.Version != events.Unknown || !strings.Contains(fact.Reason, "version") {
		t.Errorf("answered with %+v", fact)
	}
}

func TestTroubleOfTheRegistryIsTriedAgain(t *testing.T) {
	t.Parallel()
	f := start(t, compiles)
	f.store.err = errors.New("registry is down")
	f.see(t, "v1", buildtest.Recipe(), nil)
	eventstest.Eventually(t, func() error {
		f.store.mu.Lock()
		defer f.store.mu.Unlock()
		if len(f.store.pushed) == 0 {
			return errors.New("nothing pushed yet")
		}
		f.store.err = nil
		return nil
	})
	f.Wait(events.KindBuildDone.Subject("web", "v1"))
	f.Settled()
	f.Once(events.KindBuildStarted.Subject("web", "v1"))
	f.Once(events.KindBuildDone.Subject("web", "v1"))
	if failed := f.Facts(events.KindBuildFailed.All()); len(failed) != 0 {
		t.Errorf("%d builds failed", len(failed))
	}
}

func TestShutdownIsNoFailure(t *testing.T) {
	t.Parallel()
	running := make(chan struct{})
	f := start(t, func(ctx context.Context, job build.Job) (string, error) {
		close(running)
		<-ctx.Done()
		// What a stopped command looks like to an executor that does not look at its context.
		return "", build.Failf("command ended by signal: killed (%v)", context.Cause(ctx))
	})
	f.see(t, "v1", buildtest.Recipe(), nil)
	<-running
	f.stop()
	if err := <-f.stopped; err != nil {
		t.Errorf("the builder stopped with %v", err)
	}
	f.work(t, compiles)
	f.Wait(events.KindBuildDone.Subject("web", "v1"))
	f.Settled()
	if failed := f.Facts(events.KindBuildFailed.All()); len(failed) != 0 {
		t.Errorf("%d builds failed", len(failed))
	}
}

func TestARequestThatComesAgainIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	f := start(t, compiles)
	f.see(t, "v1", buildtest.Recipe(), nil)
	done := waitFor[*events.BuildDone](t, f, events.KindBuildDone, "v1")
	ask := events.NewRequest(events.BuildRequested, "", "web", "v1", "ann")
	facts, err := f.builder.Requested(t.Context(), events.Delivery[*events.Request]{Message: ask, Origin: *done.Cause})
	if _, skipped := events.IsSkip(err); !skipped || len(facts) != 0 {
		t.Errorf("the request that was built for: facts %v, error %v, expected to skip", facts, err)
	}
	// Between the first look at the record and the lease, another builder was faster.
	late := *f.builder
	late.Record = &slow{Bus: f.tags}
	facts, err = late.Requested(t.Context(), events.Delivery[*events.Request]{Message: ask, Origin: events.Cause{Stream: events.StreamBuilds, Seq: 99}})
	if err != nil || len(facts) != 1 || facts[0].Kind() != events.KindBuildRefused {
		t.Errorf("a request overtaken: facts %v, error %v, expected a refusal", facts, err)
	}
}

// slow sees a build only when it looks for the second time.
type slow struct {
	*bus.Bus
	looks atomic.Int32
}

func (s *slow) Last(ctx context.Context, subject string) (events.Recorded, error) {
	if s.looks.Add(1) == 1 {
		return events.Recorded{}, events.ErrNotRecorded
	}
	return s.Bus.Last(ctx, subject)
}

// held is a lease that another holds.
type held struct{}

func (held) Hold(context.Context, string, func(context.Context) error) error { return events.ErrHeld }

func TestOneBuilderPerVersion(t *testing.T) {
	t.Parallel()
	f := start(t, compiles)
	second := *f.builder
	second.Leases = held{}
	facts, err := second.TagSeen(t.Context(), events.Delivery[*events.TagSeen]{Message: &events.TagSeen{App: "web", Version: "v1"}})
	if _, _, ok := events.IsSnooze(err); !ok || len(facts) != 0 {
		t.Errorf("facts %v, error %v, expected to wait", facts, err)
	}
}

func TestLeftoversOfAKilledBuilderAreRemoved(t *testing.T) {
	t.Parallel()
	var folder string
	f := start(t, func(ctx context.Context, job build.Job) (string, error) {
		folder = filepath.Dir(job.Tree.Name())
		return compiles(ctx, job)
	})
	f.see(t, "v1", buildtest.Recipe(), nil)
	f.Wait(events.KindBuildDone.Subject("web", "v1"))
	f.Settled()
	if err := os.MkdirAll(filepath.Join(folder, "tree", "out"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.see(t, "v2", buildtest.Recipe(), nil)
	f.Wait(events.KindBuildDone.Subject("web", "v2"))
	// The same version again, in the folder that a killed attempt left.
	d := events.Delivery[*events.TagSeen]{Message: &events.TagSeen{}, Origin: events.Cause{Stream: events.StreamTags, Seq: 1}, First: 1}
	recorded, err := f.tags.Last(t.Context(), events.KindTagSeen.Subject("web", "v1"))
	if err != nil {
		t.Fatal(err)
	}
	d.Message = recorded.Fact.(*events.TagSeen)
	fresh := *f.builder
	fresh.Record = forgetful{f.tags}
	if facts, err := fresh.TagSeen(t.Context(), d); err != nil || len(facts) != 0 {
		t.Errorf("facts %v, error %v", facts, err)
	}
}

// forgetful knows of no build.
type forgetful struct{ *bus.Bus }

func (forgetful) Last(context.Context, string) (events.Recorded, error) {
	return events.Recorded{}, events.ErrNotRecorded
}

func (forgetful) Publish(context.Context, events.Fact, ...events.Fence) (events.Stored, error) {
	return events.Stored{}, nil
}

func TestGaveUp(t *testing.T) {
	t.Parallel()
	for _, m := range []events.Event{&events.TagSeen{App: "web", Version: "v1"}, events.NewRequest(events.BuildRequested, "", "web", "v1", "ann")} {
		facts := build.GaveUp(m, errors.New("registry is down"))
		failed, ok := facts[0].(*events.BuildFailed)
		if !ok || failed.App != "web" || failed.Version != "v1" || failed.Reason != "gave up: registry is down" {
			t.Errorf("%T gave %+v", m, facts[0])
		}
	}
}
