package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
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

// fleet adds apps app0 to app<n-1>, each on a repository of its own.
func fleet(n int) setup {
	return func(a *App, o *Options) {
		f := a.Host.(*forge)
		for i := range n {
			r := numbered(fmt.Sprintf("acme/app%d", i), fmt.Sprint(1000+i), "v1")
			f.repos = append(f.repos, r)
			o.Apps = append(o.Apps, App{Name: fmt.Sprintf("app%d", i), Host: f, Repo: Repo{Name: r.name}, Choice: a.Choice})
		}
	}
}

func TestOneSweepAsksForAllAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r := newStore(), newRepository("v1")
		var f *forge
		w := newWatcher(t, s, r, fleet(20), func(a *App, o *Options) {
			f = a.Host.(*forge)
			f.marks = true
			again := *a
			again.Name = "again" // a second app on the same repository
			o.Apps = append(o.Apps, again)
		})
		run(t, w)
		pass(time.Second)
		if calls := f.called(); len(calls) != 1 || len(calls[0]) != 21 {
			t.Fatalf("asked in %d calls, expected one for 21 repositories", len(calls))
		}
		_, before := s.counted()
		pass(10 * time.Minute)
		calls := f.called()
		if _, reads := s.counted(); len(calls) != 21 || reads != before {
			t.Errorf("asked in %d calls with %d reads in 10 minutes, expected 21 and none", len(calls), reads-before)
		}
		for _, ask := range calls[len(calls)-1] {
			if ask.Mark == "" || ask.Failing {
				t.Errorf("asked for %+v, expected a mark", ask)
			}
		}
		r.push("v2")
		pass(31 * time.Second)
		if got := s.seen(); len(got) != 2 {
			t.Errorf("seen %v, expected v2 of both apps", got)
		}
		status := w.Sweeps()[0]
		if status.Leader != "one" || status.Sweep.Repositories != 21 || status.Sweep.Changed != 1 || status.Failing != 0 || !status.Next.After(status.Sweep.At) {
			t.Errorf("the sweep is told as %+v", status)
		}
		var written HostStatus
		if err := json.Unmarshal(s.table[HostKey(forgeName)], &written); err != nil || written.Sweep != status.Sweep {
			t.Errorf("on record is %+v, %v", written, err)
		}
	})
}

// forgetful is a host that answers some asks twice, and others not at all.
type forgetful struct{ *forge }

func (f forgetful) List(ctx context.Context, asks []Ask, found func(i int, listing Listing, err error)) {
	f.forge.List(ctx, asks, func(i int, listing Listing, err error) {
		if asks[i].Repo.Name == "acme/app0" {
			return
		}
		found(i, listing, err)
		found(i, Listing{}, errors.New("asked twice"))
	})
}

func TestAsksWithoutAnAnswerAreFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r := newStore(), newRepository("v1")
		w := newWatcher(t, s, r, fleet(2), func(a *App, o *Options) {
			host := forgetful{a.Host.(*forge)}
			a.Host = host
			for i := range o.Apps {
				o.Apps[i].Host = host
			}
		})
		run(t, w)
		pass(time.Hour)
		f := w.app("web").Host.(forgetful).forge
		if looks := f.repos[1].looks(); looks < 6 || looks > 20 {
			t.Errorf("%d looks in an hour at what gives no answer, expected about ten", looks)
		}
		if got := s.status(t, "app0"); !strings.Contains(got.Error, "no answer") {
			t.Errorf("status is %+v", got)
		}
		if got := s.status(t, "app1"); got.Error != "" {
			t.Errorf("the status of what is answered twice is %+v", got)
		}
		if status := w.Sweeps()[0]; status.Failing != 1 || status.Sweep.Repositories != 2 {
			t.Errorf("the sweep is told as %+v", status)
		}
	})
}

func TestAHostThatIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r := newStore(), newRepository("v1")
		w := newWatcher(t, s, r, fleet(3))
		f := w.app("web").Host.(*forge)
		for _, r := range f.repos {
			r.down = errors.New("no route to host")
		}
		run(t, w)
		pass(time.Hour)
		var written HostStatus
		if err := json.Unmarshal(s.table[HostKey(forgeName)], &written); err != nil {
			t.Fatal(err)
		}
		for name, status := range map[string]HostStatus{"on record": written, "told": w.Sweeps()[0]} {
			if status.Failing != 4 || status.Sweep.Repositories == 0 || status.Next.IsZero() || time.Until(status.Next) > 15*time.Minute {
				t.Errorf("%s is %+v", name, status)
			}
		}
	})
}

// Where every repository backs off, the next look is the soonest of theirs.
func TestNextLookAtAHostThatIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRepository()
		r.down = errors.New("no route to host")
		w := newWatcher(t, newStore(), r)
		run(t, w)
		pass(time.Hour)
		next := func() time.Duration { return time.Until(w.Sweeps()[0].Next) }
		for next() < 10*time.Second {
			pass(5 * time.Second)
		}
		before := r.looks()
		pass(next() - time.Second)
		if got := r.looks() - before; got != 0 {
			t.Errorf("%d looks before the next was due", got)
		}
		pass(5 * time.Second)
		if got := r.looks() - before; got != 1 {
			t.Errorf("%d looks when the next was due", got)
		}
	})
}

// What keeps a host from being asked for anything is told once, and is no app's trouble.
func TestTheHostsTroubleIsToldOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r := newStore(), newRepository("v1")
		core, told := observer.New(zap.InfoLevel)
		w := newWatcher(t, s, r, fleet(3), func(a *App, o *Options) {
			o.Log = zap.New(core)
			o.Groups = []Group{{Name: "everything", Host: a.Host.(*forge), Owner: "acme", Choice: a.Choice}}
		})
		f := w.app("web").Host.(*forge)
		be := func(down error) {
			f.set(func() {
				f.directory = down
				for _, r := range f.repos {
					r.mu.Lock()
					r.down = down
					r.mu.Unlock()
				}
			})
		}
		written := func() (status HostStatus) {
			t.Helper()
			if err := json.Unmarshal(s.table[HostKey(forgeName)], &status); err != nil {
				t.Fatal(err)
			}
			return status
		}
		run(t, w)
		pass(time.Minute)
		be(fmt.Errorf("ask: %w", &HostError{Reason: "the token has expired"}))
		pass(time.Hour)
		warned := told.FilterLevelExact(zap.WarnLevel).All()
		if len(warned) != 1 || warned[0].ContextMap()["host"] != forgeName || warned[0].ContextMap()["error"] != "the token has expired" {
			t.Errorf("%d warnings, expected one of the host: %v", len(warned), warned)
		}
		if got := written(); got.Error != "the token has expired" || time.Since(got.ErrorSince) < 59*time.Minute || got.Failing != 4 || got.Next.IsZero() {
			t.Errorf("the host's status is %+v", got)
		}
		for _, app := range []string{"web", "app0", "everything"} {
			if got := s.status(t, app); got.Error != "" || got.BaselineAt.IsZero() {
				t.Errorf("the status of %s is %+v", app, got)
			}
		}
		be(nil)
		pass(20 * time.Minute)
		if got := written(); got.Error != "" || !got.ErrorSince.IsZero() || got.Failing != 0 {
			t.Errorf("the host's status is %+v afterwards", got)
		}
		again := told.FilterMessageSnippet("again").All()
		if len(again) != 1 || told.FilterLevelExact(zap.WarnLevel).Len() != 1 {
			t.Errorf("the end was told %d times", len(again))
		}
	})
}

// What follows the host's trouble is told of the app that has it.
func TestAnAppsTroubleAfterTheHosts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r := newStore(), newRepository("v1")
		core, told := observer.New(zap.WarnLevel)
		r.down = &HostError{Reason: "not reached"}
		run(t, newWatcher(t, s, r, func(_ *App, o *Options) { o.Log = zap.New(core) }))
		pass(time.Minute)
		r.mu.Lock()
		r.down = errors.New("no route to host")
		r.mu.Unlock()
		pass(20 * time.Minute)
		if got := told.FilterField(zap.String("app", "web")).Len(); got != 1 || told.Len() != 2 {
			t.Errorf("%d warnings of the app, and %d in all", got, told.Len())
		}
		if got := s.status(t, "web"); !strings.Contains(got.Error, "no route to host") {
			t.Errorf("status is %+v", got)
		}
	})
}

// TestTakeover has one replica lead and another stand by, and stops the first.
func TestTakeover(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r := newStore(), newRepository("v1")
		f := &forge{repos: []*repository{r}, marks: true}
		many := func(a *App, o *Options) {
			a.Host = f
			fleet(20)(a, o)
			f.repos = f.repos[:21] // those of the first replica
		}
		first := newWatcher(t, s, r, many)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- first.Run(ctx) }()
		pass(time.Second)
		second := newWatcher(t, s, r, many, func(_ *App, o *Options) { o.Replica = "two" })
		run(t, second)
		pass(time.Minute)
		calls := len(f.called())
		if !second.WatchesRepo(forgeName, Repo{ID: "1003"}) {
			t.Error("who stands by does not know the repositories by their IDs")
		}
		r.push("v2")
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if status := first.Sweeps()[0]; !status.Sweep.At.IsZero() || status.Failing != 0 {
			t.Errorf("who leads no more tells of %+v", status)
		}
		_, before := s.counted()
		pass(6 * time.Second)
		since := f.called()[calls:]
		if got := s.seen(); len(got) != 1 || len(since) != 1 {
			t.Fatalf("after the takeover seen %v in %d calls, expected v2 in one", got, len(since))
		}
		if _, reads := s.counted(); reads-before > 6 {
			t.Errorf("the takeover took %d reads for 21 apps", reads-before)
		}
		full := 0
		for _, ask := range since[0] {
			if ask.Mark == "" {
				full++
			}
		}
		if full != 0 {
			t.Errorf("%d repositories were listed anew", full)
		}
	})
}

func TestBudgetEndsUntilAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r := newStore(), newRepository("v1")
		w := newWatcher(t, s, r)
		run(t, w)
		pass(time.Second)
		r.mu.Lock()
		r.down = &LimitError{Until: time.Now().Add(20 * time.Minute), Reason: "rate limit"}
		r.mu.Unlock()
		pass(19 * time.Minute)
		looks := r.looks()
		if looks != 2 {
			t.Errorf("%d looks, expected none while the host wants no requests", looks)
		}
		r.mu.Lock()
		r.down = nil
		r.mu.Unlock()
		pass(5 * time.Minute)
		if more := r.looks() - looks; more < 6 {
			t.Errorf("%d looks in the minutes after, expected about eight", more)
		}
		if got := s.status(t, "web"); got.Error != "" {
			t.Errorf("status is %+v", got)
		}
	})
}

func TestSlowSourceDelaysNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r := newStore(), newRepository()
		r.onFetch = func(ctx context.Context, _ string) {
			select {
			case <-time.After(time.Hour):
			case <-ctx.Done():
			}
		}
		w := newWatcher(t, s, r, fleet(3))
		run(t, w)
		pass(time.Second)
		r.push("v1")
		pass(time.Minute)
		f := w.app("web").Host.(*forge)
		f.repos[2].push("v2")
		pass(time.Minute)
		if diff := cmp.Diff([]string{"v2"}, s.seen()); diff != "" {
			t.Errorf("seen while a source is fetched for an hour (-want +got):\n%s", diff)
		}
	})
}

// elsewhere is another host.
type elsewhere struct{ *forge }

func (elsewhere) Name() string { return "git.example.com" }

func TestSlowHostDelaysNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow, quick := newRepository(), newRepository()
		slow.onFetch = func(ctx context.Context, _ string) { <-ctx.Done() }
		s := newStore()
		w := newWatcher(t, s, slow, func(a *App, o *Options) {
			o.Parallel = 1
			o.Apps = append(o.Apps, App{Name: "quick", Host: elsewhere{&forge{repos: []*repository{quick}}}, Repo: a.Repo, Choice: a.Choice})
		})
		run(t, w)
		pass(time.Second)
		slow.push("v1")
		pass(time.Minute)
		quick.push("v2")
		pass(time.Minute)
		if diff := cmp.Diff([]string{"v2"}, s.seen()); diff != "" {
			t.Errorf("seen while every source of another host hangs (-want +got):\n%s", diff)
		}
	})
}

func TestLostAccessIsOneAppsTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r := newStore(), newRepository("v1")
		w := newWatcher(t, s, r, fleet(3))
		run(t, w)
		pass(time.Minute)
		f := w.app("web").Host.(*forge)
		f.mu.Lock()
		lost := f.repos[1]
		f.repos = append(f.repos[:1:1], f.repos[2:]...)
		f.mu.Unlock()
		f.repos[1].push("v2")
		pass(time.Minute)
		if got := s.status(t, "app0"); !strings.Contains(got.Error, "is not there") {
			t.Errorf("the status of the lost one is %+v", got)
		}
		if diff := cmp.Diff([]string{"v2"}, s.seen()); diff != "" {
			t.Errorf("seen of the others (-want +got):\n%s", diff)
		}
		f.mu.Lock()
		f.repos = append(f.repos, lost)
		f.mu.Unlock()
		pass(20 * time.Minute)
		if got := s.status(t, "app0"); got.Error != "" {
			t.Errorf("the status of the one that is back is %+v", got)
		}
		if got := s.said("tag.deleted", "tag.moved"); len(got) != 0 {
			t.Errorf("said %v", got)
		}
	})
}

// quiet is a host whose repositories never change.
type quiet struct{ *forge }

func (quiet) List(_ context.Context, asks []Ask, found func(i int, listing Listing, err error)) {
	for i, ask := range asks {
		listing := Listing{Repo: Repo{Name: ask.Repo.Name, ID: "id of " + ask.Repo.Name}, Mark: "an opaque mark of about forty bytes or so", Unchanged: ask.Mark != ""}
		if !listing.Unchanged {
			listing.Tags = []Tag{{Name: "v1", Object: commitOf("v1"), Commit: commitOf("v1")}}
		}
		found(i, listing, nil)
	}
}

// size is about how many bytes the table takes.
func (s *store) size() (bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, value := range s.table {
		bytes += int64(len(key) + cap(value) + 48)
	}
	return bytes
}

// TestTenThousandApps takes over ten thousand apps, and measures what each costs
// while nothing happens. It does not run beside other tests, which would be
// measured with it.
func TestTenThousandApps(t *testing.T) {
	const n, most = 10_000, 3 << 10
	s, f := newStore(), quiet{&forge{}}
	synctest.Test(t, func(t *testing.T) {
		before, running := heap(), runtime.NumGoroutine()
		w := newWatcher(t, s, newRepository(), func(a *App, o *Options) {
			a.Host, o.Log = f, zap.NewNop()
			for i := range n {
				o.Apps = append(o.Apps, App{Name: fmt.Sprintf("app%d", i), Host: f, Repo: Repo{Name: fmt.Sprintf("acme/app%d", i)}, Choice: a.Choice})
			}
		})
		for name, a := range w.apps {
			s.keep(t, repoKey(name), repoRecord{
				Origin: a.configured(), Configured: a.configured(), ID: "id of " + a.Repo.Name, Name: a.Repo.Name,
				Settled: strings.Repeat("0", 64), Mark: "an opaque mark of about forty bytes or so", For: a.treatment(a.configured()),
			})
			s.keep(t, StatusKey(name), Status{Repo: a.configured(), RepoID: "id of " + a.Repo.Name, Tags: a.Choice.String(), BaselineAt: time.Now().UTC()})
		}
		run(t, w)
		pass(2 * time.Minute)
		if sweep := w.Sweeps()[0].Sweep; sweep.Repositories != n+1 || sweep.Changed != 0 {
			t.Fatalf("swept %+v, expected %d repositories that have not changed", sweep, n+1)
		}
		cost, goroutines := (heap()-before-s.size())/n, runtime.NumGoroutine()-running // what the store holds is the server's memory
		t.Logf("%d bytes per app, %d goroutines", cost, goroutines)
		if cost > most || goroutines > 10 {
			t.Errorf("an app takes %d bytes, and there are %d goroutines; expected at most %d and 10", cost, goroutines, most)
		}
		writes, reads := s.counted()
		pass(5 * time.Minute)
		if w, r := s.counted(); w-writes > 11 || r != reads || writes > 5 || reads > 2 {
			t.Errorf("%d writes and %d reads for the takeover, then %d and %d in ten sweeps at which nothing happened", writes, reads, w-writes, r-reads)
		}
		runtime.KeepAlive(w)
	})
}

// keep has something on record from before the test.
func (s *store) keep(t *testing.T, key string, value any) {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	s.table[key] = text
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
