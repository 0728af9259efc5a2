package watch

import (
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
	if status := s.status(t, "everything"); status.Error != "" || status.Repo != "https://"+forgeName+"/acme/*" {
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
		// One without a recipe is looked for once.
		asked := f.directories
		for range 20 {
			err := hear(t.Context(), w, hookOf(plain, "v1"), time.Now())
			if delay, _, snoozed := events.IsSnooze(err); snoozed {
				pass(delay)
			} else if _, skip := events.IsSkip(err); !skip {
				t.Fatal(err)
			}
		}
		if f.directories != asked+1 {
			t.Errorf("the owner's repositories were listed %d times because of hooks about one that has no recipe", f.directories-asked)
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
