package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
)

func TestFirstLookIsABaseline(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1.0.0", "v1.1.0", "other")
	w := newWatcher(t, s, r)
	if found := mustLook(t, w); len(found) != 0 {
		t.Errorf("the first look found %v", found)
	}
	r.push("v1.2.0", "nightly")
	if diff := cmp.Diff([]string{"v1.2.0"}, mustLook(t, w)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	// Another process knows what this one did.
	restarted := newWatcher(t, s, r)
	if found := mustLook(t, restarted); len(found) != 0 {
		t.Errorf("after a restart, found %v", found)
	}
	if diff := cmp.Diff([]string{"v1.2.0"}, s.seen()); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
	fact, err := s.Last(t.Context(), events.KindTagSeen.Subject("web", "v1.2.0"))
	if err != nil {
		t.Fatal(err)
	}
	seen := fact.Fact.(*events.TagSeen)
	if seen.Tag != "v1.2.0" || seen.Commit != commitOf("v1.2.0") || seen.Repo != r.where() || !s.sources[seen.Source.Digest] || seen.Recipe.Build.Run[0] != "make" {
		t.Errorf("seen as %+v", seen)
	}
	if got := s.status(t, "web"); got.Error != "" || got.BaselineAt.IsZero() || got.Repo != r.where() {
		t.Errorf("status is %+v", got)
	}
}

func TestEmptyRepositoryHasABaseline(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository()
	w := newWatcher(t, s, r)
	mustLook(t, w)
	r.push("v0.1.0")
	if diff := cmp.Diff([]string{"v0.1.0"}, mustLook(t, w)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

func TestBackfill(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1.10.0", "v1.9.0", "v1.9.0-rc.1", "vintage", "very-old")
	want := []string{"very-old", "vintage", "v1.9.0-rc.1", "v1.9.0", "v1.10.0"}
	if diff := cmp.Diff(want, mustLook(t, newWatcher(t, s, r, backfill))); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	mustLook(t, newWatcher(t, s, r, backfill))
	if diff := cmp.Diff(want, s.seen()); diff != "" {
		t.Errorf("seen, in order (-want +got):\n%s", diff)
	}
}

func TestBackfillCanBeTurnedOnAndOff(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1", "v2")
	mustLook(t, newWatcher(t, s, r))
	if diff := cmp.Diff([]string{"v1", "v2"}, mustLook(t, newWatcher(t, s, r, backfill))); diff != "" {
		t.Errorf("turned on, found (-want +got):\n%s", diff)
	}
	mustLook(t, newWatcher(t, s, r))
	if got := s.seen(); len(got) != 2 {
		t.Errorf("seen %v", got)
	}
}

func TestAnotherRepositoryOrChoiceIsANewBaseline(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1", "web/v1", "web/v2")
	mustLook(t, newWatcher(t, s, r))
	if found := mustLook(t, newWatcher(t, s, r, choose(t, "web/v*", ""))); len(found) != 0 {
		t.Errorf("with another pattern, found %v", found)
	}
	moved := newRepository("v1", "v5")
	moved.name = "moved"
	moved.move("v1", "rewritten")
	w := newWatcher(t, s, moved)
	if found := mustLook(t, w); len(found) != 0 {
		t.Errorf("in another repository, found %v", found)
	}
	moved.push("v6")
	if diff := cmp.Diff([]string{"v6"}, mustLook(t, w)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if got := s.said(events.KindTagMoved); len(got) != 0 {
		t.Errorf("said %v, but nothing moved", got)
	}
}

func TestMonorepo(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository()
	w := newWatcher(t, s, r, choose(t, "web/v*", ">=1.0"))
	mustLook(t, w)
	r.push("web/v1.2.3", "api/v9.9.9", "web/v0.9.0", "web/vintage", "web/v2/v3", "v7.0.0")
	if diff := cmp.Diff([]string{"v1.2.3"}, mustLook(t, w)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	fact, err := s.Last(t.Context(), events.KindTagSeen.Subject("web", "v1.2.3"))
	if err != nil || fact.Fact.(*events.TagSeen).Tag != "web/v1.2.3" {
		t.Errorf("recorded %+v, %v", fact.Fact, err)
	}
}

func TestMovedTag(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v0")
	w := newWatcher(t, s, r)
	mustLook(t, w)
	r.push("v1")
	mustLook(t, w)
	first := r.move("v1", "evil")
	mustLook(t, w)
	second := r.move("v1", "worse")
	mustLook(t, w)
	r.move("v1", "v1") // back where it belongs
	mustLook(t, w)
	r.move("v1", "evil") // known already
	mustLook(t, w)
	old := r.move("v0", "rewritten")
	for range 2 {
		mustLook(t, newWatcher(t, s, r))
	}
	type move struct{ version, old, new string }
	var got []move
	for _, f := range s.facts {
		if f, ok := f.(*events.TagMoved); ok {
			got = append(got, move{f.Version, f.Old, f.New})
		}
	}
	want := []move{{"v1", commitOf("v1"), first}, {"v1", commitOf("v1"), second}, {"v0", commitOf("v0"), old}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(move{})); diff != "" {
		t.Errorf("moves (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"v1"}, s.seen()); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
	if len(s.sources) != 1 {
		t.Errorf("%d sources are staged, but only one commit is a version", len(s.sources))
	}
}

func TestDeletedTagComesBack(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository()
	w := newWatcher(t, s, r)
	mustLook(t, w)
	r.push("v1")
	mustLook(t, w)
	delete(r.commits, "v1")
	mustLook(t, w)
	r.push("v1")
	mustLook(t, w)
	if diff := cmp.Diff([]string{"tag.seen.web.v1"}, s.said(events.KindTagSeen, events.KindTagMoved)); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
}

func TestUnfitCommitIsRefusedOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files   map[string]string
		failure error
		reason  string
	}{
		"no recipe":                        {map[string]string{"main.go": "x"}, nil, "there is no .tagship.yaml"},
		"recipe in a folder":               {map[string]string{"a/.tagship.yaml": goodRecipe}, nil, "there is no .tagship.yaml"},
		"wrong recipe":                     {map[string]string{".tagship.yaml": "oops"}, nil, "web@v1:.tagship.yaml:1:1: oops"},
		"link for a recipe":                {map[string]string{".tagship.yaml": "-> /etc/passwd"}, nil, "no regular file"},
		"recipe too long":                  {map[string]string{".tagship.yaml": strings.Repeat("#", maxRecipe+1)}, nil, "expected at most"},
		"recipe too long with its aliases": {map[string]string{".tagship.yaml": longRecipe}, nil, "with its aliases written out"},
		"more mistakes than room":          {map[string]string{".tagship.yaml": strings.Repeat("oops ", 20<<10)}, nil, "and more"},
		"unfit by repository":              {nil, fmt.Errorf("archive: %w", &UnfitError{Reason: "lib is a submodule"}), "lib is a submodule"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := newStore(), newRepository()
			r.id = "7"
			w := newWatcher(t, s, r)
			mustLook(t, w)
			r.push("v1", "v2")
			r.files[commitOf("v1")] = test.files
			r.failing["v1"] = test.failure
			if diff := cmp.Diff([]string{"v2"}, mustLook(t, w)); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			mustLook(t, newWatcher(t, s, r))
			if diff := cmp.Diff([]string{"tag.refused.web.v1"}, s.said(events.KindTagRefused)); diff != "" {
				t.Fatalf("refused (-want +got):\n%s", diff)
			}
			fact, err := s.Last(t.Context(), "tag.refused.web.v1")
			if err != nil {
				t.Fatal(err)
			}
			refused := fact.Fact.(*events.TagRefused)
			if !strings.Contains(refused.Reason, test.reason) || refused.ID != "tag.refused.web.v1@"+commitOf("v1") {
				t.Errorf("refused as %s: %s, expected %s", refused.ID, refused.Reason, test.reason)
			}
			if refused.Tag != "v1" || refused.Commit != commitOf("v1") || refused.Repo != "https://git.example.org/web" || refused.RepoID != "7" {
				t.Errorf("refused %s at %s of %s, which is %q", refused.Tag, refused.Commit, refused.Repo, refused.RepoID)
			}
			if r.archives != 2 {
				t.Errorf("%d archives were made, expected one for each tag", r.archives)
			}
			// It never became a version, so putting the tag right is no move.
			delete(r.failing, "v1")
			r.move("v1", "mended")
			if diff := cmp.Diff([]string{"v1"}, mustLook(t, newWatcher(t, s, r))); diff != "" {
				t.Errorf("mended, found (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNamesThatAreNoVersion(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository()
	w := newWatcher(t, s, r)
	mustLook(t, w)
	r.push("v"+strings.Repeat("x", 300), "v"+strings.Repeat("y", 300), "v\xff", "v1\u00a0", "v1#2")
	if diff := cmp.Diff([]string{"v1#2"}, mustLook(t, w)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	want := strings.Fields(strings.Repeat("tag.refused.web._ ", 4))
	mustLook(t, newWatcher(t, s, r))
	if diff := cmp.Diff(want, s.said(events.KindTagRefused)); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

// TestMovesOfNamesThatAreNoVersion moves tags of the baseline that no fact can be about.
func TestMovesOfNamesThatAreNoVersion(t *testing.T) {
	t.Parallel()
	tags := []string{"v" + strings.Repeat("x", 300), "v\xff", "v1\u00a0"}
	s, r := newStore(), newRepository(tags...)
	w := newWatcher(t, s, r)
	mustLook(t, w)
	for _, tag := range tags {
		r.move(tag, "elsewhere")
	}
	for range 2 {
		mustLook(t, newWatcher(t, s, r))
	}
	r.drop(tags...)
	for range 3 {
		mustLook(t, w)
	}
	want := strings.Fields(strings.Repeat("tag.refused.web._ ", 3))
	if diff := cmp.Diff(want, s.said(events.KindTagRefused, events.KindTagMoved, events.KindTagDeleted)); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
}

// TestTagsThatAreNotUTF8 has names in which the version is the readable part.
func TestTagsThatAreNotUTF8(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("\xff-v1", "\xff-v2")
	w := newWatcher(t, s, r, choose(t, "/.*-(?P<version>v.*)/", ""))
	mustLook(t, w)
	r.push("\xff-v3", "web-v4")
	r.move("\xff-v1", "elsewhere")
	r.drop("\xff-v2")
	for range 3 {
		mustLook(t, w)
	}
	want := []string{"tag.refused.web._", "tag.refused.web._", "tag.seen.web.v4"}
	if diff := cmp.Diff(want, s.said(events.KindTagRefused, events.KindTagMoved, events.KindTagDeleted, events.KindTagSeen)); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
}

// TestTagThatLeadsToNoCommit has tags on endless chains of tag objects: a new
// one, which a hook tells of, and another, which only a listing does.
func TestTagThatLeadsToNoCommit(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v0")
	w := newWatcher(t, s, r, func(a *App, _ *Options) { a.Host.(*forge).unpeeled, a.RequireSigned = true, true })
	mustLook(t, w)
	for _, tag := range []string{"v1", "v2"} {
		r.push(tag)
		r.annotate(tag, "chain of "+tag)
		r.endless[tag] = true
		if tag == "v1" {
			mustHear(t, w, hookOf(r, tag))
		}
	}
	for range 2 {
		mustLook(t, w)
	}
	if diff := cmp.Diff([]string{"tag.refused.web.v1", "tag.refused.web.v2"}, s.said(events.KindTagRefused, events.KindTagSeen)); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	if f := s.last(t, "tag.refused.web.v1").(*events.TagRefused); f.Reason != "leads through too many tags" || f.Commit != commitOf("chain of v1") {
		t.Errorf("refused as %+v", f)
	}
	if r.archives != 0 {
		t.Errorf("%d archives were asked for", r.archives)
	}
}

func TestOneVersionForTwoTags(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository()
	mustLook(t, newWatcher(t, s, r))
	r.push("v1")
	mustLook(t, newWatcher(t, s, r))
	monorepo := newWatcher(t, s, r, choose(t, "web/v*", ""))
	mustLook(t, monorepo)
	r.push("web/v1")
	if found := mustLook(t, monorepo); len(found) != 0 {
		t.Errorf("found %v", found)
	}
	fact, err := s.Last(t.Context(), "tag.refused.web.v1")
	if err != nil || !strings.Contains(fact.Fact.(*events.TagRefused).Reason, "is the tag v1 already") {
		t.Errorf("refused as %+v, %v", fact.Fact, err)
	}
}

// TestMomentsTroubleKeepsTheOrder has an older new tag fail for some seconds.
func TestMomentsTroubleKeepsTheOrder(t *testing.T) {
	t.Parallel()
	for fails, want := range map[int][]string{
		2: {"v1", "v2", "v3"},
		3: {"v1", "v3"}, // longer than a moment
	} {
		synctest.Test(t, func(t *testing.T) {
			s, r := newStore(), newRepository()
			w := newWatcher(t, s, r)
			mustLook(t, w)
			r.push("v1", "v2", "v3")
			r.onFetch = func(_ context.Context, tag string) {
				delete(r.failing, tag)
				if tag == "v2" && fails > 0 {
					fails--
					r.failing[tag] = errors.New("connection reset")
				}
			}
			began := time.Now()
			if _, err := w.Look(t.Context(), "web"); (err == nil) != (len(want) == 3) {
				t.Errorf("got error %v", err)
			}
			if diff := cmp.Diff(want, s.seen()); diff != "" {
				t.Errorf("seen (-want +got):\n%s", diff)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestOneTagsTroubleKeepsNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, oneTagsTroubleKeepsNoOther)
}

func oneTagsTroubleKeepsNoOther(t *testing.T) {
	s, r := newStore(), newRepository()
	w := newWatcher(t, s, r)
	mustLook(t, w)
	r.push("v1", "v2", "v3")
	r.failing["v2"] = errors.New("connection reset")
	found, err := w.Look(t.Context(), "web")
	if err == nil || !strings.Contains(err.Error(), "tag v2") || !strings.Contains(err.Error(), "connection reset") {
		t.Errorf("got error %v, expected one about v2", err)
	}
	if diff := cmp.Diff([]string{"v1", "v3"}, found); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	first := s.status(t, "web")
	if !strings.Contains(first.Error, "connection reset") || first.ErrorSince.IsZero() {
		t.Errorf("status is %+v", first)
	}
	writes := s.writes
	if _, err := w.Look(t.Context(), "web"); err == nil {
		t.Error("the second look succeeded")
	}
	if s.writes != writes {
		t.Errorf("a look at which nothing changed made %d writes", s.writes-writes)
	}
	delete(r.failing, "v2")
	if diff := cmp.Diff([]string{"v2"}, mustLook(t, w)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if got := s.status(t, "web"); got.Error != "" || !got.ErrorSince.IsZero() {
		t.Errorf("status is %+v", got)
	}
}

func TestUnchangedListingCostsNothing(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1")
	w := newWatcher(t, s, r)
	mustLook(t, w)
	writes := s.writes
	for range 10 {
		mustLook(t, w)
	}
	if s.writes != writes {
		t.Errorf("%d writes for nothing", s.writes-writes)
	}
}

func TestManyTags(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository()
	w := newWatcher(t, s, r)
	mustLook(t, w)
	var want []string
	for i := range 300 {
		want = append(want, fmt.Sprintf("v1.%d.0", i))
	}
	r.push(want...)
	if diff := cmp.Diff(want, mustLook(t, w)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

// TestRace has several watchers look at once, as replicas do.
func TestRace(t *testing.T) {
	t.Parallel()
	for range 20 {
		s, r := newStore(), newRepository("v1")
		mustLook(t, newWatcher(t, s, r))
		r.push("v2", "v3")
		r.move("v1", "evil")
		var replicas sync.WaitGroup
		for range 4 {
			w := newWatcher(t, s, r)
			replicas.Go(func() {
				for range 3 {
					if _, err := w.Look(t.Context(), "web"); err != nil {
						t.Error(err)
					}
				}
			})
		}
		replicas.Wait()
		if diff := cmp.Diff([]string{"v2", "v3"}, s.seen()); diff != "" {
			t.Errorf("seen (-want +got):\n%s", diff)
		}
		if got := s.said(events.KindTagMoved); len(got) != 1 {
			t.Errorf("said %v, expected one move", got)
		}
	}
}

func TestUnknownApp(t *testing.T) {
	t.Parallel()
	if _, err := newWatcher(t, newStore(), newRepository()).Look(t.Context(), "wbe"); err == nil || !strings.Contains(err.Error(), "expected one of web") {
		t.Errorf("got %v, expected an error that lists the apps", err)
	}
}

func TestTagsThatAreAllNoVersion(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("release-1", "release-2")
	w := newWatcher(t, s, r)
	for _, test := range []struct {
		change func()
		want   string
	}{
		{func() {}, "none of its 2 tags is a version"},
		{func() { r.drop("release-1") }, "its only tag, release-2, is no version"},
		{func() { r.down = errors.New("no route to host") }, "its only tag, release-2, is no version"},
		{func() { r.down = nil; r.push("v1") }, ""},
		{func() { r.drop("v1", "release-2") }, ""},
	} {
		test.change()
		_, err := w.Look(t.Context(), "web")
		if got := s.status(t, "web"); got.Note != test.want || (err != nil) != (got.Error != "") {
			t.Errorf("the status is %+v after %v, expected the note %q", got, err, test.want)
		}
	}
}
