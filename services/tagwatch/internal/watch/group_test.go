package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
)

// acme is a host whose owner acme has some repositories, and a setup that
// watches them all, beside an app called web for acme/site.
func acme(repos ...*repository) (*forge, setup) {
	f := &forge{repos: repos}
	for _, r := range repos {
		f.owned = append(f.owned, Owned{Repo: Repo{Name: r.name, ID: r.id}})
	}
	return f, func(a *App, o *Options) {
		a.Host, a.Repo = f, Repo{Name: "acme/site"}
		o.Groups = []Group{{Name: "everything", Host: f, Owner: "acme", Choice: a.Choice}}
	}
}

func discovered(t *testing.T, w *Watcher) {
	t.Helper()
	for _, g := range w.groups {
		if err := w.rediscover(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGroup(t *testing.T) {
	t.Parallel()
	s := newStore()
	site, api, big := numbered("acme/site", "1", "v1"), numbered("acme/api", "2", "v1"), numbered("acme/Big", "3")
	f, group := acme(site, api, big, numbered("acme/web", "4"), numbered("acme/BIG", "5"), numbered("acme/.github", "6"))
	w := newWatcher(t, s, site, group)
	discovered(t, w)
	if got, want := w.Known(), "api, big, web"; got != want {
		t.Errorf("watches %s, expected %s", got, want)
	}
	status := s.status(t, "everything")
	for _, want := range []string{"acme/web cannot be the app web", "acme/Big cannot be the app big", "acme/.github cannot be an app"} {
		if !strings.Contains(status.Error, want) {
			t.Errorf("%q is not in the status %+v", want, status)
		}
	}
	refused(t, request(t, w, 1, "everything", ""), "everything is no app but every repository of acme: name one of them, api, big")
	if _, err := w.Look(t.Context(), "api"); err != nil {
		t.Fatal(err)
	}
	if got := s.seen(); len(got) != 0 {
		t.Errorf("seen %v, but the repository is older than the group", got)
	}
	// One that is made later has no versions from before.
	fresh := numbered("acme/fresh", "10", "v0.1.0")
	f.repos = append(f.repos, fresh)
	f.owned = []Owned{{Repo: Repo{Name: "acme/api", ID: "2"}}, {Repo: Repo{Name: "acme/fresh", ID: "10"}, Created: time.Now().Add(time.Second)}}
	discovered(t, w)
	if got, want := w.Known(), "api, fresh, web"; got != want {
		t.Errorf("watches %s, expected %s", got, want)
	}
	for range 2 {
		if _, err := w.Look(t.Context(), "fresh"); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"tag.seen.fresh.v0=2E1=2E0"}, s.said(events.KindTagSeen)); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	if status := s.status(t, "everything"); status.Error != "" || status.Repositories != 2 || status.Repo != "https://"+forgeName+"/acme/*" {
		t.Errorf("status is %+v", status)
	}
}

func TestGroupKeepsWhatItHasWhenTheHostFails(t *testing.T) {
	t.Parallel()
	s := newStore()
	api := numbered("acme/api", "2")
	f, group := acme(api)
	w := newWatcher(t, s, api, group)
	discovered(t, w)
	f.directory = errors.New("bad gateway")
	if err := w.rediscover(t.Context(), w.groups[0]); err == nil {
		t.Error("an owner whose repositories cannot be listed was found to have none")
	}
	if !w.Watches("api") {
		t.Error("api is watched no more")
	}
	if status := s.status(t, "everything"); !strings.Contains(status.Error, "bad gateway") {
		t.Errorf("status is %+v", status)
	}
}

func TestHookAdoptsANewRepository(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		site := numbered("acme/site", "1")
		f, group := acme(site)
		w := newWatcher(t, s, site, group)
		discovered(t, w)
		pass(time.Second)
		fresh, plain := numbered("acme/fresh", "10", "v0.1.0"), numbered("acme/plain", "11", "v1")
		f.repos = append(f.repos, fresh, plain)
		f.owned = append(f.owned, Owned{Repo: Repo{Name: "acme/fresh", ID: "10"}, Created: time.Now()})
		mustHear(t, w, hookOf(fresh, "v0.1.0"))
		if diff := cmp.Diff([]string{"tag.seen.fresh.v0=2E1=2E0"}, s.said(events.KindTagSeen)); diff != "" {
			t.Errorf("said (-want +got):\n%s", diff)
		}
		// One without a recipe is looked for once in a while.
		asked, lookups := f.directories, f.lookups
		for range 20 {
			skipped(t, w, hookOf(plain, "v1"), "no app watches")
		}
		if f.lookups != lookups+1 {
			t.Errorf("a repository without a recipe was looked for %d times", f.lookups-lookups)
		}
		f.owned = append(f.owned, Owned{Repo: Repo{Name: "acme/plain", ID: "11"}, Created: time.Now()})
		pass(discoverPause)
		mustHear(t, w, hookOf(plain, "v1"))
		if f.directories != asked {
			t.Error("the owner's repositories were listed because of a hook")
		}
		if diff := cmp.Diff([]string{"v0.1.0", "v1"}, s.seen()); diff != "" {
			t.Errorf("seen (-want +got):\n%s", diff)
		}
		// Who is transferred, or whose name clashes, is not the group's.
		f.owned = []Owned{{Repo: Repo{Name: "umbrella/gone", ID: "12"}}, {Repo: Repo{Name: "acme/Web", ID: "13"}}}
		skipped(t, w, hookOf(numbered("acme/gone", "12"), "v1"), "no app watches")
		skipped(t, w, hookOf(numbered("acme/Web", "13"), "v1"), "no app watches")
		f.directory = errors.New("bad gateway")
		if err := hear(t.Context(), w, hookOf(numbered("acme/late", "14"), "v1"), time.Now()); err == nil || !strings.Contains(err.Error(), "bad gateway") {
			t.Errorf("got %v, expected an error to be tried again", err)
		}
		f.directory = &LimitError{Until: time.Now().Add(time.Minute), Reason: "rate limit"}
		if _, _, snoozed := events.IsSnooze(hear(t.Context(), w, hookOf(numbered("acme/late", "14"), "v1"), time.Now())); !snoozed {
			t.Error("a hook about an unknown repository does not wait for the budget")
		}
	})
}

// TestGroupKeepsRenamedRepositories has one renamed, and another take its name.
func TestGroupKeepsRenamedRepositories(t *testing.T) {
	t.Parallel()
	s := newStore()
	api := numbered("acme/api", "2", "v1")
	f, group := acme(api)
	w := newWatcher(t, s, api, group)
	discovered(t, w)
	if _, err := w.Look(t.Context(), "api"); err != nil {
		t.Fatal(err)
	}
	api.name = "acme/backend"
	thief := numbered("acme/api", "20", "v1", "v2")
	f.repos = append(f.repos, thief)
	f.owned = []Owned{{Repo: Repo{Name: "acme/api", ID: "20"}, Created: time.Now()}, {Repo: Repo{Name: "acme/backend", ID: "2"}}}
	api.push("v1.1")
	for name, w := range map[string]*Watcher{"the same process": w, "another": newWatcher(t, s, api, group)} {
		discovered(t, w)
		if got, want := w.Known(), "api, web"; got != want {
			t.Errorf("%s watches %s, expected %s", name, got, want)
		}
		if _, err := w.Look(t.Context(), "api"); err != nil {
			t.Error(err)
		}
		skipped(t, w, hookOf(thief, "v2"), "no app watches")
	}
	if diff := cmp.Diff([]string{"tag.seen.api.v1=2E1"}, s.said(events.KindTagSeen, events.KindTagMoved, events.KindTagDeleted)); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	if status := s.status(t, "everything"); !status.Group || !strings.Contains(status.Error, "acme/api is another repository than the app api is of: its ID is 20, and was 2") {
		t.Errorf("the group's status is %+v", status)
	}
	if status := s.status(t, "api"); status.Repo != api.where() || status.RepoID != "2" || status.Group {
		t.Errorf("the app's status is %+v", status)
	}
}

// TestGroupsThatClash has two owners with a repository of the same name: the app
// is that of the same one, whichever was looked at first.
func TestGroupsThatClash(t *testing.T) {
	t.Parallel()
	for _, order := range [][]int{{0, 1, 0}, {1, 0, 1}} {
		s := newStore()
		first, second := numbered("acme/api", "2"), numbered("umbrella/api", "3")
		f, group := acme(first)
		other := &forge{repos: []*repository{second}, owned: []Owned{{Repo: Repo{Name: second.name, ID: second.id}}}}
		w := newWatcher(t, s, first, group, func(_ *App, o *Options) {
			o.Groups = append(o.Groups, Group{Name: "more", Host: other, Owner: "umbrella", Choice: o.Groups[0].Choice})
		})
		for _, i := range order {
			if err := w.rediscover(t.Context(), w.groups[i]); err != nil {
				t.Fatal(err)
			}
		}
		if a := w.app("api"); a == nil || a.Repo.ID != "2" || a.Host != Host(f) || len(w.Sweeps()) != 1 {
			t.Errorf("looked at in the order %v, api is %v", order, a)
		}
	}
}

// TestOwnersAreListedByWhoLeads counts how often each of two replicas lists what
// an owner has.
func TestOwnersAreListedByWhoLeads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		api := numbered("acme/api", "2")
		leads, group := acme(api)
		stands, standbys := acme(api)
		first := newWatcher(t, s, api, group)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- first.Run(ctx) }()
		pass(time.Second)
		run(t, newWatcher(t, s, api, standbys))
		pass(time.Hour - time.Minute)
		if leads.listed() != 6 || stands.listed() != 1 {
			t.Errorf("in an hour the leader listed %d times, expected 6, and the other %d times, expected once", leads.listed(), stands.listed())
		}
		// Where sweeps are rare, so is this.
		leads.set(func() { leads.pace = 5 * time.Minute })
		pass(20 * time.Minute)
		before := leads.listed()
		pass(time.Hour)
		if more := leads.listed() - before; more != 2 {
			t.Errorf("with a sweep every 5 minutes, the leader listed %d times in an hour, expected 2", more)
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		before = stands.listed()
		pass(11 * time.Minute)
		if stands.listed() == before {
			t.Error("who comes to lead does not list what there is")
		}
		// Neither a limit nor a failure is answered by asking again and again.
		stands.set(func() { stands.directory = &LimitError{Until: time.Now().Add(40 * time.Minute), Reason: "rate limit"} })
		pass(11 * time.Minute)
		before = stands.listed()
		pass(28 * time.Minute)
		if stands.listed() != before {
			t.Errorf("listed %d times although the host wants no requests", stands.listed()-before)
		}
		stands.set(func() { stands.directory = errors.New("bad gateway") })
		before = stands.listed()
		pass(time.Hour)
		if more := stands.listed() - before; more < 5 || more > 14 {
			t.Errorf("listed %d times in an hour in which it failed, expected about ten", more)
		}
	})
}

func TestRequestBeforeTheGroupIsKnown(t *testing.T) {
	t.Parallel()
	s := newStore()
	api := numbered("acme/api", "2", "v1")
	_, group := acme(api)
	w := newWatcher(t, s, api, group)
	d := events.Delivery[*events.Request]{Message: events.NewRequest(events.TagRequested, "", "api", "", "ann"), Origin: events.Cause{Stream: "TAGS", Seq: 1}, Time: time.Now()}
	_, err := w.Requested(t.Context(), d)
	if _, _, ok := events.IsSnooze(err); !ok {
		t.Errorf("got %v, expected it to be put back", err)
	}
	discovered(t, w)
	if facts, err := w.Requested(t.Context(), d); err != nil || fmt.Sprint(looked(t, facts)) != "[]" {
		t.Errorf("answered %v, %v", facts, err)
	}
}
