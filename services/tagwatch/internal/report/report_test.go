package report_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/tagwatch/internal/report"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"
)

func (b *bench) wantTold(want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.forge.told()); diff != "" {
		b.t.Errorf("told the forge (-want +got):\n%s", diff)
	}
}

func TestLifeOfAVersion(t *testing.T) {
	t.Parallel()
	b := newBench(t, zaptest.NewLogger(t))
	for _, fact := range []events.Fact{
		seen("v1"), building("v1"), buildFailed("v1", "exit status 2"), building("v1"), built("v1"),
		releasing("dev", "v1", "dev-web-1"), released("dev", "v1", "dev-web-1"),
		releasing("demo", "v1", "demo-web-2"), releaseFailed("demo", "v1", "demo-web-2", "0 of 2\n instances healthy", "v0"),
		releasing("demo", "v1", "demo-web-3"), released("demo", "v1", "demo-web-3"),
	} {
		b.happens(fact)
	}
	b.wantTold(
		"v1: pending: seen, waits to be built",
		"v1: pending: building",
		"v1: failure: build failed: exit status 2",
		"v1: pending: building",
		"v1: success: built",
		"dev-web-1: deploy v1 to dev", "dev-web-1: in_progress: releasing",
		"v1: success: released to dev", "dev-web-1: success: running and healthy",
		"demo-web-2: deploy v1 to demo", "demo-web-2: in_progress: releasing",
		"v1: failure: release to demo failed: 0 of 2 instances healthy; demo runs v0", "demo-web-2: failure: 0 of 2 instances healthy; demo runs v0",
		"demo-web-3: deploy v1 to demo", "demo-web-3: in_progress: releasing", // the failure stands until this one ends
		"v1: success: released to dev, demo", "demo-web-3: success: running and healthy",
	)
}

func TestOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, zaptest.NewLogger(t))
	facts := []events.Fact{seen("v1"), building("v1"), built("v1"), releasing("dev", "v1", "r1"), released("dev", "v1", "r1")}
	for _, fact := range facts {
		b.happens(fact)
	}
	before := b.forge.told()
	b.restart(zaptest.NewLogger(t))
	for _, r := range b.facts {
		b.skips(b.report(r), "up to date") // each comes again, and all but the last are old
	}
	b.wantTold(before...)
}

func TestOrder(t *testing.T) {
	t.Parallel()
	t.Run("the newest fact is shown at once", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, zaptest.NewLogger(t))
		b.state(seen("v1"), building("v1"), built("v1"), releasing("dev", "v1", "r1"), released("dev", "v1", "r1"))
		for _, r := range b.facts {
			_ = b.report(r) // some have nothing to do
		}
		b.wantTold("v1: success: built", "v1: success: released to dev", "r1: deploy v1 to dev", "r1: success: running and healthy")
	})
	t.Run("what is older comes later", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, zaptest.NewLogger(t))
		b.state(seen("v1"))
		start, done := b.state(building("v1")), b.state(built("v1"))
		began, ended := b.state(releasing("dev", "v1", "r1")), b.state(releaseFailed("dev", "v1", "r1", "no", ""))
		wanted := b.state(&events.ReleaseWanted{Release: release("dev", "v2"), TagSeq: 2}) // hides what is before it
		for _, r := range []events.Recorded{ended, began, done, start} {
			_ = b.report(r)
		}
		b.wantTold("v1: failure: release to dev failed: no; nothing runs in dev",
			"r1: deploy v1 to dev", "r1: failure: no; nothing runs in dev")
		if !events.IsPermanent(b.report(wanted)) {
			t.Error("takes a fact that is not for reports")
		}
	})
	t.Run("a build that was asked for again", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, zaptest.NewLogger(t))
		b.state(seen("v1"))
		start := b.state(building("v1"))
		b.happens(built("v1"))
		b.state(&events.BuildRefused{App: "web", Version: "v1", Reason: "is built already"})
		b.skips(b.report(start), "up to date")
		b.wantTold("v1: success: built")
	})
	t.Run("a version that was replaced since", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, zaptest.NewLogger(t))
		b.state(seen("v1"), seen("v2"))
		b.happens(releasing("dev", "v1", "r1"))
		done := b.state(released("dev", "v1", "r1"))
		begun := b.state(releasing("demo", "v1", "r2"))
		b.happens(released("dev", "v2", "r3"))
		b.happens(released("demo", "v2", "r4"))
		if err := b.report(done); err != nil {
			t.Error(err)
		}
		b.skips(b.report(begun), "v2 was released to demo since")
		b.wantTold(
			"v1: pending: seen, waits to be built", "r1: deploy v1 to dev", "r1: in_progress: releasing",
			"v2: success: released to dev", "r3: deploy v2 to dev", "r3: success: running and healthy",
			"v2: success: released to dev, demo", "r4: deploy v2 to demo", "r4: success: running and healthy",
			"v1: success: released to dev", "r1: inactive: replaced by v2",
		)
	})
	t.Run("an older version is brought back", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, zaptest.NewLogger(t))
		b.state(seen("v1"), seen("v2"))
		b.happens(released("dev", "v1", "r1"))
		b.happens(released("dev", "v2", "r2"))
		b.happens(released("dev", "v1", "r3"))
		if b.forge.success["dev"] != "r3" {
			t.Errorf("the forge takes %s for what runs, expected r3", b.forge.success["dev"])
		}
	})
}

func TestTagThatDoesNotNameTheCommit(t *testing.T) {
	t.Parallel()
	for name, fact := range map[string]events.Fact{
		"moved":   &events.TagMoved{App: "web", Version: "v1", Tag: "v1", Old: commit, New: strings.Repeat("e", 40)},
		"deleted": &events.TagDeleted{App: "web", Version: "v1", Tag: "v1", Commit: commit},
	} {
		b := newBench(t, zaptest.NewLogger(t))
		b.state(seen("v1"), fact)
		b.happens(released("dev", "v1", "r1"))
		b.wantTold("v1: success: released to dev", "r1: deploy "+commit+" to dev", "r1: success: running and healthy")
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestEnvironmentsOfSeveralAppsInARepository(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]string{
		"v1": "dev", "web/v1": "dev (web)", "web@v1": "dev (web)",
	} {
		b := newBench(t, zaptest.NewLogger(t))
		fact := seen("v1")
		fact.Tag = tag
		b.state(fact)
		b.happens(released("dev", "v1", "r1"))
		if got := b.forge.made[0].Environment; got != want {
			t.Errorf("the environment of %s is %q, expected %q", tag, got, want)
		}
	}
}

func refused(version string, change ...func(*events.TagRefused)) *events.TagRefused {
	fact := &events.TagRefused{
		App: "web", Version: version, Tag: version, Commit: commit, Repo: "https://github.com/acme/web", RepoID: "42",
		Reason: ".tagship.yaml:3:1:\n build.run is missing",
	}
	for _, c := range change {
		c(fact)
	}
	return fact
}

func TestRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, zaptest.NewLogger(t))
	b.happens(refused("v1"))
	first := b.facts[0]
	b.skips(b.report(first), "up to date")
	b.happens(refused("v1", func(f *events.TagRefused) { f.Reason = "there is no .tagship.yaml" }))
	b.happens(seen("v1")) // somebody has asked for it
	b.skips(b.report(first), "web v1 is a version, whatever was refused about it")
	b.happens(built("v1"))
	b.wantTold(
		"v1: failure: refused: .tagship.yaml:3:1: build.run is missing",
		"v1: failure: refused: there is no .tagship.yaml",
		"v1: pending: seen, waits to be built",
		"v1: success: built",
	)
}

func TestRefusedOfNoCommit(t *testing.T) {
	t.Parallel()
	b := newBench(t, zaptest.NewLogger(t))
	for name, test := range map[string]struct {
		change func(*events.TagRefused)
		why    string
	}{
		"a request":                        {func(f *events.TagRefused) { f.Tag, f.Commit = "", "" }, "no commit"},
		"a request of nothing":             {func(f *events.TagRefused) { f.App, f.Version, f.Tag, f.Commit = "_", "_", "", "" }, "no commit"},
		"no tag is left":                   {func(f *events.TagRefused) { f.Tag = "" }, "no commit"},
		"stated before it was known where": {func(f *events.TagRefused) { f.Repo = "" }, "no commit"},
		"elsewhere":                        {func(f *events.TagRefused) { f.Repo = "/srv/git/web.git" }, "nothing is reported to where /srv/git/web.git is"},
	} {
		if b.skips(b.report(b.state(refused("v1", test.change))), test.why); t.Failed() {
			t.Fatal(name)
		}
	}
	b.wantTold()
}

func TestNotReported(t *testing.T) {
	t.Parallel()
	b := newBench(t, zaptest.NewLogger(t))
	elsewhere := seen("v1")
	elsewhere.Repo = "/srv/git/web.git"
	b.skips(b.report(b.state(elsewhere)), "nothing is reported to where /srv/git/web.git is")
	deep := seen("v2")
	deep.Repo = "https://github.com/acme/web/tree"
	b.skips(b.report(b.state(deep)), "is not the address of a repository")
	b.skips(b.report(b.state(built("v3"))), "no tag of web v3 is on record")
	old := seen("v4")
	old.At = time.Now().Add(-report.MaxAge - time.Minute)
	b.skips(b.report(b.state(old)), "is no news")
	b.held = true
	if _, _, snoozed := events.IsSnooze(b.report(b.state(seen("v5")))); !snoozed {
		t.Error("does not wait for the report under way")
	}
	b.wantTold()
}

func TestDenied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, logged := observer.New(zapcore.WarnLevel)
		b := newBench(t, zap.New(core))
		permitted := false
		b.forge.meet = func(line string) (func() error, error) {
			if strings.HasPrefix(line, "v1: ") && !permitted {
				return nil, &report.DeniedError{Reason: "no statuses here"}
			}
			return nil, nil
		}
		b.skips(b.report(b.state(seen("v1"))), "not permitted: no statuses here")
		b.skips(b.report(b.state(building("v1"))), "switched off until")
		b.happens(released("dev", "v1", "r1")) // as a deployment only
		<-time.After(time.Hour)
		b.skips(b.report(b.state(built("v1"))), "not permitted")
		if logged.Len() != 1 {
			t.Errorf("logged %d times, expected once: %v", logged.Len(), logged.All())
		}
		<-time.After(time.Hour)
		permitted = true
		b.happens(released("demo", "v1", "r2"))
		b.wantTold("r1: deploy v1 to dev", "r1: success: running and healthy",
			"v1: success: released to dev, demo", "r2: deploy v1 to demo", "r2: success: running and healthy")
	})
}

func TestTrouble(t *testing.T) {
	t.Parallel()
	b := newBench(t, zaptest.NewLogger(t))
	var trouble error
	b.forge.meet = func(string) (func() error, error) { return nil, trouble }
	fact := b.state(seen("v1"))

	trouble = errors.New("connection refused")
	if err := b.report(fact); !errors.Is(err, trouble) {
		t.Errorf("got %v, expected the forge's error, to be tried again", err)
	}
	trouble = &report.LimitError{Until: time.Now().Add(time.Minute), Reason: "too many requests"}
	delay, reason, snoozed := events.IsSnooze(b.report(fact))
	if !snoozed || reason != "too many requests" || delay < 59*time.Second || delay > 67*time.Second {
		t.Errorf("got a snooze of %s for %q, expected one of a minute and a little", delay, reason)
	}
	trouble = &report.UnfitError{Reason: "no such commit"}
	b.skips(b.report(fact), "github.com: no commit status: no such commit")
	b.skips(b.report(fact), "up to date") // it is not tried again
	b.skips(b.report(b.state(released("dev", "v1", "r1"))), "no commit status: no such commit; github.com: no deployment: no such commit")
	trouble = nil
	b.skips(b.report(b.facts[1]), "up to date")
	b.wantTold()
}
