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

// hookOf is a hook about a tag of a repository.
func hookOf(r *repository, tag string) *events.Hook {
	return &events.Hook{Host: forgeName, RepoID: r.id, Repo: r.name, Tag: tag, By: "mallory"}
}

func deletedHook(r *repository, tag string) *events.Hook {
	h := hookOf(r, tag)
	h.Deleted = true
	return h
}

// hear hands a hook to a watcher as the runtime does.
func hear(ctx context.Context, w *Watcher, h *events.Hook, stored time.Time) error {
	origin := events.Cause{Stream: events.StreamHooks, Seq: 5}
	facts, err := w.Heard(context.WithValue(ctx, causeKey{}, &origin), events.Delivery[*events.Hook]{Message: h, Origin: origin, Time: stored})
	if len(facts) > 0 {
		return fmt.Errorf("returned %v, which nobody asked for", facts)
	}
	return err
}

func mustHear(t *testing.T, w *Watcher, h *events.Hook) {
	t.Helper()
	if err := hear(t.Context(), w, h, time.Now()); err != nil {
		t.Fatalf("hook about %s: %v", h.Tag, err)
	}
}

func skipped(t *testing.T, w *Watcher, h *events.Hook, reason string) {
	t.Helper()
	err := hear(t.Context(), w, h, time.Now().Add(-2*hookAge))
	if got, ok := events.IsSkip(err); !ok || !strings.Contains(got, reason) {
		t.Errorf("hook about %s %s: %v, expected it to be skipped because %s", h.Repo, h.Tag, err, reason)
	}
}

func TestHookSettlesOneTag(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1")
	w := newWatcher(t, s, r)
	mustLook(t, w)
	r.push("v2", "v3", "nightly")
	mustHear(t, w, hookOf(r, "v2"))
	if r.looks() != 1 || r.finds != 1 {
		t.Errorf("%d listings and %d single tags were asked for, expected 1 and 1", r.looks(), r.finds)
	}
	if diff := cmp.Diff([]string{"v2"}, s.seen()); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
	evil := r.move("v1", "evil")
	mustHear(t, w, hookOf(r, "v1"))
	r.drop("v2")
	mustHear(t, w, deletedHook(r, "v2"))
	want := []string{"tag.seen.web.v2", "tag.moved.web.v1", "tag.deleted.web.v2"}
	if diff := cmp.Diff(want, s.said(events.KindTagSeen, events.KindTagMoved, events.KindTagDeleted)); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	moved := s.last(t, "tag.moved.web.v1").(*events.TagMoved)
	if moved.Pusher != "mallory" || moved.New != evil || moved.Cause == nil || moved.Cause.Stream != events.StreamHooks {
		t.Errorf("moved as %+v", moved)
	}
	if deleted := s.last(t, "tag.deleted.web.v2").(*events.TagDeleted); deleted.Pusher != "mallory" || deleted.Commit != commitOf("v2") {
		t.Errorf("deleted as %+v", deleted)
	}
	// The next look finds what no hook was about, and nothing again.
	if diff := cmp.Diff([]string{"v3"}, mustLook(t, w)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if got := s.said(events.KindTagDeleted, events.KindTagMoved); len(got) != 2 {
		t.Errorf("said %v", got)
	}
}

func TestHookBeforeTheFirstLook(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1", "v2")
	w := newWatcher(t, s, r)
	mustHear(t, w, hookOf(r, "v2"))
	if got := s.seen(); len(got) != 0 {
		t.Errorf("seen %v, but they may be old", got)
	}
	r.push("v3")
	mustHear(t, w, hookOf(r, "v3"))
	if diff := cmp.Diff([]string{"v3"}, s.seen()); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
}

func TestHookAboutTheWholeRepository(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1")
	w := newWatcher(t, s, r)
	mustLook(t, w)
	r.push("v2")
	mustHear(t, w, &events.Hook{App: "web"})
	r.push("v3")
	mustHear(t, w, hookOf(r, ""))
	if diff := cmp.Diff([]string{"v2", "v3"}, s.seen()); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
}

func TestHooksWithNothingToDo(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1")
	w := newWatcher(t, s, r)
	mustLook(t, w)
	r.push("v2", "nightly")
	other := newRepository()
	other.name = "api"
	skipped(t, w, hookOf(other, "v1"), "no app watches")
	skipped(t, w, &events.Hook{App: "api"}, "no app watches")
	skipped(t, w, hookOf(r, "nightly"), "no version of the app")
	skipped(t, w, hookOf(r, "v9"), "no such tag")
	if r.finds != 1 {
		t.Errorf("%d tags were asked for, expected 1", r.finds)
	}
}

// TestHookOvertakesItsTag has a hook come before the host shows what it tells of.
func TestHookOvertakesItsTag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r := newStore(), newRepository("v1")
		w := newWatcher(t, s, r)
		mustLook(t, w)
		r.push("v2")
		r.hidden["v2"] = true
		stored, waits := time.Now(), 0
		for ; waits < 100; waits++ {
			if time.Since(stored) > 20*time.Second {
				r.hidden["v2"] = false
			}
			err := hear(t.Context(), w, hookOf(r, "v2"), stored)
			delay, _, snoozed := events.IsSnooze(err)
			if !snoozed {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			time.Sleep(delay) // in the bubble
		}
		if got := s.seen(); len(got) != 1 || waits < 5 || waits > 15 {
			t.Errorf("after %d waits seen %v", waits, got)
		}
		r.hidden["v1"] = true
		skipped(t, newWatcher(t, s, r), hookOf(r, "v1"), "no such tag")
	})
}

func TestHookIsCoveredByALaterLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRepository("v1")
		w := newWatcher(t, newStore(), r)
		mustLook(t, w)
		stored := time.Now()
		pass(10 * time.Second)
		mustLook(t, w)
		mustHear(t, w, hookOf(r, "v1")) // shows that the clocks agree
		finds := r.finds
		err := hear(t.Context(), w, hookOf(r, "v1"), stored)
		if reason, ok := events.IsSkip(err); !ok || !strings.Contains(reason, "began later") || r.finds != finds {
			t.Errorf("got %v and %d more questions, expected it to be skipped without any", err, r.finds-finds)
		}
	})
}

// unseeing is a host that says of what it has a mark of that nothing changed.
type unseeing struct{ *forge }

func (f unseeing) List(ctx context.Context, asks []Ask, found func(i int, listing Listing, err error)) {
	f.forge.List(ctx, asks, func(i int, listing Listing, err error) {
		if err == nil && asks[i].Mark != "" {
			listing.Unchanged, listing.Mark, listing.Tags = true, asks[i].Mark, nil
		}
		found(i, listing, err)
	})
}

// TestHookIsNotCoveredByAPartialLook has an old tag move, which a sweep does not
// notice, and the hook that tells of it handled after that sweep.
func TestHookIsNotCoveredByAPartialLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r := newStore(), newRepository("v1")
		w := newWatcher(t, s, r, func(a *App, _ *Options) {
			a.Host.(*forge).marks = true
			a.Host = unseeing{a.Host.(*forge)}
		})
		run(t, w)
		pass(time.Minute)
		mustHear(t, w, hookOf(r, "v1")) // shows that the clocks agree
		r.move("v1", "evil")
		stored := time.Now()
		pass(2 * time.Minute)
		if err := hear(t.Context(), w, hookOf(r, "v1"), stored); err != nil {
			t.Error(err)
		}
		if got := s.said(events.KindTagMoved); len(got) != 1 {
			t.Errorf("said %v, expected a move", got)
		}
	})
}

func TestClock(t *testing.T) {
	t.Parallel()
	var c clock
	now := time.Now()
	if c.surelyAfter(now, now.Add(-time.Hour)) {
		t.Error("it is sure although it knows nothing")
	}
	c.note(time.Now().Add(-time.Minute)) // an old message, or a clock that is ahead
	if c.surelyAfter(now, now.Add(-30*time.Second)) {
		t.Error("it is sure of 30 s with a clock that may be a minute ahead")
	}
	if !c.surelyAfter(now, now.Add(-2*time.Minute)) {
		t.Error("it is not sure of two minutes with a clock that is ahead by one at most")
	}
	c.note(time.Now())
	c.note(time.Now().Add(-time.Hour))
	if !c.surelyAfter(now, now.Add(-30*time.Second)) {
		t.Error("it is not sure of 30 s with a clock that is right")
	}
}

func TestHookWaitsForTheBudget(t *testing.T) {
	t.Parallel()
	r := newRepository("v1")
	w := newWatcher(t, newStore(), r)
	mustLook(t, w)
	r.down = &LimitError{Until: time.Now().Add(time.Minute), Reason: "rate limit"}
	delay, _, ok := events.IsSnooze(hear(t.Context(), w, hookOf(r, "v1"), time.Now()))
	if !ok || delay < 50*time.Second || delay > time.Minute {
		t.Errorf("put back for %s (%t), expected about a minute", delay, ok)
	}
	r.down = &GoneError{Reason: "not found"}
	if reason, ok := events.IsSkip(hear(t.Context(), w, hookOf(r, "v1"), time.Now())); !ok || !strings.Contains(reason, "not found") {
		t.Errorf("a hook about a repository that is gone is not left to the sweeps: %q", reason)
	}
	r.down = errors.New("connection reset")
	if err := hear(t.Context(), w, hookOf(r, "v1"), time.Now()); err == nil || !strings.Contains(err.Error(), "app web") || !strings.Contains(err.Error(), "connection reset") {
		t.Errorf("got %v, expected an error to be tried again", err)
	}
}

// TestHookOutlastsTheHost has a hook fail for long, and a tag that is found again
// after it was said to be deleted.
func TestHookOutlastsTheHost(t *testing.T) {
	t.Parallel()
	r := newRepository("v1")
	w := newWatcher(t, newStore(), r)
	mustLook(t, w)
	r.down = errors.New("connection reset")
	err := hear(t.Context(), w, hookOf(r, "v1"), time.Now().Add(time.Second-hookPatience))
	if _, skip := events.IsSkip(err); err == nil || skip {
		t.Errorf("got %v, expected an error to be tried again", err)
	}
	old := time.Now().Add(-time.Second - hookPatience)
	if reason, skip := events.IsSkip(hear(t.Context(), w, hookOf(r, "v1"), old)); !skip || !strings.Contains(reason, "left to the next sweep") || !strings.Contains(reason, "connection reset") {
		t.Errorf("skipped %t because of %q, expected it to be left to the sweeps", skip, reason)
	}
	r.down = &LimitError{Until: time.Now().Add(time.Minute), Reason: "rate limit"}
	if _, _, snoozed := events.IsSnooze(hear(t.Context(), w, hookOf(r, "v1"), old)); !snoozed {
		t.Error("an old hook does not wait for the budget")
	}
}

// TestHookOfADeletionOvertakesTheTag has a tag deleted and pushed at once, and the
// hooks in the wrong order.
func TestHookOfADeletionOvertakesTheTag(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v0")
	w := newWatcher(t, s, r)
	mustLook(t, w)
	r.push("v1")
	r.move("v0", "evil")
	for _, tag := range []string{"v1", "v0"} {
		if _, _, snoozed := events.IsSnooze(hear(t.Context(), w, deletedHook(r, tag), time.Now())); !snoozed {
			t.Errorf("%s is said to be deleted, and is not waited for", tag)
		}
	}
	if diff := cmp.Diff([]string{"v1"}, s.seen()); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
	if moved := s.last(t, "tag.moved.web.v0").(*events.TagMoved); moved.Pusher != "" {
		t.Errorf("%s, who deleted the tag, is said to have moved it", moved.Pusher)
	}
}

func TestSeveralAppsOfOneRepository(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository()
	w := newWatcher(t, s, r, choose(t, "web/v*", ""), func(a *App, o *Options) {
		all := *a
		all.Name = "all"
		choose(t, "*/v*", "")(&all, o)
		o.Apps = append(o.Apps, all)
	})
	for _, app := range []string{"web", "all"} {
		if _, err := w.Look(t.Context(), app); err != nil {
			t.Fatal(err)
		}
	}
	r.push("web/v1")
	mustHear(t, w, hookOf(r, "web/v1"))
	if got := s.said(events.KindTagSeen); len(got) != 2 || r.finds != 1 {
		t.Errorf("said %v after asking %d times for the tag, expected both apps after one", got, r.finds)
	}
}

func TestWatchesRepo(t *testing.T) {
	t.Parallel()
	r := newRepository("v1")
	r.name, r.id = "acme/web", "7"
	w := newWatcher(t, newStore(), r, func(a *App, o *Options) {
		o.Groups = []Group{{Name: "all", Host: a.Host.(*forge), Owner: "Umbrella", Choice: a.Choice}}
	})
	for _, test := range []struct {
		host string
		repo Repo
		want bool
	}{
		{forgeName, Repo{Name: "acme/web"}, true},
		{strings.ToUpper(forgeName), Repo{Name: "Acme/Web"}, true},
		{forgeName, Repo{Name: "acme/web", ID: "7"}, true},
		{forgeName, Repo{Name: "acme/api"}, false},
		{"github.com", Repo{Name: "acme/web"}, false},
		{forgeName, Repo{Name: "umbrella/any", ID: "9"}, true},
		{"github.com", Repo{Name: "umbrella/any"}, false},
	} {
		if got := w.WatchesRepo(test.host, test.repo); got != test.want {
			t.Errorf("before the first look, %s %v is watched: %t", test.host, test.repo, got)
		}
	}
	mustLook(t, w)
	for repo, want := range map[Repo]bool{
		{Name: "acme/renamed", ID: "7"}: true,
		{Name: "acme/web", ID: "7"}:     true,
		{ID: "7"}:                       true,
		{Name: "acme/web"}:              true,
		{Name: "acme/web", ID: "8"}:     false, // it took over the name
	} {
		if got := w.WatchesRepo(forgeName, repo); got != want {
			t.Errorf("%v is watched: %t", repo, got)
		}
	}
}

func TestNameKey(t *testing.T) {
	t.Parallel()
	for where, want := range map[string]string{
		"https://github.com/Acme/Web":           "github.com/acme/web",
		"https://git.example.org:8443/web.git":  "git.example.org:8443/web",
		"git@github.com:acme/web":               "github.com/acme/web",
		"ssh://git@github.com/acme/web.git":     "github.com/acme/web",
		"/srv/git/web.git":                      "/srv/git/web",
		"https://git.example.org/~ann/x@y/web/": "git.example.org/~ann/x@y/web",
	} {
		if got := nameKey(where); got != want {
			t.Errorf("%s is %s, expected %s", where, got, want)
		}
	}
}

// TestHooksAndLooksRace has two watchers follow hooks and look at the same time,
// while 200 tags are pushed.
func TestHooksAndLooksRace(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v0")
	mustLook(t, newWatcher(t, s, r))
	tags := make(chan string)
	var work sync.WaitGroup
	for range 2 {
		w := newWatcher(t, s, r)
		for range 2 {
			work.Go(func() {
				for tag := range tags {
					if err := hear(t.Context(), w, hookOf(r, tag), time.Now()); err != nil {
						if _, covered := events.IsSkip(err); !covered {
							t.Error(err)
						}
					}
				}
			})
		}
		work.Go(func() {
			for range 20 {
				if _, err := w.Look(t.Context(), "web"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	want := map[string]int{}
	for i := range 200 {
		tag := fmt.Sprintf("v1.%d.0", i)
		want[tag] = 1
		r.push(tag)
		tags <- tag
		if i%4 == 0 {
			tags <- tag // a hook may come twice
		}
	}
	close(tags)
	work.Wait()
	mustLook(t, newWatcher(t, s, r))
	got := map[string]int{}
	for _, version := range s.seen() {
		got[version]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("how often each was seen (-want +got):\n%s", diff)
	}
	if got := s.said(events.KindTagMoved, events.KindTagDeleted, events.KindTagRefused); len(got) != 0 {
		t.Errorf("said %v", got)
	}
}
