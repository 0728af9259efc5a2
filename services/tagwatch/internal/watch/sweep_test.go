package watch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// run runs a watcher inside a synctest bubble until the test ends.
func run(t *testing.T, w *Watcher) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// pass lets time pass in a synctest bubble, which takes none.
func pass(d time.Duration) {
	time.Sleep(d) // in the bubble
	synctest.Wait()
}

func TestRunLooksAtIntervals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r := newStore(), newRepository("v1")
		run(t, newWatcher(t, s, r))
		synctest.Wait()
		if r.looks() != 1 {
			t.Errorf("%d looks at the start, expected 1", r.looks())
		}
		r.push("v2")
		pass(34 * time.Second)
		if got := s.seen(); len(got) != 1 || got[0] != "v2" {
			t.Errorf("after an interval, seen %v", got)
		}
		pass(time.Hour)
		if r.looks() < 110 || r.looks() > 134 {
			t.Errorf("%d looks in an hour, expected about 120", r.looks())
		}
	})
}

func TestRunBacksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r := newStore(), newRepository()
		r.down = errors.New("no route to host")
		run(t, newWatcher(t, s, r))
		pass(time.Hour)
		if r.looks() < 6 || r.looks() > 20 {
			t.Errorf("%d looks in an hour at a repository that is down, expected about ten", r.looks())
		}
		if got := s.status(t, "web"); !strings.Contains(got.Error, "no route to host") || time.Since(got.ErrorSince) < 59*time.Minute || !got.BaselineAt.IsZero() {
			t.Errorf("status is %+v", got)
		}
		r.mu.Lock()
		r.down = nil
		r.mu.Unlock()
		pass(16 * time.Minute)
		if got := s.status(t, "web"); got.Error != "" || got.BaselineAt.IsZero() {
			t.Errorf("status is %+v", got)
		}
		before := r.looks()
		pass(5 * time.Minute)
		if more := r.looks() - before; more < 8 {
			t.Errorf("%d looks in 5 minutes after it came back, expected about ten", more)
		}
	})
}

func TestHangingRepositoriesDelayNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context) error {
			select {
			case <-time.After(time.Minute):
				return errors.New("timeout")
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		healthy := newRepository()
		w := newWatcher(t, newStore(), healthy, func(a *App, o *Options) {
			o.Parallel = 1
			for _, name := range []string{"a", "b", "c"} {
				r := newRepository()
				r.name, r.onList = name, hang
				f := a.Host.(*forge)
				f.repos = append(f.repos, r)
				o.Apps = append(o.Apps, App{Name: name, Host: f, Repo: Repo{Name: name}, Choice: a.Choice})
			}
		})
		run(t, w)
		time.Sleep(10 * time.Minute) // in the bubble; each has hung once by now
		synctest.Wait()
		before := healthy.looks()
		pass(10 * time.Minute)
		if more := healthy.looks() - before; more < 18 {
			t.Errorf("%d looks in 10 minutes while other repositories hang, expected about 20", more)
		}
	})
}

func TestShutdownIsNoFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r := newStore(), newRepository()
		r.onList = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		w := newWatcher(t, s, r)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ended with %v", err)
		}
		if len(s.table) != 0 {
			t.Errorf("the shutdown left %v", s.table)
		}
	})
}
