package publish_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/cdnpush/internal/publish"
)

func TestRequestPublishesEverythingInItsPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	build := w.agent("v1.2.3", 7)
	done := w.done(w.Requested(t.Context(), w.request("beta", "agent", "v1.2.3")))

	archive, deb := digestOf([]byte("an archive of v1.2.3")), digestOf([]byte("a package of v1.2.3"))
	sums := fmt.Sprintf("%s  agent-linux-amd64.tar.gz\n%s  agent_v1.2.3_amd64.deb\n", strings.TrimPrefix(archive, "sha256:"), strings.TrimPrefix(deb, "sha256:"))
	base := "https://dl.example.org/beta/agent/v1.2.3/"
	if diff := cmp.Diff([]events.Download{
		{URL: base + "agent-linux-amd64.tar.gz", Digest: archive, Size: 20},
		{URL: base + "agent_v1.2.3_amd64.deb", Digest: deb, Size: 19},
		{URL: base + "SHA256SUMS", Digest: digestOf([]byte(sums)), Size: int64(len(sums))},
	}, done.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if done.Unchanged || !done.Latest || done.TagSeq != build.TagSeq || done.By != "ann" {
		t.Errorf("done is %+v", done)
	}
	got := w.tree()
	delete(got, "beta/agent/latest.json")
	if diff := cmp.Diff(map[string]string{
		"beta/agent/v1.2.3/agent-linux-amd64.tar.gz": "an archive of v1.2.3",
		"beta/agent/v1.2.3/agent_v1.2.3_amd64.deb":   "a package of v1.2.3",
		"beta/agent/v1.2.3/SHA256SUMS":               sums,
		"beta/agent/latest":                          "v1.2.3\n",
	}, got); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	pointer := w.pointer("beta/agent/latest.json")
	if len(pointer.Files) != 3 || pointer.Files[0].URL != done.Files[0].URL || pointer.Files[0].Digest != archive || pointer.At.IsZero() || !pointer.Requested {
		t.Errorf("latest.json is %+v", pointer)
	}
	if started := w.record.subjects()[1:]; !slices.Equal(started, []string{"cdn.started.beta.agent"}) {
		t.Errorf("facts on the way: %v", started)
	}
}

func TestSameAgainIsUnchanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.agent("v1", 1)
	w.done(w.Requested(t.Context(), w.request("beta", "agent", "v1")))
	before := w.tree()
	done := w.done(w.Requested(t.Context(), w.request("beta", "agent", "v1")))
	if !done.Unchanged || !done.Latest || len(done.Files) != 3 {
		t.Errorf("done is %+v, want unchanged", done)
	}
	if diff := cmp.Diff(before, w.tree()); diff != "" {
		t.Errorf("the tree changed:\n%s", diff)
	}
}

// What a killed delivery wrote is not "unchanged" when it is delivered again.
func TestDeliveredAgainIsItsOwnWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.agent("v1", 1)
	d := w.request("beta", "agent", "v1")
	ctx := causedBy(t.Context(), d.Origin)
	w.done(w.Requested(ctx, d))
	d.Attempt++
	if done := w.done(w.Requested(ctx, d)); done.Unchanged {
		t.Error("the second delivery says unchanged")
	}
}

func TestOtherBytesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.agent("v1", 1)
	w.done(w.Requested(t.Context(), w.request("beta", "agent", "v1")))
	if err := os.WriteFile(filepath.Join(w.dir, "beta/agent/v1/agent_v1_amd64.deb"), []byte("other bytes"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.dir, "beta/agent/v1/agent-linux-amd64.tar.gz")); err != nil {
		t.Fatal(err)
	}
	before := w.tree()
	facts, err := w.Requested(t.Context(), w.request("beta", "agent", "v1"))
	w.refused(facts, err, "beta/agent/v1/agent_v1_amd64.deb", digestOf([]byte("other bytes")), digestOf([]byte("a package of v1")), "tag a new version")
	if diff := cmp.Diff(before, w.tree()); diff != "" {
		t.Errorf("something was written all the same:\n%s", diff)
	}
}

func TestRefusalsSayWhatIsKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := func(app, version string) {
		w.state(&events.TagSeen{
			App: app, Version: version, Tag: version, Repo: "/srv/git/x", Commit: strings.Repeat("a", 40),
			Source: events.Source{Digest: digestOf(nil), Size: 1},
			Recipe: events.Recipe{Build: events.Build{Run: events.Commands{"make"}}, Packages: []events.RecipePackage{{File: "out/x"}}},
		})
	}
	seen("web", "v1")
	w.built("web", "v1", 1, nil)
	seen("web", "v2")
	seen("web", "v3")
	w.state(&events.BuildStarted{App: "web", Version: "v3", Commit: strings.Repeat("a", 40), Executor: "host"})
	seen("web", "v4")
	w.state(&events.BuildFailed{App: "web", Version: "v4", Reason: "make: exit status 2"})
	w.built("odd", "v2", 2, map[string]string{"SHA256SUMS": "x"})
	w.built("odd", "v3", 3, map[string]string{".hidden": "x"})
	w.built("odd", "v4", 4, map[string]string{"a\nb": "x"})
	w.built("odd", strings.Repeat("/", 100), 5, map[string]string{"a": "x"})
	for name, c := range map[string]struct {
		channel, app, version string
		wants                 []string
	}{
		"channel":        {"gamma", "web", "v1", []string{`no channel "gamma"`, "beta, lts, stable"}},
		"app":            {"beta", "nothing", "v1", []string{"no version of nothing was ever seen", "tagwatch"}},
		"version":        {"beta", "web", "v9", []string{"no tag of web for version v9", "newest one seen is v4"}},
		"not built":      {"beta", "web", "v2", []string{"not built yet", "build.done"}},
		"being built":    {"beta", "web", "v3", []string{"is being built"}},
		"failed":         {"beta", "web", "v4", []string{"could not be built", "exit status 2"}},
		"no packages":    {"beta", "web", "v1", []string{"has no packages", ".tagship.yaml"}},
		"sums as name":   {"beta", "odd", "v2", []string{"SHA256SUMS", "list of digests"}},
		"hidden name":    {"beta", "odd", "v3", []string{"begins with a dot"}},
		"newline":        {"beta", "odd", "v4", []string{"control character"}},
		"version's name": {"beta", "odd", strings.Repeat("/", 100), []string{"300 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			facts, err := w.Requested(t.Context(), w.request(c.channel, c.app, c.version))
			w.refused(facts, err, c.wants...)
		})
	}
	if len(w.tree()) != 0 {
		t.Errorf("something was written: %v", w.tree())
	}
}

// The record refuses such a build as well; nothing is to depend on that.
func TestRefusedRequestComesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.request("beta", "agent", "v1")
	refused := w.one(w.Requested(t.Context(), d))
	w.state(refused)
	w.agent("v1", 1)
	facts, err := w.Requested(t.Context(), d)
	if _, skipped := events.IsSkip(err); !skipped || len(facts) > 0 {
		t.Errorf("got %d facts and %v, want a skip", len(facts), err)
	}
	w.done(w.Requested(t.Context(), w.request("beta", "agent", "v1")))
}

func TestNameThatLeadsElsewhereIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"../../etc/passwd", `..\x`, "", "..", strings.Repeat("a", 256)} {
		build := w.agent("v1", 1)
		build.Packages[0].Name = name
		facts, err := w.PromotedBuild("beta")(t.Context(), delivery(w, build))
		w.refused(facts, err, fmt.Sprintf("package %q", name), ".tagship.yaml")
	}
	if len(w.tree()) != 0 {
		t.Errorf("something was written: %v", w.tree())
	}
}

func TestTwoPackagesOfOneNameAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	build := w.agent("v1", 1)
	build.Packages = append(build.Packages, build.Packages[0])
	facts, err := w.PromotedBuild("beta")(t.Context(), delivery(w, build))
	w.refused(facts, err, "two packages", build.Packages[0].Name)
}

func TestOddNamesStayApartAndInside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	names := []struct{ app, version, dir string }{
		{"agent", "v1.0.0+build.5~rc1", "agent/v1.0.0+build.5~rc1"},
		{"agent", "..", "agent/=2E."},
		{"agent", "latest", "agent/=6Catest"},
		{"agent", "latest.json", "agent/=6Catest.json"},
		{"agent", "release/1.0", "agent/release=2F1.0"},
		{"agent", "a=b%é", "agent/a=3Db=25=C3=A9"},
		{"team/tool", "v1", "team=2Ftool/v1"},
	}
	for i, n := range names {
		w.built(n.app, n.version, uint64(i+1), map[string]string{"a b+c%.tar.gz": n.version})
		done := w.done(w.Requested(t.Context(), w.request("lts", n.app, n.version)))
		if got := w.file("lts/" + n.dir + "/a b+c%.tar.gz"); got != n.version {
			t.Errorf("%s %s holds %q", n.app, n.version, got)
		}
		if want := "/a%20b+c%25.tar.gz"; !strings.HasSuffix(done.Files[0].URL, want) {
			t.Errorf("URL is %s, want %s at its end", done.Files[0].URL, want)
		}
	}
	w.wantLatest("lts", "agent", "a=b%é")
}

// How versions were published, in order, decides where latest ends.
func TestLatest(t *testing.T) {
	t.Parallel()
	type step struct {
		version   string // whose number is its tag's place
		requested bool
		late      bool // asked for before everything else
	}
	promoted := func(v string) step { return step{version: v} }
	requested := func(v string) step { return step{version: v, requested: true} }
	for name, c := range map[string]struct {
		steps []step
		want  string
	}{
		"forward":                             {[]step{promoted("v1"), promoted("v2")}, "v2"},
		"an older one late":                   {[]step{promoted("v2"), promoted("v1")}, "v2"},
		"a person takes it back":              {[]step{promoted("v2"), requested("v1")}, "v1"},
		"forward again":                       {[]step{promoted("v2"), requested("v1"), promoted("v3")}, "v3"},
		"what was there stays back":           {[]step{promoted("v1"), requested("v1"), {version: "v3", late: true}, promoted("v2")}, "v3"},
		"promotion from before does not undo": {[]step{promoted("v2"), requested("v1"), {version: "v3", late: true}}, "v1"},
		"an overtaken request":                {[]step{promoted("v3"), {version: "v1", requested: true, late: true}}, "v3"},
		"an overtaken request for a newer":    {[]step{promoted("v1"), {version: "v3", requested: true, late: true}}, "v3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			builds := map[string]*events.BuildDone{}
			for i, v := range []string{"v1", "v2", "v3"} {
				builds[v] = w.agent(v, uint64(i+1))
			}
			begin := time.Now().Add(-time.Hour)
			for i, s := range c.steps {
				asked := begin.Add(time.Duration(i) * time.Second)
				if s.late {
					asked = begin.Add(-time.Minute)
				}
				var done *events.CDNDone
				if s.requested {
					d := w.request("beta", "agent", s.version)
					d.Time = asked
					done = w.done(w.Requested(t.Context(), d))
				} else {
					d := delivery(w, builds[s.version])
					d.Time = asked
					done = w.done(w.PromotedBuild("beta")(t.Context(), d))
				}
				if named := w.pointer("beta/agent/latest.json").Version == s.version; done.Latest != named {
					t.Errorf("after %s the fact says latest %t, the pointer %t", s.version, done.Latest, named)
				}
			}
			w.wantLatest("beta", "agent", c.want)
		})
	}
}

func TestBrokenPointerFailsWithTheWayOut(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"garbage": "{{{", "empty": "", "other": `{"x":1}`, "null": "null"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.agent("v1", 1)
			if err := os.MkdirAll(filepath.Join(w.dir, "beta/agent"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(w.dir, "beta/agent/latest.json"), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			fact := w.one(w.Requested(t.Context(), w.request("beta", "agent", "v1")))
			failed, ok := fact.(*events.CDNFailed)
			if !ok || !strings.Contains(failed.Reason, "beta/agent/latest.json") || !strings.Contains(failed.Reason, "move it away") {
				t.Errorf("fact is %T %+v", fact, fact)
			}
		})
	}
}

func TestPromotedBuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	done := w.done(w.PromotedBuild("beta")(t.Context(), delivery(w, w.agent("v1", 1))))
	if !done.Latest || done.By != "cdnpush" {
		t.Errorf("done is %+v", done)
	}
	for name, build := range map[string]*events.BuildDone{
		"no packages": w.built("agent", "v2", 2, nil),
		"other app":   w.built("web", "v1", 3, map[string]string{"web.tar.gz": "x"}),
	} {
		if _, err := w.PromotedBuild("beta")(t.Context(), delivery(w, build)); err == nil {
			t.Errorf("%s: no error, want a skip", name)
		} else if _, ok := events.IsSkip(err); !ok {
			t.Errorf("%s: %v, want a skip", name, err)
		}
	}
	if _, err := w.PromotedBuild("lts")(t.Context(), delivery(w, w.agent("v3", 3))); !events.IsPermanent(err) {
		t.Errorf("promotion to a channel without gives %v, want a permanent error", err)
	}
}

func TestSoak(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		published := func(version string, requested bool) events.Delivery[*events.CDNDone] {
			done := w.done(w.Requested(t.Context(), w.request("beta", "agent", version)))
			if !requested {
				done.Meta = events.Meta{}
			}
			w.state(done)
			d := delivery(w, done)
			d.Origin.Seq = uint64(len(w.record.subjects()))
			return d
		}
		w.agent("v1", 1)
		w.agent("v2", 2)
		w.agent("v3", 3)
		first := published("v1", false)
		handle := w.PromotedChannel("stable")
		_, err := handle(t.Context(), first)
		if delay, _, ok := events.IsSnooze(err); !ok || delay != time.Hour {
			t.Fatalf("first delivery gives %v, want a snooze of 1 h", err)
		}
		time.Sleep(40 * time.Minute) // of the bubble's clock
		if delay, _, _ := events.IsSnooze(second(handle(t.Context(), first))); delay != 20*time.Minute {
			t.Fatalf("later delivery gives a snooze of %s, want 20m", delay)
		}
		time.Sleep(20 * time.Minute) // of the bubble
		if done := w.done(handle(t.Context(), first)); done.Channel != "stable" || !done.Latest {
			t.Errorf("done is %+v", done)
		}

		soaking := published("v3", false)
		time.Sleep(time.Minute) // of the bubble
		published("v2", true)   // back
		time.Sleep(time.Hour)   // of the bubble
		facts, err := handle(t.Context(), soaking)
		w.refused(facts, err, "beta was taken back to v2", "v3")
		w.wantLatest("stable", "agent", "v1")
	})
}

func second[A, B any](_ A, b B) B { return b }

func TestBusySnoozes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.agent("v1", 1)
	err := w.record.Hold(t.Context(), "cdn.beta.agent", func(ctx context.Context) error {
		_, err := w.Requested(ctx, w.request("beta", "agent", "v1"))
		return err
	})
	if _, reason, ok := events.IsSnooze(err); !ok || !strings.Contains(reason, "agent") {
		t.Errorf("%v, want a snooze", err)
	}
}

func TestWrongContentIsNeverVisible(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"shorter": "an", "longer": "an archive of v1 and more", "other": "AN ARCHIVE OF v1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.agent("v1", 1)
			w.blobs[digestOf([]byte("an archive of v1"))] = []byte(content)
			_, err := w.Requested(t.Context(), w.request("beta", "agent", "v1"))
			if err == nil || events.IsPermanent(err) || !strings.Contains(err.Error(), "agent-linux-amd64.tar.gz") {
				t.Errorf("error is %v, want one to be tried again that names the file", err)
			}
			if tree := w.tree(); len(tree) != 0 {
				t.Errorf("visible: %v", tree)
			}
		})
	}
}

func TestMalformedAndGaveUp(t *testing.T) {
	t.Parallel()
	_, problem := events.ParseRequest("cdn.beta", []byte("agent v1"))
	fact := publish.Malformed("cdn.beta", []byte("agent v1"), problem)
	if got := fact.Subject(); got != "cdn.refused.beta._" {
		t.Errorf("subject is %s", got)
	}
	for _, c := range []struct {
		channel string
		m       events.Event
		want    string
	}{
		{"", events.NewRequest(events.CDNRequested, "beta", "agent", "v1", "ann"), "cdn.failed.beta.agent"},
		{"stable", &events.CDNDone{Channel: "beta", App: "agent", Version: "v1"}, "cdn.failed.stable.agent"},
		{"beta", &events.BuildDone{App: "agent", Version: "v1"}, "cdn.failed.beta.agent"},
	} {
		facts := publish.GaveUp(c.channel)(c.m, errors.New("disk full"))
		if len(facts) != 1 || facts[0].Subject() != c.want {
			t.Errorf("facts are %v, want %s", facts, c.want)
		}
	}
}
