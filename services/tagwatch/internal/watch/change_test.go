package watch

import (
	"compress/gzip"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
)

func TestManyTagsMovedToOneCommit(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v0", "v1", "v2")
	w := newWatcher(t, s, r)
	mustLook(t, w)
	r.push("v3")
	mustLook(t, w)
	// One after another, as over several looks.
	evil := r.move("v1", "evil")
	mustLook(t, w)
	r.move("v2", "evil")
	mustLook(t, newWatcher(t, s, r))
	r.move("v3", "evil")
	mustHear(t, w, hookOf(r, "v3"))
	for subject, suspicious := range map[string]bool{"tag.moved.web.v1": false, "tag.moved.web.v2": false, "tag.moved.web.v3": true} {
		if moved := s.last(t, subject).(*events.TagMoved); moved.New != evil || strings.Contains(moved.Suspicion, "3 tags") != suspicious {
			t.Errorf("%s: %+v", subject, moved)
		}
	}
	// A new tag on that commit is the same attack, unless somebody wants it.
	r.move("v4", "evil")
	r.move("v5", "evil")
	mustHear(t, w, hookOf(r, "v4"))
	mustLook(t, w)
	if diff := cmp.Diff([]string{"v3"}, s.seen()); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
	for _, version := range []string{"v4", "v5"} {
		if f := s.last(t, "tag.refused.web."+version).(*events.TagRefused); !strings.Contains(f.Reason, evil) || !strings.Contains(f.Reason, "Ask for the version") {
			t.Errorf("%s is refused because %s", version, f.Reason)
		}
	}
	if diff := cmp.Diff([]string{"v5"}, looked(t, request(t, w, 9, "web", "v5"))); diff != "" {
		t.Errorf("asked for, found (-want +got):\n%s", diff)
	}
}

func TestManyAnnotatedTagsMovedAtOnce(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1", "v2", "v3", "v4")
	w := newWatcher(t, s, r, func(a *App, _ *Options) { a.Host.(*forge).unpeeled = true })
	mustLook(t, w)
	for _, tag := range []string{"v1", "v2", "v3", "v4"} {
		r.move(tag, "evil")
		r.annotate(tag, "evil annotation of "+tag)
	}
	mustLook(t, w)
	if moved := s.last(t, "tag.moved.web.v4").(*events.TagMoved); !strings.Contains(moved.Suspicion, "4 tags") || moved.New != commitOf("evil") {
		t.Errorf("moved as %+v", moved)
	}
}

func TestManyTagsMovedAtOnce(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1", "v2", "v3", "v4")
	w := newWatcher(t, s, r)
	mustLook(t, w)
	for _, tag := range []string{"v1", "v2", "v3", "v9"} {
		r.move(tag, "evil")
	}
	r.move("v4", "other")
	mustLook(t, w)
	for version, suspicious := range map[string]bool{"v1": true, "v2": true, "v3": true, "v4": false} {
		if moved := s.last(t, "tag.moved.web."+version).(*events.TagMoved); (moved.Suspicion != "") != suspicious {
			t.Errorf("%s: %+v", version, moved)
		}
	}
	if got := s.seen(); len(got) != 0 {
		t.Errorf("seen %v on the commit of an attack", got)
	}
}

func TestAnnotatingAnewIsNoMove(t *testing.T) {
	t.Parallel()
	for name, unpeeled := range map[string]bool{"listings tell commits": false, "listings tell objects alone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := newStore(), newRepository("v0", "v0.1", "v0.2", "v1")
			for _, old := range []string{"v0", "v0.1", "v0.2"} {
				r.annotate(old, "annotation of "+old)
			}
			w := newWatcher(t, s, r, func(a *App, _ *Options) { a.Host.(*forge).unpeeled = unpeeled })
			mustLook(t, w)
			r.push("v2", "v3")
			r.annotate("v2", "annotation")
			mustLook(t, w)
			seen := s.last(t, "tag.seen.web.v2").(*events.TagSeen)
			if seen.Commit != commitOf("v2") || seen.Object != commitOf("annotation") {
				t.Errorf("seen as %s, object %s", seen.Commit, seen.Object)
			}
			r.annotate("v2", "another annotation")
			r.annotate("v3", "first annotation")
			r.annotate("v1", "first annotation of v1")
			r.annotate("v0.1", "another annotation of v0.1")
			mustLook(t, w)
			finds := r.finds
			r.push("v4") // so that the listing differs
			mustLook(t, w)
			if r.finds != finds {
				t.Errorf("%d tags were looked up again", r.finds-finds)
			}
			if got := s.said(events.KindTagMoved); len(got) != 0 {
				t.Errorf("said %v, but no commit changed", got)
			}
			moved := r.move("v2", "elsewhere")
			r.annotate("v2", "third annotation")
			r.move("v0", "elsewhere")
			r.annotate("v0", "third annotation of v0")
			mustLook(t, w)
			if got := s.last(t, "tag.moved.web.v2").(*events.TagMoved); got.Old != commitOf("v2") || got.New != moved {
				t.Errorf("moved as %+v", got)
			}
			if got := s.last(t, "tag.moved.web.v0").(*events.TagMoved); got.Old != commitOf("v0") {
				t.Errorf("moved as %+v", got)
			}
			r.drop("v0.2")
			mustLook(t, w)
			mustLook(t, w)
			if got := s.last(t, "tag.deleted.web.v0=2E2").(*events.TagDeleted); got.Commit != commitOf("v0.2") {
				t.Errorf("deleted as %+v", got)
			}
		})
	}
}

// TestAListingOlderThanTheRecord settles a listing that was asked for before a
// hook was followed, as a slow one is.
func TestAListingOlderThanTheRecord(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository()
	w := newWatcher(t, s, r)
	mustLook(t, w)
	r.push("v1", "v2")
	r.files[commitOf("v1")] = map[string]string{"main.go": "x"}
	mustLook(t, w)
	a := w.app("web")
	old, began := r.mustList(t), time.Now()
	r.move("v1", "mended")
	r.push("v3")
	mustHear(t, w, hookOf(r, "v1"))
	mustHear(t, w, hookOf(r, "v3"))
	for range 2 { // the same one twice proves nothing either
		if _, err := w.receive(t.Context(), a, ask{}, reading{old, nil, began}); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"tag.refused.web.v1", "tag.seen.web.v2", "tag.seen.web.v1", "tag.seen.web.v3"}
	if diff := cmp.Diff(want, s.said(events.KindTagSeen, events.KindTagRefused, events.KindTagMoved, events.KindTagDeleted)); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
}

func TestDeletedTags(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v0", "nightly")
	w := newWatcher(t, s, r, func(a *App, _ *Options) { a.Host.(*forge).marks = true })
	mustLook(t, w)
	r.push("v1", "v2", "v3")
	r.files[commitOf("v3")] = map[string]string{"main.go": "x"}
	mustLook(t, w)
	deleted := func(want ...string) {
		t.Helper()
		got := s.said(events.KindTagDeleted)
		if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
			t.Errorf("deleted (-want +got):\n%s", diff)
		}
	}
	r.drop("v0", "v1", "v3", "nightly")
	mustLook(t, w)
	deleted() // one listing proves nothing
	r.down = errors.New("bad gateway")
	for range 3 {
		if _, err := w.Look(t.Context(), "web"); err == nil {
			t.Error("looked at a repository that is down")
		}
	}
	r.down = nil
	deleted() // nor do errors
	mustLook(t, w)
	if got := s.said(events.KindTagDeleted); len(got) != 2 {
		t.Fatalf("deleted %v, expected v0 and v1", got)
	}
	for range 3 {
		mustLook(t, w)
		mustLook(t, newWatcher(t, s, r))
	}
	if got := s.said(events.KindTagDeleted); len(got) != 2 {
		t.Errorf("deleted %v, expected each once", got)
	}
	// It comes back, and is deleted again.
	r.push("v1")
	mustLook(t, w)
	r.drop("v1")
	mustLook(t, w)
	mustLook(t, w)
	if got := s.said(events.KindTagDeleted); len(got) != 3 || got[2] != "tag.deleted.web.v1" {
		t.Errorf("deleted %v, expected v1 for the second time", got)
	}
	if fact := s.last(t, "tag.deleted.web.v1"); fact.Head().ID != "tag.deleted.web.v1@"+commitOf("v1")+"@2" {
		t.Errorf("its id is %s", fact.Head().ID)
	}
	if got := s.said(events.KindTagSeen, events.KindTagMoved); len(got) != 2 {
		t.Errorf("said %v, but coming back is no news", got)
	}
	// Coming back elsewhere is a move.
	r.move("v1", "evil")
	mustLook(t, w)
	s.last(t, "tag.moved.web.v1")
}

func TestTagThatIsAbsentForOneListing(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v0")
	w := newWatcher(t, s, r, func(a *App, _ *Options) { a.Host.(*forge).marks = true })
	mustLook(t, w)
	for range 3 {
		r.drop("v0")
		mustLook(t, w)
		r.push("v0")
		mustLook(t, w)
	}
	if got := s.said(events.KindTagDeleted, events.KindTagSeen); len(got) != 0 {
		t.Errorf("said %v", got)
	}
}

func TestBackfillLatest(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1.9.0", "v1.10.0", "v1.2.0")
	latest := func(a *App, _ *Options) { a.Backfill = BackfillLatest }
	w := newWatcher(t, s, r, latest)
	if diff := cmp.Diff([]string{"v1.10.0"}, mustLook(t, w)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	r.push("v1.9.1")
	r.drop("v1.10.0")
	if diff := cmp.Diff([]string{"v1.9.1"}, mustLook(t, newWatcher(t, s, r, latest))); diff != "" {
		t.Errorf("with the newest one gone, found (-want +got):\n%s", diff)
	}
}

func TestRequireSigned(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository()
	unsigned := map[string]error{"v1": &UnfitError{Reason: "the tag is not signed"}, "v2": errors.New("the key server does not answer")}
	w := newWatcher(t, s, r, func(a *App, _ *Options) {
		a.RequireSigned = true
		a.Host.(*forge).unsigned = unsigned
	})
	mustLook(t, w)
	r.push("v1", "v2", "v3")
	found, err := w.Look(t.Context(), "web")
	if err == nil || !strings.Contains(err.Error(), "the key server does not answer") {
		t.Errorf("got %v, expected that v2 cannot be verified now", err)
	}
	if diff := cmp.Diff([]string{"v3"}, found); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if f := s.last(t, "tag.refused.web.v1").(*events.TagRefused); f.Reason != "the tag is not signed" {
		t.Errorf("refused because %s", f.Reason)
	}
	if r.archives != 1 {
		t.Errorf("%d sources were fetched, expected that of the signed tag alone", r.archives)
	}
	delete(unsigned, "v2")
	if diff := cmp.Diff([]string{"v2"}, mustLook(t, w)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

func TestRestaging(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change  func(r *repository)
		refused string // empty if the source is staged without a word
		staged  bool
	}{
		"as it was":    {func(*repository) {}, "", true},
		"tag gone":     {func(r *repository) { r.drop("v1") }, "", true},
		"tag moved":    {func(r *repository) { r.move("v1", "evil") }, "has moved", true},
		"other source": {func(r *repository) { r.files[commitOf("v1")] = map[string]string{"other": "bytes"} }, "gives an archive with the digest", false},
		"commit gone":  {func(r *repository) { r.failing["v1"] = &UnfitError{Reason: "no such commit"} }, "cannot be had again: no such commit", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := newStore(), newRepository()
			w := newWatcher(t, s, r)
			mustLook(t, w)
			r.push("v1")
			mustLook(t, w)
			digest := s.last(t, "tag.seen.web.v1").(*events.TagSeen).Source.Digest
			if archives := r.archives; len(request(t, w, 5, "web", "v1")) != 1 || r.archives != archives {
				t.Errorf("a source that is there was fetched again")
			}
			delete(s.sources, digest)
			test.change(r)
			facts := request(t, w, 6, "web", "v1")
			if test.refused != "" {
				refused(t, facts, test.refused)
			} else if len(facts) != 1 {
				t.Errorf("answered %v", facts)
			}
			if s.sources[digest] != test.staged {
				t.Errorf("the source is staged: %t", s.sources[digest])
			}
			if got := s.seen(); len(got) != 1 {
				t.Errorf("seen %v", got)
			}
		})
	}
}

func TestRequestWaitsForTheBudget(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1")
	w := newWatcher(t, s, r)
	r.down = &LimitError{Until: time.Now().Add(time.Hour), Reason: "rate limit"}
	_, err := w.Requested(t.Context(), events.Delivery[*events.Request]{Message: events.NewRequest(events.TagRequested, "", "web", "", "ann")})
	if delay, _, ok := events.IsSnooze(err); !ok || delay != longestWait {
		t.Errorf("got %v, expected it to be put back for %s", err, longestWait)
	}
	if got := s.status(t, "web"); got != (Status{}) {
		t.Errorf("status is %+v, but the budget says nothing of the repository", got)
	}
}

func TestBaselineOfObjects(t *testing.T) {
	t.Parallel()
	listing := []candidate{
		{Tag: Tag{Name: "light", Object: commitOf("a"), Commit: commitOf("a")}},
		{Tag: Tag{Name: "annotated\xff", Object: commitOf("b")}},
	}
	value, err := baseline{at: time.Unix(1, 0).UTC()}.encode(gzip.NewWriter(nil), listing)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeBaseline(value)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint(map[string]entry{"light": {commitOf("a"), false}, "annotated\xff": {commitOf("b"), true}})
	if fmt.Sprint(got.tags) != want {
		t.Errorf("decoded to %v, expected %s", got.tags, want)
	}
}
