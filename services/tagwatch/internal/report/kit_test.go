package report_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/tagwatch/internal/report"
	"go.uber.org/zap"
)

// The facts of the tests are about these.
var (
	commit = strings.Repeat("c", 40)
	digest = "sha256:" + strings.Repeat("d", 64)
)

func seen(version string) *events.TagSeen {
	return &events.TagSeen{
		App: "web", Version: version, Tag: version, Repo: "https://github.com/acme/web", RepoID: "42",
		Object: strings.Repeat("0", 40), Commit: commit,
		Source: events.Source{Digest: digest, Size: 1},
		Recipe: events.Recipe{Build: events.Build{Run: events.Commands{"make"}}, Packages: []events.RecipePackage{{File: "out"}}},
	}
}

func building(version string) *events.BuildStarted {
	return &events.BuildStarted{App: "web", Version: version, Commit: commit, Executor: "host"}
}

func built(version string) *events.BuildDone {
	return &events.BuildDone{App: "web", Version: version, Commit: commit, TagSeq: 1, Image: &events.Image{Repository: "r/web", Digest: digest}}
}

func buildFailed(version, reason string) *events.BuildFailed {
	return &events.BuildFailed{App: "web", Version: version, Reason: reason}
}

func release(env, version string) events.Release {
	return events.Release{Env: env, App: "web", Version: version, Digest: digest}
}

func releasing(env, version, id string) *events.ReleaseStarted {
	return &events.ReleaseStarted{Release: release(env, version), ReleaseID: id}
}

func released(env, version, id string) *events.ReleaseDone {
	return &events.ReleaseDone{Release: release(env, version), ReleaseID: id, Instances: 1, TagSeq: 1}
}

func releaseFailed(env, version, id, reason, running string) *events.ReleaseFailed {
	return &events.ReleaseFailed{Release: release(env, version), ReleaseID: id, Reason: reason, Running: running}
}

// forge is a forge that writes down what it is told, in one line each.
type forge struct {
	// meet stands before every call, which fails with its error, and what it
	// returns stands after the call took effect. Both may be nil.
	meet func(line string) (after func() error, err error)

	mu      sync.Mutex
	lines   []string
	made    []report.Deployment
	success map[string]string // the marker of the newest success, by environment
}

func (f *forge) call(line string, effect func()) error {
	after := func() error { return nil }
	if f.meet != nil {
		then, err := f.meet(line)
		if err != nil {
			return err
		}
		if then != nil {
			after = then
		}
	}
	f.mu.Lock()
	f.lines = append(f.lines, line)
	effect()
	f.mu.Unlock()
	return after()
}

func (f *forge) Status(_ context.Context, repo report.Repo, s report.Status) error {
	if s.Commit != commit || repo != (report.Repo{Name: "acme/web", ID: "42"}) {
		return fmt.Errorf("a status at %s of %+v", s.Commit, repo)
	}
	return f.call(strings.TrimSpace(fmt.Sprintf("%s: %s: %s %s", strings.TrimPrefix(s.Context, "tagship: web@"), s.State, s.Description, s.Link)), func() {})
}

func (f *forge) Deploy(_ context.Context, _ report.Repo, d report.Deployment) (id int64, err error) {
	f.mu.Lock()
	id = int64(slices.IndexFunc(f.made, func(m report.Deployment) bool { return m.Marker == d.Marker })) + 1
	f.mu.Unlock()
	if id > 0 {
		return id, nil
	}
	err = f.call(fmt.Sprintf("%s: deploy %s to %s", d.Marker, d.Ref, d.Environment), func() {
		f.made = append(f.made, d)
		id = int64(len(f.made))
	})
	return id, err
}

func (f *forge) DeploymentStatus(_ context.Context, _ report.Repo, id int64, s report.DeploymentStatus) error {
	f.mu.Lock()
	d := f.made[id-1]
	f.mu.Unlock()
	return f.call(strings.TrimSpace(fmt.Sprintf("%s: %s: %s %s", d.Marker, s.State, s.Description, s.Link)), func() {
		if s.State == report.Success {
			if f.success == nil {
				f.success = map[string]string{}
			}
			f.success[d.Environment] = d.Marker
		}
	})
}

// told lists what was told so far.
func (f *forge) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.lines)
}

// last is what was told last under each name.
func (f *forge) last() map[string]string {
	last := map[string]string{}
	for _, line := range f.told() {
		name, text, _ := strings.Cut(line, ": ")
		last[name] = text
	}
	return last
}

// bench is a reporter with everything around it in memory.
type bench struct {
	*report.Reporter
	t      testing.TB
	forge  *forge
	facts  []events.Recorded
	values map[string][]byte
	held   bool // somebody else holds every lease
}

func newBench(t testing.TB, log *zap.Logger) *bench {
	t.Helper()
	b := &bench{t: t, forge: &forge{}, values: map[string][]byte{}}
	b.restart(log)
	return b
}

// restart forgets what is not in a table.
func (b *bench) restart(log *zap.Logger) {
	b.Reporter = report.New(report.Options{
		Hosts:  map[string]report.Host{"github.com": {Forge: b.forge, Statuses: true, Deployments: true}},
		Record: b, Leases: b, Table: b, Log: log,
	})
}

// state puts facts on record, of now unless they say when, and returns the last.
func (b *bench) state(facts ...events.Fact) events.Recorded {
	b.t.Helper()
	for _, fact := range facts {
		seq := uint64(len(b.facts) + 1)
		if err := events.Identify(fact, &events.Cause{Stream: "TEST", Seq: seq}, "test", time.Now()); err != nil {
			b.t.Fatal(err)
		}
		if err := fact.Validate(); err != nil {
			b.t.Fatal(err)
		}
		b.facts = append(b.facts, events.Recorded{Fact: fact, Seq: seq, First: seq})
	}
	return b.facts[len(b.facts)-1]
}

// report hands a fact out, and returns what became of it.
func (b *bench) report(r events.Recorded) error {
	b.t.Helper()
	facts, err := b.Fact(b.t.Context(), events.Delivery[events.Event]{
		Message: r.Fact, Origin: events.Cause{Stream: r.Fact.Kind().Stream(), Seq: r.Seq}, First: r.First, Attempt: 1,
	})
	if len(facts) > 0 {
		b.t.Errorf("states %v, expected nothing", facts)
	}
	return err
}

// happens states a fact, has it reported, and wants that to succeed.
func (b *bench) happens(fact events.Fact) {
	b.t.Helper()
	if err := b.report(b.state(fact)); err != nil {
		b.t.Errorf("%s: %v", fact.Subject(), err)
	}
}

// skips wants a report to be skipped for a reason.
func (b *bench) skips(err error, why string) {
	b.t.Helper()
	if reason, skipped := events.IsSkip(err); !skipped || !strings.Contains(reason, why) {
		b.t.Errorf("got %v, expected a skip for %q", err, why)
	}
}

func (b *bench) Last(_ context.Context, filter string) (events.Recorded, error) {
	for _, r := range slices.Backward(b.facts) {
		if matches(filter, r.Fact.Subject()) {
			return r, nil
		}
	}
	return events.Recorded{}, fmt.Errorf("look up %s: %w", filter, events.ErrNotRecorded)
}

func matches(filter, subject string) bool {
	return slices.EqualFunc(strings.Split(filter, "."), strings.Split(subject, "."), func(want, have string) bool {
		return want == "*" || want == have
	})
}

func (b *bench) Hold(ctx context.Context, key string, work func(context.Context) error) error {
	if b.held {
		return fmt.Errorf("take lease %s: %w", key, events.ErrHeld)
	}
	return work(ctx)
}

func (b *bench) Get(_ context.Context, key string) ([]byte, uint64, error) {
	value, found := b.values[key]
	if !found {
		return nil, 0, events.ErrNotRecorded
	}
	return value, 1, nil
}

func (b *bench) Put(_ context.Context, key string, value []byte) error {
	b.values[key] = value
	return nil
}
