package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
)

// life is what a process does until it is killed, or after it was started again.
type life func(t *testing.T, w *Watcher, r *repository)

// asking hands the same request to a process each time.
func asking(version string) life {
	return func(t *testing.T, w *Watcher, _ *repository) {
		t.Helper()
		origin := events.Cause{Stream: "TAGS", Seq: 77}
		_, err := w.Requested(context.WithValue(t.Context(), causeKey{}, &origin), events.Delivery[*events.Request]{
			Message: events.NewRequest(events.TagRequested, "", "web", version, "ann"), Origin: origin,
		})
		survived(t, err)
	}
}

// hearing hands the same hook to a process each time.
func hearing(hook func(r *repository, tag string) *events.Hook, tag string) life {
	return func(t *testing.T, w *Watcher, r *repository) {
		t.Helper()
		survived(t, hear(t.Context(), w, hook(r, tag), time.Now()))
	}
}

// survived accepts no other failure than being killed.
func survived(t *testing.T, err error) {
	t.Helper()
	if _, skipped := events.IsSkip(err); err != nil && !skipped && !errors.Is(err, errKilled) {
		t.Error(err)
	}
}

// with pushes to the repository before the rest.
func with(change func(r *repository), then life) life {
	return func(t *testing.T, w *Watcher, r *repository) {
		t.Helper()
		change(r)
		if then != nil {
			then(t, w, r)
		}
	}
}

func looking(t *testing.T, w *Watcher, _ *repository) {
	t.Helper()
	mustLook(t, w)
}

// v3Seen is a process that has looked, and has seen v3 since.
func v3Seen(t *testing.T, w *Watcher, r *repository) {
	t.Helper()
	mustLook(t, w)
	r.push("v3")
	mustLook(t, w)
}

// TestKilledAnywhere kills the process at each of its writes, before and after
// it takes effect, pushes one more tag while it is down, and starts it again: no
// old tag becomes a version, no new one is lost, and nothing is said twice. It
// makes no difference whether another process looks at the same time.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		setup  setup
		before life // undisturbed
		killed life
		again  life // what is delivered again to the next process
		want   []string
	}{
		"first look": {nil, nil, nil, nil, []string{"tag.seen.web.v9"}},
		"backfill":   {backfill, nil, nil, nil, []string{"tag.seen.web.v1", "tag.seen.web.v2", "tag.seen.web.v9"}},
		"new, refused and moved": {nil, v3Seen,
			with(func(r *repository) {
				r.push("v4", "v5")
				r.files[commitOf("v5")] = map[string]string{"main.go": "x"}
				r.move("v3", "evil")
				r.move("v1", "evil")
			}, nil), nil,
			[]string{"tag.moved.web.v1", "tag.moved.web.v3", "tag.refused.web.v5", "tag.seen.web.v3", "tag.seen.web.v4", "tag.seen.web.v9"}},
		"deleted": {nil, v3Seen,
			with(func(r *repository) { r.drop("v1", "v3") }, func(t *testing.T, w *Watcher, _ *repository) {
				t.Helper()
				// Its failure is the point; what it left is looked at below.
				_, _ = w.Look(t.Context(), "web")
			}), nil,
			[]string{"tag.deleted.web.v1", "tag.deleted.web.v3", "tag.seen.web.v3", "tag.seen.web.v9"}},
		"renamed": {nil, v3Seen,
			with(func(r *repository) { r.name, r.was = "site", "web"; r.push("v4") }, nil), nil,
			[]string{"tag.seen.web.v3", "tag.seen.web.v4", "tag.seen.web.v9"}},
		"request": {nil, looking, asking("v1"), asking("v1"), []string{"tag.seen.web.v1", "tag.seen.web.v9"}},
		"hook": {nil, looking,
			with(func(r *repository) { r.push("v3") }, hearing(hookOf, "v3")), hearing(hookOf, "v3"),
			[]string{"tag.seen.web.v3", "tag.seen.web.v9"}},
		"hook before the first look": {nil, nil, hearing(hookOf, "v2"), hearing(hookOf, "v2"), []string{"tag.seen.web.v9"}},
		"hook of a move": {nil, v3Seen,
			with(func(r *repository) { r.move("v3", "evil") }, hearing(hookOf, "v3")), hearing(hookOf, "v3"),
			[]string{"tag.moved.web.v3", "tag.seen.web.v3", "tag.seen.web.v9"}},
		"hook of a deletion": {nil, v3Seen,
			with(func(r *repository) { r.drop("v3") }, hearing(deletedHook, "v3")), hearing(deletedHook, "v3"),
			[]string{"tag.deleted.web.v3", "tag.seen.web.v3", "tag.seen.web.v9"}},
	} {
		for _, after := range []bool{false, true} {
			for _, beside := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, write done %t, another beside it %t", name, after, beside), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						for crash := 1; ; crash++ {
							s, r := newStore(), newRepository("v1", "v2")
							r.id = "7"
							start := func(setups ...setup) *Watcher {
								if test.setup != nil {
									setups = append(setups, test.setup)
								}
								return newWatcher(t, s, r, setups...)
							}
							m := &mortal{store: s}
							first := start(m.process)
							if test.before != nil {
								test.before(t, first, r)
							}
							m.writes, m.crashAt, m.after = 0, crash, after
							var other sync.WaitGroup
							if test.killed != nil {
								test.killed(t, first, r)
							}
							if beside {
								second := start()
								other.Go(func() { _, _ = second.Look(t.Context(), "web") })
							}
							// Its failure is the point; what it left is looked at below.
							_, _ = first.Look(t.Context(), "web")
							other.Wait()
							reached := m.writes >= crash
							hadBaseline := s.table[baselineKey(first.app("web"), "https://"+forgeName+"/web")] != nil
							next := start()
							if test.again != nil {
								test.again(t, next, r)
							}
							if !hadBaseline {
								mustLook(t, next) // there was no first look before this one
							}
							r.push("v9")
							for range 3 {
								pass(time.Second) // or no listing would be later than another
								mustLook(t, next)
							}
							said := s.said(events.KindTagSeen, events.KindTagMoved, events.KindTagDeleted, events.KindTagRefused)
							slices.Sort(said)
							if diff := cmp.Diff(test.want, said); diff != "" {
								t.Errorf("killed at write %d, said (-want +got):\n%s", crash, diff)
							}
							if !reached {
								return
							}
						}
					})
				})
			}
		}
	}
}
