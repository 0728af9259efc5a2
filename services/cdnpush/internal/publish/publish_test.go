package publish_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/cdnpush/internal/folder"
	"github.com/tagship/tagship/services/cdnpush/internal/publish"
	"go.uber.org/zap"
)

// world is a publisher with a real folder, and everything it needs around it.
type world struct {
	*publish.Publisher
	t      *testing.T
	record *memory
	dir    string
	folder *folder.Folder
	blobs  blobs
	seq    uint64 // of the last message
}

// blobs are packages by digest.
type blobs map[string][]byte

func (b blobs) Open(_ context.Context, _ events.Image, p events.Package) (io.ReadCloser, error) {
	content, ok := b[p.Digest]
	if !ok {
		return nil, fmt.Errorf("no blob %s", p.Digest)
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, record: newMemory(), dir: t.TempDir(), blobs: blobs{}}
	opened, err := folder.Open(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	w.folder = opened
	w.Publisher = w.publisher(opened.Store("https://dl.example.org"))
	return w
}

// publisher makes another publisher on the same record and packages.
func (w *world) publisher(store publish.Store) *publish.Publisher {
	return &publish.Publisher{
		Record: w.record, Leases: w.record, Packages: w.blobs, Log: zap.NewNop(),
		Channels: map[string]publish.Channel{
			"beta":   {Store: store, Promote: &publish.Promote{From: publish.FromBuild, Apps: []string{"agent", "team/tool"}}},
			"stable": {Store: store, Promote: &publish.Promote{From: "beta", Soak: time.Hour}},
			"lts":    {Store: store},
		},
	}
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// built records a build whose packages contain the given text.
func (w *world) built(app, version string, tagSeq uint64, packages map[string]string) *events.BuildDone {
	w.t.Helper()
	build := &events.BuildDone{App: app, Version: version, Commit: strings.Repeat("a", 40), TagSeq: tagSeq}
	for name, text := range packages {
		digest := digestOf([]byte(text))
		w.blobs[digest] = []byte(text)
		build.Packages = append(build.Packages, events.Package{Name: name, Digest: digest, Size: int64(len(text))})
	}
	held := &events.Image{Repository: "registry.example.org/" + app, Digest: digestOf([]byte(app + version))}
	if len(packages) > 0 {
		build.PackageSet = held
	} else {
		build.Image = held
	}
	w.state(build)
	return build
}

func (w *world) state(f events.Fact) {
	w.t.Helper()
	if _, err := w.record.Publish(w.t.Context(), f); err != nil {
		w.t.Fatal(err)
	}
}

// agent records a build of app agent with two packages.
func (w *world) agent(version string, tagSeq uint64) *events.BuildDone {
	w.t.Helper()
	return w.built("agent", version, tagSeq, map[string]string{
		"agent-linux-amd64.tar.gz": "an archive of " + version, "agent_" + version + "_amd64.deb": "a package of " + version,
	})
}

func delivery[M events.Event](w *world, m M) events.Delivery[M] {
	w.seq++
	return events.Delivery[M]{Message: m, Origin: events.Cause{Stream: "TEST", Seq: w.seq + 1000}, Time: time.Now(), Attempt: 1}
}

func (w *world) request(channel, app, version string) events.Delivery[*events.Request] {
	return delivery(w, events.NewRequest(events.CDNRequested, channel, app, version, "ann"))
}

// one is the only fact of a handler that must have succeeded.
func (w *world) one(facts []events.Fact, err error) events.Fact {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("handle: %v", err)
	}
	if len(facts) != 1 {
		w.t.Fatalf("%d facts, want 1", len(facts))
	}
	if err := events.Identify(facts[0], &events.Cause{Stream: "TEST", Seq: w.seq + 1000}, "cdnpush", time.Now()); err != nil {
		w.t.Fatal(err)
	}
	if _, err := events.Encode(facts[0]); err != nil {
		w.t.Fatal(err)
	}
	return facts[0]
}

func (w *world) done(facts []events.Fact, err error) *events.CDNDone {
	w.t.Helper()
	fact := w.one(facts, err)
	done, ok := fact.(*events.CDNDone)
	if !ok {
		w.t.Fatalf("fact is %T %+v, want cdn.done", fact, fact)
	}
	return done
}

func (w *world) refused(facts []events.Fact, err error, wants ...string) {
	w.t.Helper()
	fact := w.one(facts, err)
	refused, ok := fact.(*events.CDNRefused)
	if !ok {
		w.t.Fatalf("fact is %T %+v, want cdn.refused", fact, fact)
	}
	for _, want := range wants {
		if !strings.Contains(refused.Reason, want) {
			w.t.Errorf("reason is %q, want %q in it", refused.Reason, want)
		}
	}
}

func (w *world) file(name string) string {
	w.t.Helper()
	content, err := os.ReadFile(filepath.Join(w.dir, filepath.FromSlash(name)))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(content)
}

// tree is every file under the folder but its own and the times in pointers.
func (w *world) tree() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(w.dir), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".tagship/lock" || d.IsDir():
			return nil
		}
		all[name] = w.file(name)
		if strings.HasSuffix(name, "latest.json") {
			p := w.pointer(name)
			p.At, p.Asked = time.Time{}, time.Time{}
			body, err := json.Marshal(p)
			all[name] = string(body)
			return err
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *world) pointer(name string) publish.Pointer {
	w.t.Helper()
	var p publish.Pointer
	if err := json.Unmarshal([]byte(w.file(name)), &p); err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) wantLatest(channel, app, version string) {
	w.t.Helper()
	if got := w.file(channel + "/" + app + "/latest"); got != version+"\n" {
		w.t.Errorf("latest of %s on %s is %q, want %s", app, channel, got, version)
	}
	if got := w.pointer(channel + "/" + app + "/latest.json").Version; got != version {
		w.t.Errorf("latest.json of %s on %s names %q, want %s", app, channel, got, version)
	}
}

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
		time.Sleep(20 * time.Minute)
		if done := w.done(handle(t.Context(), first)); done.Channel != "stable" || !done.Latest {
			t.Errorf("done is %+v", done)
		}

		soaking := published("v3", false)
		time.Sleep(time.Minute)
		published("v2", true) // back
		time.Sleep(time.Hour)
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

// failing is a store that fails at its nth call, before or after it took effect.
type failing struct {
	publish.Store
	at    int
	after bool
	calls int
}

var errKilled = errors.New("killed")

func (f *failing) around(call func() error) error {
	f.calls++
	if f.calls > f.at || f.calls == f.at && !f.after {
		return errKilled
	}
	err := call()
	if f.calls == f.at {
		return errKilled
	}
	return err
}

func (f *failing) Stat(ctx context.Context, key string) (o publish.Object, err error) {
	err = f.around(func() (err error) { o, err = f.Store.Stat(ctx, key); return err })
	return o, err
}

func (f *failing) Create(ctx context.Context, o publish.Object, r io.Reader) error {
	return f.around(func() error { return f.Store.Create(ctx, o, r) })
}

func (f *failing) Read(ctx context.Context, key string) (b []byte, rev publish.Revision, err error) {
	err = f.around(func() (err error) { b, rev, err = f.Store.Read(ctx, key); return err })
	return b, rev, err
}

func (f *failing) Replace(ctx context.Context, key string, content []byte, old publish.Revision) error {
	return f.around(func() error { return f.Store.Replace(ctx, key, content, old) })
}

// Killed before or after any call to the store, and handled again, a publication
// ends as if nothing had happened; and meanwhile no pointer promises too much.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	reference := newWorld(t)
	prepare := func(w *world) {
		w.agent("v1", 1)
		w.agent("v2", 2)
		w.done(w.Requested(t.Context(), w.request("beta", "agent", "v1")))
	}
	prepare(reference)
	counting := &failing{Store: reference.folder.Store("https://dl.example.org"), at: 1 << 30}
	reference.done(reference.publisher(counting).Requested(t.Context(), reference.request("beta", "agent", "v2")))
	want := reference.tree()
	if counting.calls < 10 {
		t.Fatalf("only %d calls: the test kills nothing", counting.calls)
	}
	for at := 1; at <= counting.calls; at++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("call %d, after it %t", at, after), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				prepare(w)
				d := w.request("beta", "agent", "v2")
				killed := &failing{Store: w.folder.Store("https://dl.example.org"), at: at, after: after}
				if _, err := w.publisher(killed).Requested(t.Context(), d); !errors.Is(err, errKilled) {
					t.Fatalf("killed: %v", err)
				}
				pointer := w.pointer("beta/agent/latest.json")
				for _, file := range pointer.Files {
					name := strings.TrimPrefix(file.URL, "https://dl.example.org/")
					if got := digestOf([]byte(w.file(name))); got != file.Digest {
						t.Errorf("the pointer promises %s of %s, there is %s", file.Digest, name, got)
					}
				}
				d.Attempt = 2
				w.done(w.Requested(t.Context(), d))
				if diff := cmp.Diff(want, w.tree()); diff != "" {
					t.Errorf("not as if nothing had happened (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// Two that both believe to hold the lease, as after a long pause, harm nothing.
func TestConcurrentWithoutLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const versions = 8
	for i := range versions {
		w.agent(fmt.Sprintf("v%d", i), uint64(i+1))
	}
	var group sync.WaitGroup
	for range 2 {
		for i := range versions {
			p := w.publisher(w.folder.Store("https://dl.example.org"))
			p.Leases = newMemory()
			d := delivery(w, mustBuild(t, w, fmt.Sprintf("v%d", i)))
			group.Go(func() {
				if facts, err := p.PromotedBuild("beta")(t.Context(), d); err != nil || len(facts) != 1 || facts[0].Kind() != events.KindCDNDone {
					t.Errorf("%v, %v", facts, err)
				}
			})
		}
	}
	group.Wait()
	w.wantLatest("beta", "agent", fmt.Sprintf("v%d", versions-1))
}

func mustBuild(t *testing.T, w *world, version string) *events.BuildDone {
	t.Helper()
	last, err := w.record.Last(t.Context(), events.KindBuildDone.Subject("agent", version))
	if err != nil {
		t.Fatal(err)
	}
	build, ok := last.Fact.(*events.BuildDone)
	if !ok {
		t.Fatalf("recorded is %T", last.Fact)
	}
	return build
}

// Another writer put other bytes there between the look and the write.
func TestOtherBytesMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.agent("v1", 1)
	store := w.folder.Store("https://dl.example.org")
	sneaky := &sneaking{Store: store, key: "beta/agent/v1/agent_v1_amd64.deb"}
	fact := w.one(w.publisher(sneaky).Requested(t.Context(), w.request("beta", "agent", "v1")))
	failed, ok := fact.(*events.CDNFailed)
	if !ok || !strings.Contains(failed.Reason, sneaky.key) || !strings.Contains(failed.Reason, digestOf([]byte("sneaked in"))) {
		t.Errorf("fact is %T %+v", fact, fact)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "beta/agent/latest")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a pointer: %v", err)
	}
}

type sneaking struct {
	publish.Store
	key string
}

func (s *sneaking) Create(ctx context.Context, o publish.Object, r io.Reader) error {
	if o.Key == s.key {
		if err := s.Store.Create(ctx, publish.Object{Key: o.Key}, strings.NewReader("sneaked in")); err != nil {
			return err
		}
	}
	return s.Store.Create(ctx, o, r)
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
