package tagwatch

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

const goodRecipe = "build: {run: make}\npackages:\n  - {file: out/web.tar.gz}\n"

// upstream is a real repository that the tests push to.
type upstream struct {
	t    *testing.T
	path string
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{t: t, path: filepath.Join(t.TempDir(), "web.git")}
	if err := os.Mkdir(u.path, 0o755); err != nil {
		t.Fatal(err)
	}
	u.git("init", "--quiet", "--initial-branch=main")
	u.commit(".tagship.yaml", goodRecipe)
	return u
}

func (u *upstream) git(args ...string) string {
	u.t.Helper()
	cmd := exec.CommandContext(u.t.Context(), "git", args...)
	cmd.Dir = u.path
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z",
		"GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.org", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		u.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (u *upstream) commit(name, text string) string {
	u.t.Helper()
	if err := os.WriteFile(filepath.Join(u.path, name), []byte(text), 0o644); err != nil {
		u.t.Fatal(err)
	}
	u.git("add", "--all")
	u.git("commit", "--quiet", "--message", name)
	return u.git("rev-parse", "HEAD")
}

// section is a configuration with short times.
func section(apps map[string]App) Config {
	return Config{
		Interval: events.Duration(200 * time.Millisecond), Timeout: events.Duration(time.Minute), Parallel: 4,
		MaxSource: 1 << 30, Apps: apps,
	}
}

// start runs the service until the returned function is called, or the test ends.
func start(t *testing.T, b *bus.Bus, apps map[string]App, changes ...func(*Config)) (mux *http.ServeMux, stop func()) {
	t.Helper()
	for name, app := range apps {
		if app.Tags == "" {
			app.Tags = "v*"
			apps[name] = app
		}
	}
	cfg := section(apps)
	for _, change := range changes {
		change(&cfg)
	}
	mux = http.NewServeMux()
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, cfg, daemon.Runtime{
			Bus: b, Log: zaptest.NewLogger(t, zaptest.Level(zap.FatalLevel)), Metrics: prometheus.NewRegistry(), Mux: mux, DataDir: t.TempDir(), Ready: func() { close(ready) },
		})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the service ended with %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		t.Fatalf("the service did not start: %v", err)
	}
	return mux, stop
}

// baselined waits until the first look at an app has succeeded.
func baselined(t *testing.T, b *bus.Bus, app string) {
	t.Helper()
	eventstest.Eventually(t, func() error {
		if s := status(t, b, app); s.BaselineAt.IsZero() {
			return fmt.Errorf("no baseline yet, status is %+v", s)
		}
		return nil
	})
}

func status(t *testing.T, b *bus.Bus, app string) Status {
	t.Helper()
	value, _, err := b.Table(bus.TableWatch).Get(t.Context(), StatusKey(app))
	if errors.Is(err, events.ErrNotRecorded) {
		return Status{}
	}
	var s Status
	if err == nil {
		err = json.Unmarshal(value, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFromTagToFact(t *testing.T) {
	t.Parallel()
	server := eventstest.NewServer(t)
	b := server.Bus(Name)
	rec := eventstest.NewRecorder(t, b)
	u := newUpstream(t)
	u.git("tag", "v1.0.0")
	_, stop := start(t, b, map[string]App{"web": {Repo: u.path}})
	baselined(t, b, "web")

	commit := u.commit("main.go", "package main\n")
	u.git("tag", "-a", "-m", "second", "v1.1.0")
	seen := rec.Wait("tag.seen.web.v1=2E1=2E0").(*events.TagSeen)
	if seen.Commit != commit || seen.Repo != u.path || seen.Tag != "v1.1.0" || seen.By != Name || seen.Cause != nil {
		t.Errorf("seen as %+v", seen)
	}
	if diff := cmp.Diff(map[string]string{".tagship.yaml": goodRecipe, "main.go": "package main\n"}, source(t, b, seen.Source.Digest)); diff != "" {
		t.Errorf("the staged source (-want +got):\n%s", diff)
	}

	u.commit(".tagship.yaml", "build: {rum: make}\n")
	u.git("tag", "v1.2.0")
	refused := rec.Wait("tag.refused.web.v1=2E2=2E0").(*events.TagRefused)
	if !strings.Contains(refused.Reason, "web@v1.2.0:.tagship.yaml:1:") {
		t.Errorf("refused: %s; expected the place in the recipe", refused.Reason)
	}
	moved := u.commit(".tagship.yaml", goodRecipe)
	u.git("tag", "--force", "v1.1.0")
	if fact := rec.Wait("tag.moved.web.v1=2E1=2E0").(*events.TagMoved); fact.Old != commit || fact.New != moved {
		t.Errorf("moved as %+v", fact)
	}
	stop()

	u.git("tag", "v1.3.0")
	start(t, server.Bus(Name), map[string]App{"web": {Repo: u.path}})
	rec.Wait("tag.seen.web.v1=2E3=2E0")
	var subjects []string
	for _, f := range rec.Facts("tag.>") {
		subjects = append(subjects, f.Fact.Subject())
	}
	want := []string{"tag.seen.web.v1=2E1=2E0", "tag.refused.web.v1=2E2=2E0", "tag.moved.web.v1=2E1=2E0", "tag.seen.web.v1=2E3=2E0"}
	if diff := cmp.Diff(want, subjects); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}

// source returns the files of a staged source.
func source(t *testing.T, b *bus.Bus, digest string) map[string]string {
	t.Helper()
	staged, err := b.GetSource(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer staged.Close()
	zip, err := gzip.NewReader(staged)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(zip); ; {
		file, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if file.Typeflag == tar.TypeReg {
			files[file.Name] = string(text)
		}
	}
}

func TestRequestsAreAnswered(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus(Name)
	rec := eventstest.NewRecorder(t, b)
	u := newUpstream(t)
	u.git("tag", "v1")
	mux, _ := start(t, b, map[string]App{"web": {Repo: u.path}, "team/agent": {Repo: filepath.Join(t.TempDir(), "nowhere")}})
	baselined(t, b, "web")
	ask := func(app, version string) {
		t.Helper()
		if _, err := b.Request(t.Context(), events.NewRequest(events.TagRequested, "", app, version, "ann")); err != nil {
			t.Fatal(err)
		}
	}
	ask("web", "v1")
	if got := rec.Wait("tag.looked.web").(*events.TagLooked); len(got.New) != 1 || got.New[0] != "v1" || got.Cause == nil {
		t.Errorf("looked: %+v", got)
	}
	if seen := rec.Once("tag.seen.web.v1").(*events.TagSeen); seen.Cause == nil || seen.Cause.Stream != events.StreamTags {
		t.Errorf("seen because of %v, expected the request", seen.Cause)
	}
	ask("web", "v9")
	rec.Wait("tag.refused.web.v9")
	ask("wbe", "")
	if got := rec.Wait("tag.refused.wbe._").(*events.TagRefused); !strings.Contains(got.Reason, "team/agent, web") {
		t.Errorf("refused: %s; expected the apps that are known", got.Reason)
	}

	for _, test := range []struct {
		method, path, body string
		want               int
	}{
		{http.MethodPost, "/webhooks/look/web", `{"ref":"refs/tags/v2"}`, http.StatusAccepted},
		{http.MethodPost, "/webhooks/look/team/agent", "", http.StatusAccepted},
		{http.MethodPost, "/webhooks/look/api", "", http.StatusNotFound},
		{http.MethodPost, "/webhooks/look/", "", http.StatusNotFound},
		{http.MethodGet, "/webhooks/look/web", "", http.StatusMethodNotAllowed},
	} {
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), test.method, test.path, strings.NewReader(test.body)))
		if answer.Code != test.want {
			t.Errorf("%s %s: answered %d, expected %d", test.method, test.path, answer.Code, test.want)
		}
	}
	eventstest.Eventually(t, func() error {
		if s := status(t, b, "team/agent"); !strings.Contains(s.Error, "check repo") || s.ErrorSince.IsZero() {
			return fmt.Errorf("the status of an app whose repository is missing is %+v", s)
		}
		return nil
	})
}

func TestHookIsFollowed(t *testing.T) {
	t.Parallel()
	server := eventstest.NewServer(t)
	b := server.Bus(Name)
	rec := eventstest.NewRecorder(t, b)
	u := newUpstream(t)
	mux, _ := start(t, b, map[string]App{"web": {Repo: u.path}}, func(c *Config) {
		c.Interval = events.Duration(time.Hour)
		c.WebhookSecrets = []config.Secret{"next", "now"}
	})
	baselined(t, b, "web")
	u.git("tag", "v1")
	call := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webhooks/look/web", nil)
	for _, test := range []struct {
		token string
		want  int
	}{{"", http.StatusUnauthorized}, {"wrong", http.StatusUnauthorized}, {"now", http.StatusAccepted}} {
		call.Header.Set("X-Gitlab-Token", test.token)
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, call)
		if answer.Code != test.want {
			t.Errorf("with token %q answered %d, expected %d", test.token, answer.Code, test.want)
		}
	}
	rec.Wait("tag.seen.web.v1")
}

func TestReplicasOverHTTP(t *testing.T) {
	t.Parallel()
	server := eventstest.NewServer(t)
	b := server.Bus(Name)
	rec := eventstest.NewRecorder(t, b)
	u := newUpstream(t)
	for i := range 300 {
		u.git("update-ref", fmt.Sprintf("refs/tags/v0.%d.0", i), "HEAD")
	}
	core, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	host := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(core)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + u.path, "GIT_HTTP_EXPORT_ALL=1"},
	})
	defer host.Close()
	apps := func() map[string]App { return map[string]App{"web": {Repo: host.URL + "/.git"}} }
	start(t, b, apps())
	baselined(t, b, "web")
	for range 2 {
		start(t, server.Bus(Name), apps())
	}
	want := []string{}
	for i := range 10 {
		u.commit("count", fmt.Sprint(i))
		u.git("tag", fmt.Sprintf("v1.%d.0", i))
		want = append(want, fmt.Sprintf("v1.%d.0", i))
	}
	facts := rec.WaitFor("tag.>", "ten versions", func(facts []events.Recorded) bool { return len(facts) >= 10 })
	got := []string{}
	for _, f := range facts {
		got = append(got, f.Fact.(*events.TagSeen).Version)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("versions, in order (-want +got):\n%s", diff)
	}
}
