package release_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/releaser/internal/release"
)

// target runs versions in memory; they behave as their names say.
type target struct {
	mu       sync.Mutex
	applied  map[string]release.Plan // by release id
	since    map[string]time.Time
	serving  string
	trouble  error
	settling func(release.Plan)
	applies  int
}

func newTarget() *target {
	return &target{applied: map[string]release.Plan{}, since: map[string]time.Time{}}
}

func (t *target) Apply(_ context.Context, p release.Plan) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.applies++
	if t.trouble != nil {
		return t.trouble
	}
	if strings.Contains(p.Version, "missing") {
		return &release.Fault{Reason: "the image does not exist"}
	}
	if _, there := t.applied[p.Release]; !there {
		t.applied[p.Release], t.since[p.Release] = p, time.Now()
	}
	return nil
}

func (t *target) Observe(_ context.Context, p release.Plan) (release.State, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, there := t.applied[p.Release]; !there {
		return release.State{}, nil
	}
	age := time.Since(t.since[p.Release])
	healthy := release.State{Healthy: p.Deploy.Instances, Settled: t.serving == p.Release && len(t.applied) == 1, Address: "http://here"}
	sick := release.State{Problem: "GET /healthz answered 503", Output: []string{"boom"}}
	switch {
	case strings.Contains(p.Version, "unhealthy"):
		return sick, nil
	case strings.Contains(p.Version, "crash") && age > 5*time.Second:
		return release.State{Failed: true, Problem: "exited with status 3", Output: []string{"panic"}}, nil
	case strings.Contains(p.Version, "flap") && age > 5*time.Second && age < 5400*time.Millisecond:
		return sick, nil
	case strings.Contains(p.Version, "wane") && age > 5*time.Second:
		return sick, nil
	case strings.Contains(p.Version, "slow") && age < 20*time.Second:
		return release.State{Problem: "connection refused"}, nil
	}
	return healthy, nil
}

func (t *target) Settle(_ context.Context, p release.Plan) error {
	if t.settling != nil {
		t.settling(p)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.serving = p.Release
	t.applied = map[string]release.Plan{p.Release: p}
	return nil
}

func (t *target) Clear(context.Context, string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.applied, t.serving = map[string]release.Plan{}, ""
	return nil
}

// bench is a releaser of three environments over one target.
type bench struct {
	*release.Releaser
	record *memory
	leases *lease
	target *target
}

const giveUp = time.Hour

func newBench(log *zap.Logger) *bench {
	b := &bench{record: &memory{}, leases: &lease{}}
	b.begin(log)
	return b
}

// restart loses all that a process loses when it ends.
func (b *bench) restart(t *testing.T) { b.begin(zaptest.NewLogger(t)) }

func (b *bench) begin(log *zap.Logger) {
	b.target = newTarget()
	b.Releaser = release.New([]release.Environment{
		{Name: "dev", Target: b.target, Restore: true, Promote: &release.Promotion{From: release.FromBuild}},
		{Name: "demo", Target: newTarget(), Promote: &release.Promotion{From: "dev", Soak: 10 * time.Minute, Apps: []string{"web"}}},
		{Name: "prod", Target: newTarget()},
	}, b.record, b.leases, silent{}, giveUp, log)
}

func digestOf(version string) string {
	return fmt.Sprintf("sha256:%064x", []byte(version)[max(0, len(version)-32):])
}

const commit = "0123456789abcdef0123456789abcdef01234567"

func built(version string, tagSeq uint64) *events.BuildDone {
	return &events.BuildDone{
		App: "web", Version: version, Commit: commit, TagSeq: tagSeq,
		Image: &events.Image{Repository: "registry/web", Digest: digestOf(version)},
		Deploy: &events.Deploy{
			Instances: 2,
			Port:      8080,
			Health:    events.Health{HTTP: "/healthz", Within: events.Duration(30 * time.Second), Soak: events.Duration(10 * time.Second)},
		},
	}
}

func wanted(env, version string, tagSeq uint64) *events.ReleaseWanted {
	return &events.ReleaseWanted{Release: events.Release{Env: env, App: "web", Version: version, Digest: digestOf(version)}, TagSeq: tagSeq}
}

func delivery[M events.Fact](r events.Recorded) events.Delivery[M] {
	return events.Delivery[M]{Message: r.Fact.(M), Origin: events.Cause{Stream: r.Fact.Kind().Stream(), Seq: r.Seq}, Time: r.Time, Attempt: 1}
}

func want(t *testing.T, b *bench, version string) events.Delivery[*events.ReleaseWanted] {
	t.Helper()
	return delivery[*events.ReleaseWanted](b.record.add(t, wanted("dev", version, 1)))
}

func deploy(t *testing.T, b *bench, d events.Delivery[*events.ReleaseWanted]) error {
	t.Helper()
	facts, err := b.Wanted(t.Context(), d)
	if len(facts) > 0 {
		t.Fatalf("returned %d facts, expected all to be committed", len(facts))
	}
	return err
}

func checkTold(t *testing.T, b *bench, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, b.record.told()); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
}

func TestReleaseEnds(t *testing.T) {
	const output = "; its last output:\n"
	for name, test := range map[string]struct {
		versions []string
		want     []string
		serving  string // the version that has the traffic in the end
	}{
		"first release": {[]string{"v1"}, []string{`started v1 replacing ""`, "done v1"}, "v1"},
		"upgrade": {[]string{"v1", "v2"}, []string{
			`started v1 replacing ""`, "done v1", "wanted v2", `started v2 replacing "v1"`, "done v2"}, "v2"},
		"same again":      {[]string{"v1", "v1"}, []string{`started v1 replacing ""`, "done v1", "wanted v1", "done v1 unchanged"}, "v1"},
		"slow start":      {[]string{"v1-slow"}, []string{`started v1-slow replacing ""`, "done v1-slow"}, "v1-slow"},
		"one slow answer": {[]string{"v1-flap"}, []string{`started v1-flap replacing ""`, "done v1-flap"}, "v1-flap"},
		"first is unhealthy": {[]string{"v1-unhealthy"}, []string{`started v1-unhealthy replacing ""`,
			`failed v1-unhealthy running "": 0 of 2 instances healthy within 30s: GET /healthz answered 503` + output + "boom"}, ""},
		"unhealthy upgrade": {[]string{"v1", "v2-unhealthy"}, []string{`started v1 replacing ""`, "done v1", "wanted v2-unhealthy",
			`started v2-unhealthy replacing "v1"`,
			`failed v2-unhealthy running "v1": 0 of 2 instances healthy within 30s: GET /healthz answered 503` + output + "boom"}, "v1"},
		"crash while soaking": {[]string{"v1", "v2-crash"}, []string{`started v1 replacing ""`, "done v1", "wanted v2-crash",
			`started v2-crash replacing "v1"`, `failed v2-crash running "v1": exited with status 3` + output + "panic"}, "v1"},
		"unhealthy while soaking": {[]string{"v1", "v2-wane"}, []string{`started v1 replacing ""`, "done v1", "wanted v2-wane",
			`started v2-wane replacing "v1"`, `failed v2-wane running "v1": was healthy, but not for 10s: GET /healthz answered 503` + output + "boom"}, "v1"},
		"missing image": {[]string{"v1", "v2-missing"}, []string{`started v1 replacing ""`, "done v1", "wanted v2-missing",
			`started v2-missing replacing "v1"`, `failed v2-missing running "v1": the image does not exist`}, "v1"},
		"never built": {[]string{"v0-unbuilt"}, []string{"refused v0-unbuilt: web v0-unbuilt is not built"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(zaptest.NewLogger(t))
				wants := []string{"wanted " + test.versions[0]}
				for _, version := range test.versions {
					if !strings.Contains(version, "unbuilt") {
						b.record.add(t, built(version, 1))
					}
					d := want(t, b, version)
					if err := deploy(t, b, d); err != nil {
						t.Fatalf("deploy %s: %v", version, err)
					}
					told := b.record.told()
					if err := deploy(t, b, d); err != nil {
						t.Fatalf("deploy %s a second time: %v", version, err)
					}
					if diff := cmp.Diff(told, b.record.told()); diff != "" {
						t.Errorf("handled twice, it recorded more:\n%s", diff)
					}
				}
				checkTold(t, b, append(wants, test.want...)...)
				if got := b.target.applied[b.target.serving].Version; got != test.serving {
					t.Errorf("serving %q, expected %q", got, test.serving)
				}
			})
		})
	}
}

func TestNewestWins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(zaptest.NewLogger(t))
		b.record.add(t, built("v1", 1), built("v2", 2))
		first, second := want(t, b, "v1"), want(t, b, "v2")
		if err := errors.Join(deploy(t, b, first), deploy(t, b, second), deploy(t, b, first)); err != nil {
			t.Fatal(err)
		}
		checkTold(t, b, "wanted v1", "wanted v2", "refused v1: superseded by v2", `started v2 replacing ""`, "done v2")
	})
}

func TestEndIsFoundAfterLaterReleases(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(zaptest.NewLogger(t))
		b.record.add(t, built("v1", 1), built("v2", 2))
		first := want(t, b, "v1")
		err := deploy(t, b, first)
		second := want(t, b, "v2")
		// The first one's acknowledgement was lost, so it comes again, late.
		if err := errors.Join(err, deploy(t, b, second), deploy(t, b, first)); err != nil {
			t.Fatal(err)
		}
		checkTold(t, b, "wanted v1", `started v1 replacing ""`, "done v1", "wanted v2", `started v2 replacing "v1"`, "done v2")
	})
}

func TestNewerWantedWhileDeploying(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(zaptest.NewLogger(t))
		b.record.add(t, built("v1", 1), built("v2", 2))
		d := want(t, b, "v1")
		b.target.settling = func(p release.Plan) {
			if p.Version == "v1" {
				b.record.add(t, wanted("dev", "v2", 2))
			}
		}
		if err := deploy(t, b, d); err != nil {
			t.Fatal(err)
		}
		checkTold(t, b, "wanted v1", `started v1 replacing ""`, "wanted v2", "done v1")
	})
}

func TestZombieTouchesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(zaptest.NewLogger(t))
		b.record.add(t, built("v1-slow", 1), built("v2", 2))
		zombie := want(t, b, "v1-slow")
		ended := make(chan error)
		go func() { ended <- deploy(t, b, zombie) }()
		time.Sleep(5 * time.Second) // of the bubble's clock: the zombie waits for health
		b.leases.drop("release.dev.web")
		if err := deploy(t, b, want(t, b, "v2")); err != nil {
			t.Fatalf("deploy by the successor: %v", err)
		}
		if _, _, snoozed := events.IsSnooze(<-ended); !snoozed {
			t.Error("the zombie did not put its message back")
		}
		if got := b.target.applied[b.target.serving].Version; got != "v2" {
			t.Errorf("serving %q, expected what the successor released", got)
		}
		checkTold(t, b, "wanted v1-slow", `started v1-slow replacing ""`, "wanted v2", `started v2 replacing ""`, "done v2")
		if err := deploy(t, b, zombie); err != nil {
			t.Fatal(err)
		}
		told := b.record.told()
		if got, want := told[len(told)-1], `failed v1-slow running "v2": overtaken by v2 while it was being released`; got != want {
			t.Errorf("ended with %q, expected %q", got, want)
		}
	})
}

func TestLostLeaseLeavesTheTargetAndIsResumed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(zaptest.NewLogger(t))
		b.record.add(t, built("v1-slow", 1))
		d := want(t, b, "v1-slow")
		ended := make(chan error)
		go func() { ended <- deploy(t, b, d) }()
		time.Sleep(5 * time.Second) // of the bubble's clock
		b.leases.lose(events.ErrLost)
		if err := <-ended; !errors.Is(err, events.ErrLost) {
			t.Errorf("ended with %v, expected the lost lease", err)
		}
		if len(b.target.applied) != 1 {
			t.Errorf("the target runs %d releases, expected the one begun", len(b.target.applied))
		}
		if err := deploy(t, b, d); err != nil {
			t.Fatal(err)
		}
		checkTold(t, b, "wanted v1-slow", `started v1-slow replacing ""`, "done v1-slow")
	})
}

func TestHeldReleaseIsPutBack(t *testing.T) {
	t.Parallel()
	b := newBench(zaptest.NewLogger(t))
	err := b.leases.Hold(t.Context(), "release.dev.web", func(context.Context) error { return deploy(t, b, want(t, b, "v1")) })
	if delay, _, ok := events.IsSnooze(err); !ok || delay != time.Second {
		t.Errorf("got %v, expected a snooze of 1s", err)
	}
}

func TestTroubleIsRetriedThenGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(zaptest.NewLogger(t))
		b.record.add(t, built("v1", 1))
		b.target.trouble = errors.New("the engine does not answer")
		d := want(t, b, "v1")
		if err := deploy(t, b, d); err == nil || events.IsPermanent(err) {
			t.Errorf("got %v, expected an error to retry", err)
		}
		time.Sleep(giveUp) // of the bubble's clock
		if err := deploy(t, b, d); err != nil {
			t.Fatal(err)
		}
		checkTold(t, b, "wanted v1", `started v1 replacing ""`,
			fmt.Sprintf(`failed v1 running "": given up after 1h0m0s: apply dev-web-%d: the engine does not answer`, d.Origin.Seq))
	})
}

func TestRestore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(zaptest.NewLogger(t))
		b.record.add(t, built("v1", 1), built("v2", 2))
		if err := errors.Join(deploy(t, b, want(t, b, "v1")), deploy(t, b, want(t, b, "v2"))); err != nil {
			t.Fatal(err)
		}
		id := b.target.serving
		told := b.record.told()
		b.restart(t)
		if err := b.Restore(t.Context()); err != nil {
			t.Fatal(err)
		}
		if b.target.serving != id || b.target.applied[id].Version != "v2" {
			t.Errorf("serving %q (%s), expected %q (v2)", b.target.serving, b.target.applied[id].Version, id)
		}
		checkTold(t, b, told...)
	})
}

// TestWhatRanBeforeIsRestoredFirst has a release continue after a restart, before
// Restore came to its app: users are not kept waiting for the new version.
func TestWhatRanBeforeIsRestoredFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(zaptest.NewLogger(t))
		b.record.add(t, built("v1", 1), built("v2-slow", 2))
		if err := deploy(t, b, want(t, b, "v1")); err != nil {
			t.Fatal(err)
		}
		b.restart(t)
		var settled []string
		b.target.settling = func(p release.Plan) { settled = append(settled, p.Version) }
		if err := deploy(t, b, want(t, b, "v2-slow")); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"v1", "v2-slow"}, settled); diff != "" {
			t.Errorf("got the traffic (-want +got):\n%s", diff)
		}
	})
}

func TestRequested(t *testing.T) {
	t.Parallel()
	packagesOnly := func() *events.BuildDone {
		build := built("v5", 5)
		build.Deploy = nil
		return build
	}
	seen := func(version string) *events.TagSeen {
		return &events.TagSeen{
			App: "web", Version: version, Tag: version, Repo: "/srv/web.git", Commit: commit,
			Source: events.Source{Digest: digestOf(version), Size: 1},
			Recipe: events.Recipe{Build: events.Build{Run: events.Commands{"make"}}, Packages: []events.RecipePackage{{File: "out"}}},
		}
	}
	for name, test := range map[string]struct{ env, app, version, want string }{
		"built":               {"prod", "web", "v1", "wanted v1"},
		"unknown environment": {"prdo", "web", "v1", `refused v1: there is no environment "prdo"; the environments are demo, dev, prod`},
		"unknown app":         {"prod", "wob", "v1", `refused v1: no tag of an app "wob" was ever seen; is the name right, and does tagwatch watch its repository?`},
		"unknown version":     {"prod", "web", "v9", "refused v9: web has no version v9; its newest is v4; if there is such a tag, ask for it with web@v9 on tag.web"},
		"waiting":             {"prod", "web", "v2", "refused v2: web v2 waits to be built; ask again after build.done.web.v2"},
		"building":            {"prod", "web", "v3", "refused v3: web v3 is still being built; ask again after build.done.web.v3"},
		"failed build":        {"prod", "web", "v4", "refused v4: the build of web v4 failed: make exited with status 2; push a new tag, or build it again with web@v4 on build.web"},
		"not deployed":        {"prod", "web", "v5", "refused v5: web v5 is not released to environments: its .tagship.yaml has no deploy section"},
		"refused tag":         {"prod", "web", "v6", "refused v6: the tag of web v6 was refused: no recipe"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(zaptest.NewLogger(t))
			b.record.add(t, built("v1", 1), packagesOnly(), seen("v2"), seen("v3"), seen("v4"),
				&events.BuildStarted{App: "web", Version: "v3", Commit: commit, Executor: "host"},
				&events.BuildFailed{App: "web", Version: "v4", Reason: "make exited with status 2"},
				&events.TagRefused{App: "web", Version: "v6", Reason: "no recipe"})
			facts, err := b.Requested(t.Context(), events.Delivery[*events.Request]{
				Message: events.NewRequest(events.ReleaseRequested, test.env, test.app, test.version, "ann"),
				Origin:  events.Cause{Stream: events.StreamReleases, Seq: 1},
			})
			if err != nil || len(facts) != 1 {
				t.Fatalf("got %d facts and %v, expected one fact", len(facts), err)
			}
			if by := facts[0].Head().By; by != "ann" {
				t.Errorf("stated by %q, expected who asked", by)
			}
			b.record.add(t, facts...)
			checkTold(t, b, test.want)
		})
	}
}

// TestRefusedRequestComesAgain delivers a request once more whose answer was
// stored, when it could be followed by then.
func TestRefusedRequestComesAgain(t *testing.T) {
	t.Parallel()
	b := newBench(zaptest.NewLogger(t))
	d := events.Delivery[*events.Request]{
		Message: events.NewRequest(events.ReleaseRequested, "prod", "web", "v1", "ann"),
		Origin:  events.Cause{Stream: events.StreamReleases, Seq: 77},
	}
	facts, err := b.Requested(t.Context(), d)
	if err != nil || len(facts) != 1 {
		t.Fatalf("got %d facts and %v, expected one fact", len(facts), err)
	}
	origin := d.Origin
	facts[0].Head().Cause = &origin
	b.record.add(t, facts[0], built("v1", 1))
	facts, err = b.Requested(t.Context(), d)
	if _, skipped := events.IsSkip(err); !skipped || len(facts) > 0 {
		t.Errorf("got %d facts and %v, expected a skip", len(facts), err)
	}
	d.Origin.Seq++
	if facts, err = b.Requested(t.Context(), d); err != nil || len(facts) != 1 || facts[0].Kind() != events.KindReleaseWanted {
		t.Errorf("asked again, got %v and %v, expected release.wanted", facts, err)
	}
}

func TestMalformedRequest(t *testing.T) {
	t.Parallel()
	_, err := events.ParseRequest("release.prod", []byte("web"))
	fact := release.MalformedRequest("release.prod", []byte("web"), err)
	if got := fact.Subject(); got != "release.refused.prod._" {
		t.Errorf("answered on %s", got)
	}
	if reason := fact.(*events.ReleaseRefused).Reason; !strings.Contains(reason, "expected for example") {
		t.Errorf("the reason %q does not say what is expected", reason)
	}
}

func TestPromoteBuilds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before  []events.Fact
		version string
		tagSeq  uint64
		want    []string
		skip    string
	}{
		"newer": {[]events.Fact{wanted("dev", "v1", 1)}, "v2", 2, []string{"wanted v1", "wanted v2 from build"}, ""},
		"first": {nil, "v2", 2, []string{"wanted v2 from build"}, ""},
		"older": {[]events.Fact{wanted("dev", "v3", 3)}, "v2", 2, []string{"wanted v3"}, "superseded by v3 in dev"},
		"same":  {[]events.Fact{wanted("dev", "v2", 2)}, "v2", 2, []string{"wanted v2"}, "superseded by v2 in dev"},
		"between the newest and what a person went back to": {[]events.Fact{wanted("dev", "v3", 3), wanted("dev", "v1", 1)}, "v2", 2,
			[]string{"wanted v3", "wanted v1"}, "superseded by v3 in dev"},
		"newer than all, after a person went back": {[]events.Fact{wanted("dev", "v3", 3), wanted("dev", "v1", 1)}, "v4", 4,
			[]string{"wanted v3", "wanted v1", "wanted v4 from build"}, ""},
		"not failed": {[]events.Fact{failure("v1"), wanted("dev", "v0", 1)}, "v2", 2, []string{`failed v1 running "": bad`, "wanted v0", "wanted v2 from build"}, ""},
		"failed before": {[]events.Fact{failure("v2"), wanted("dev", "v0", 1)}, "v2", 2, []string{`failed v2 running "": bad`, "wanted v0"},
			"v2 has failed in dev before; request it to try again"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(zaptest.NewLogger(t))
			b.record.add(t, built("v0", 1))
			b.record.add(t, test.before...)
			d := delivery[*events.BuildDone](b.record.add(t, built(test.version, test.tagSeq)))
			_, err := b.PromoteBuilds("dev")(t.Context(), d)
			if reason, _ := events.IsSkip(err); reason != test.skip || err != nil && test.skip == "" {
				t.Errorf("got %v, expected %q", err, test.skip)
			}
			checkTold(t, b, test.want...)
		})
	}
}

func failure(version string) *events.ReleaseFailed {
	return &events.ReleaseFailed{Release: events.Release{Env: "dev", App: "web", Version: version, Digest: digestOf(version)}, ReleaseID: "dev-web-1", Reason: "bad"}
}

func TestPromotionRaceKeepsTheNewer(t *testing.T) {
	t.Parallel()
	b := newBench(zaptest.NewLogger(t))
	older := delivery[*events.BuildDone](b.record.add(t, built("v1", 1)))
	newer := delivery[*events.BuildDone](b.record.add(t, built("v2", 2)))
	var once sync.Once
	b.record.beforePublish = func(events.Fact) {
		once.Do(func() {
			b.record.beforePublish = nil
			if _, err := b.PromoteBuilds("dev")(t.Context(), newer); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := b.PromoteBuilds("dev")(t.Context(), older); err == nil {
		t.Error("the older build was not skipped")
	}
	checkTold(t, b, "wanted v2 from build")
}

func TestPromoteReleases(t *testing.T) {
	t.Parallel()
	done := func(version string, tagSeq uint64) *events.ReleaseDone {
		return &events.ReleaseDone{Release: events.Release{Env: "dev", App: "web", Version: version, Digest: digestOf(version)}, ReleaseID: "dev-web-1", Instances: 1, TagSeq: tagSeq}
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(zaptest.NewLogger(t))
		promote := b.PromoteReleases("demo")
		first := delivery[*events.ReleaseDone](b.record.add(t, done("v1", 1)))
		_, err := promote(t.Context(), first)
		if delay, _, ok := events.IsSnooze(err); !ok || delay != 10*time.Minute {
			t.Errorf("got %v, expected a snooze of 10m", err)
		}
		second := delivery[*events.ReleaseDone](b.record.add(t, done("v2", 2)))
		_, err = promote(t.Context(), first)
		if _, skipped := events.IsSkip(err); !skipped {
			t.Errorf("got %v, expected a skip because v2 replaced v1", err)
		}
		time.Sleep(10 * time.Minute) // of the bubble's clock
		for range 2 {
			if _, err = promote(t.Context(), second); err != nil {
				if _, skipped := events.IsSkip(err); !skipped {
					t.Fatal(err)
				}
			}
		}
		other := done("v2", 2)
		other.App = "agent"
		if _, err := promote(t.Context(), delivery[*events.ReleaseDone](b.record.add(t, other))); err == nil {
			t.Error("an app that is not selected was promoted")
		}
		if got := b.record.told(); !slices.Contains(got, "wanted v2 from dev") || slices.Contains(got, "wanted v1 from dev") {
			t.Errorf("recorded %q, expected v2 to be promoted, once", got)
		}
	})
}
