package watch

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
)

// numbered is a repository of a host that knows repositories by IDs.
func numbered(name, id string, tags ...string) *repository {
	r := newRepository(tags...)
	r.name, r.id = name, id
	return r
}

// on watches a repository under a name.
func on(f *forge, name, id string) setup {
	return func(a *App, _ *Options) { a.Host, a.Repo = f, Repo{Name: name, ID: id} }
}

func TestRenamedRepository(t *testing.T) {
	t.Parallel()
	s, r := newStore(), numbered("acme/web", "7", "v1")
	f := &forge{repos: []*repository{r}, marks: true}
	w := newWatcher(t, s, r, on(f, "acme/web", ""))
	mustLook(t, w)
	since := s.status(t, "web").BaselineAt
	r.name, r.was = "umbrella/site", "acme/web"
	for _, w := range []*Watcher{w, newWatcher(t, s, r, on(f, "acme/web", ""))} {
		if found := mustLook(t, w); len(found) != 0 {
			t.Errorf("renamed, found %v", found)
		}
	}
	r.push("v2")
	// Whoever corrects the configuration goes on as before, too.
	for i, name := range []string{"acme/web", "umbrella/site", "acme/web"} {
		w := newWatcher(t, s, r, on(f, name, ""))
		if found := mustLook(t, w); len(found) != map[bool]int{true: 1}[i == 0] {
			t.Errorf("configured as %s, found %v", name, found)
		}
		status := s.status(t, "web")
		if status.Repo != r.where() || status.RepoID != "7" || (status.Configured != "") != (name == "acme/web") || !status.BaselineAt.Equal(since) {
			t.Errorf("configured as %s, the status is %+v", name, status)
		}
	}
	if seen := s.last(t, "tag.seen.web.v2").(*events.TagSeen); seen.Repo != r.where() || seen.RepoID != "7" {
		t.Errorf("seen in %s, ID %s", seen.Repo, seen.RepoID)
	}
}

func TestReusedName(t *testing.T) {
	t.Parallel()
	s, r := newStore(), numbered("acme/web", "7", "v1")
	f := &forge{repos: []*repository{r}}
	w := newWatcher(t, s, r, on(f, "acme/web", ""))
	mustLook(t, w)
	other := numbered("acme/web", "8", "v1", "v2")
	other.move("v1", "evil")
	f.repos = []*repository{other}
	var last error
	for range 4 {
		if _, last = w.Look(t.Context(), "web"); last == nil {
			t.Fatal("looked at another repository of the same name")
		}
	}
	if status := s.status(t, "web"); !strings.Contains(status.Error, `set repo_id: "8"`) || !strings.Contains(last.Error(), "was 7") {
		t.Errorf("status is %+v after %v", status, last)
	}
	if _, err := newWatcher(t, s, r, on(f, "acme/web", "9")).Look(t.Context(), "web"); err == nil {
		t.Error("looked at a repository with another ID than configured")
	}
	if got := s.said(events.KindTagSeen, events.KindTagMoved); len(got) != 0 {
		t.Errorf("said %v of another repository", got)
	}
	// The old one is back: nothing happened.
	f.repos = []*repository{other, r}
	if _, err := w.Look(t.Context(), "web"); err != nil {
		if _, err := w.Look(t.Context(), "web"); err != nil {
			t.Error(err)
		}
	}
	if status := s.status(t, "web"); status.Error != "" {
		t.Errorf("status is %+v", status)
	}
	// Accepted by its ID, the other one begins with a baseline of its own.
	accepted := newWatcher(t, s, r, on(f, "acme/web", "8"))
	if found := mustLook(t, accepted); len(found) != 0 {
		t.Errorf("accepted, found %v", found)
	}
	other.push("v3")
	if diff := cmp.Diff([]string{"v3"}, mustLook(t, newWatcher(t, s, r, on(f, "acme/web", "8")))); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if got := s.said(events.KindTagMoved); len(got) != 0 {
		t.Errorf("said %v", got)
	}
}

func TestRecordsWithoutAnID(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1")
	mustLook(t, newWatcher(t, s, r)) // as an older release did, or plain git
	r.push("v2")
	r.id = "7"
	w := newWatcher(t, s, r)
	if diff := cmp.Diff([]string{"v2"}, mustLook(t, w)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if known := w.app("web").known.Load(); known.ID != "7" {
		t.Errorf("the ID on record is %q", known.ID)
	}
}

// TestRecordsOfAnOlderRelease has a baseline and a moved tag as the release
// before hosts wrote them, when nothing was on record of repositories.
func TestRecordsOfAnOlderRelease(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1", "v2")
	first := newWatcher(t, s, r)
	mustLook(t, first)
	r.move("v1", "evil")
	mustLook(t, first)
	delete(s.table, repoKey("web"))
	s.table[tagKey(first.app("web"), r.where(), "v1")] = []byte(`{"outcome":"old","version":"v1","commit":"` + commitOf("v1") + `","moved":["` + commitOf("evil") + `"]}`)
	r.push("v3")
	w := newWatcher(t, s, r)
	if diff := cmp.Diff([]string{"v3"}, mustLook(t, w)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if got := s.said(events.KindTagMoved); len(got) != 1 {
		t.Errorf("said %v, expected the move once", got)
	}
}

// A missing repository is asked for by its ID and by its name in turns. The
// status stays as it was first.
func TestMissingRepositoryKeepsItsStatus(t *testing.T) {
	t.Parallel()
	s, r := newStore(), numbered("acme/site", "7", "v1")
	f := &forge{repos: []*repository{r}}
	w := newWatcher(t, s, r, on(f, "acme/site", ""))
	mustLook(t, w)
	r.name, r.was = "acme/renamed", "acme/site"
	mustLook(t, w)
	f.set(func() { f.repos = nil })
	var first Status
	for i := range 4 {
		if _, err := w.Look(t.Context(), "web"); err == nil {
			t.Fatal("found a repository that is gone")
		}
		status := s.status(t, "web")
		if i == 0 {
			first = status
		}
		if status != first || status.Error == "" {
			t.Errorf("the status after %d looks is\n%+v, and was first\n%+v", i+1, status, first)
		}
	}
	// Another kind of trouble is news, and so is the first one after it.
	f.set(func() { f.repos = []*repository{r} })
	r.down = errors.New("no route to host")
	if _, err := w.Look(t.Context(), "web"); err == nil || !strings.Contains(s.status(t, "web").Error, "no route to host") {
		t.Errorf("the status is %+v", s.status(t, "web"))
	}
}
