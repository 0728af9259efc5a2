package cli_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/cmd/tagship/internal/cli"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

var update = flag.Bool("update", false, "write the golden files and the generated files in docs/")

// now is the time at which the tests' commands run.
var now = time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)

// world is a NATS server with a record, and a console on which commands are run.
type world struct {
	t      *testing.T
	server *eventstest.Server
	bus    *bus.Bus
	env    map[string]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server := eventstest.NewServer(t)
	return &world{t: t, server: server, bus: server.Bus("test"), env: map[string]string{"USER": "ann"}}
}

// output may be written and read at once.
type output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

// result is what a command has left behind.
type result struct {
	code     int
	out, err string
}

func (w *world) console(out, err *output) cli.Console {
	return cli.Console{
		Out: out, Err: err,
		Getenv: func(name string) (string, bool) { value, ok := w.env[name]; return value, ok },
		Now:    func() time.Time { return now },
	}
}

// run executes a command against the world's NATS.
func (w *world) run(args ...string) result {
	w.t.Helper()
	return w.runContext(w.t.Context(), args...)
}

func (w *world) runContext(ctx context.Context, args ...string) result {
	w.t.Helper()
	return w.exec(ctx, append(args, "--nats", w.server.URL())...)
}

// exec executes a command as it is.
func (w *world) exec(ctx context.Context, args ...string) result {
	w.t.Helper()
	var out, err output
	code := cli.Run(ctx, w.console(&out, &err), args)
	return result{code, out.String(), err.String()}
}

// start executes a command beside the test; wait returns its result.
func (w *world) start(ctx context.Context, args ...string) (out *output, wait func() result) {
	out, err := &output{}, &output{}
	done := make(chan int, 1)
	go func() { done <- cli.Run(ctx, w.console(out, err), append(args, "--nats", w.server.URL())) }()
	return out, func() result {
		w.t.Helper()
		select {
		case code := <-done:
			return result{code, out.String(), err.String()}
		case <-time.After(eventstest.Patience):
			w.t.Fatalf("tagship %s does not end; so far it printed %q and %q", strings.Join(args, " "), out, err)
			return result{}
		}
	}
}

// state publishes a fact and returns where it is.
func (w *world) state(f events.Fact) *events.Cause {
	w.t.Helper()
	stored, err := w.bus.Publish(w.t.Context(), f)
	if err != nil {
		w.t.Fatal(err)
	}
	return &stored.Cause
}

// head is that of a fact that happened some time ago.
func head(ago time.Duration, by string, cause *events.Cause) events.Meta {
	if cause == nil {
		cause = &events.Cause{Stream: "TAGS", Seq: 4711}
	}
	return events.Meta{At: now.Add(-ago), By: by, Cause: cause}
}

func digest(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

func commit(digit string) string { return strings.Repeat(digit, 40) }

func (w *world) seen(app, version string, ago time.Duration) uint64 {
	w.t.Helper()
	return w.state(&events.TagSeen{
		Meta: head(ago, "tagwatch", nil), App: app, Version: version, Tag: version, Repo: "git.example.org/" + app, Commit: commit("a"),
		Source: events.Source{Digest: digest("5"), Size: 1},
		Recipe: events.Recipe{
			Build: events.Build{Run: events.Commands{"make"}},
			Image: &events.RecipeImage{
				Base: "scratch", Layers: []events.Layer{{Name: "app", Copy: map[string]string{"out/app": "/app"}}}, Entrypoint: []string{"/app"},
			},
		},
	}).Seq
}

func (w *world) built(app, version string, ago time.Duration, tag uint64) {
	w.t.Helper()
	w.state(&events.BuildDone{
		Meta: head(ago, "builder", nil), App: app, Version: version, Commit: commit("a"), TagSeq: tag,
		Image: &events.Image{Repository: "registry:5000/" + app, Digest: digest("a")}, Took: events.Duration(83 * time.Second),
	})
}

func release(env, app, version string) events.Release {
	return events.Release{Env: env, App: app, Version: version, Digest: digest("a")}
}

func (w *world) wanted(ago time.Duration, by, from string, r events.Release) *events.Cause {
	w.t.Helper()
	// What caused it matters to nobody here, but facts are told apart by their causes.
	cause := &events.Cause{Stream: "BUILDS", Seq: uint64(ago/time.Second) + 1}
	return w.state(&events.ReleaseWanted{Meta: head(ago, by, cause), Release: r, TagSeq: 1, Promoted: from})
}

func (w *world) released(ago time.Duration, by, from string, r events.Release) {
	w.t.Helper()
	cause := w.wanted(ago+30*time.Second, by, from, r)
	w.state(&events.ReleaseStarted{Meta: head(ago+21*time.Second, "releaser", cause), Release: r, ReleaseID: r.Env + r.App})
	w.state(&events.ReleaseDone{
		Meta: head(ago, "releaser", cause), Release: r, ReleaseID: r.Env + r.App, Instances: 2, TagSeq: 1,
		Address: "http://" + r.App + "." + r.Env + ":8080", Took: events.Duration(21 * time.Second),
	})
}

// golden compares text with a golden file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it with -update)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

// expect compares how a command ended, and what its output contains.
func (r result) expect(t *testing.T, code int, parts ...string) {
	t.Helper()
	var wrong []string
	if r.code != code {
		wrong = append(wrong, fmt.Sprintf("exit code %d, expected %d", r.code, code))
	}
	for _, part := range parts {
		if !strings.Contains(r.out+r.err, part) {
			wrong = append(wrong, fmt.Sprintf("%q is missing", part))
		}
	}
	if len(wrong) > 0 {
		t.Errorf("%s\noutput:\n%s\nerrors:\n%s", strings.Join(wrong, "\n"), r.out, r.err)
	}
}
