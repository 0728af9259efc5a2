package watch

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

const (
	// longestPause is between two looks at a repository that keeps failing.
	longestPause = 10 * time.Minute
	// longestStandby is between two tries of a replica that stands by to lead.
	longestStandby = 5 * time.Second
	// settling is how many listings of a host that differ are worked on at once.
	// Most of that is waiting: for the record, or for a place to fetch a source.
	settling = 64
)

// hosted is a host with the apps on it.
type hosted struct {
	Host
	log *zap.Logger
	// wake makes the leader look at its plan again.
	wake chan struct{}
	// fetching holds a place for each source that is fetched.
	fetching chan struct{}

	mu      sync.Mutex // guards what follows, and the plans of the apps
	apps    map[*watched]struct{}
	leading bool          // whether this replica sweeps over the host
	next    time.Time     // of the next sweep over every app that is well
	pause   time.Duration // between two such sweeps, as the host wants it
	sleeps  time.Time     // until when the leader does not look at its plan by itself
	status  HostStatus
	kept    int // apps and groups that could not be looked at for a [HostError]
}

// plan is when an app is looked at next.
type plan struct {
	due     time.Time
	asking  bool                        // a look by a sweep is under way
	failing *backoff.ExponentialBackOff // nil if the last look succeeded
	kept    bool                        // the last look met a [HostError]
}

func (w *Watcher) hostOf(host Host) *hosted {
	h := w.hosts[host.Name()]
	if h == nil {
		h = &hosted{
			Host: host, log: w.Log.With(zap.String("host", host.Name())), wake: make(chan struct{}, 1), fetching: make(chan struct{}, max(w.Parallel, 1)),
			apps: map[*watched]struct{}{}, status: HostStatus{Host: host.Name()},
		}
		w.hosts[host.Name()] = h
	}
	return h
}

func (h *hosted) add(a *watched) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.apps[a] = struct{}{}
}

func (h *hosted) remove(a *watched) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.apps, a)
	h.keep(&a.plan.kept, nil)
}

func (h *hosted) stir() {
	select {
	case h.wake <- struct{}{}:
	default: // it is awake already
	}
}

// LeaseKey is the lease that the replica holds which sweeps over a host's repositories.
func LeaseKey(host string) string { return "watch." + events.Escape(host) }

// Run watches until ctx ends. It always returns nil: a look's failure is the
// app's status and a line in the log.
//
// Of all replicas one sweeps over the repositories of a host. The others stand
// by, and follow requests and hooks meanwhile.
func (w *Watcher) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	for _, g := range w.groups {
		loops.Go(func() { w.discoverAll(ctx, g) })
	}
	for _, h := range w.hosts {
		loops.Go(func() { w.lead(ctx, h) })
	}
	loops.Wait()
	return nil
}

// lead sweeps over a host whenever no other replica does.
func (w *Watcher) lead(ctx context.Context, h *hosted) {
	standby := false
	for ctx.Err() == nil {
		err := w.Leases.Hold(ctx, LeaseKey(h.Name()), func(ctx context.Context) error {
			h.log.Info("sweeping over the repositories")
			return w.sweeps(ctx, h)
		})
		if errors.Is(err, events.ErrHeld) && !standby {
			// Hooks name repositories by their IDs, so who stands by must know them too.
			h.log.Info("standing by: another replica sweeps over the repositories")
			err = w.restore(ctx, h)
			standby = err == nil
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, events.ErrHeld) {
			h.log.Warn("cannot sweep over the repositories", zap.Error(err))
		}
		select {
		case <-time.After(jitter(min(w.Interval, longestStandby))):
		case <-ctx.Done():
		}
	}
}

// restore reads what is on record of every repository of a host at once.
func (w *Watcher) restore(ctx context.Context, h *hosted) error {
	records, err := w.Table.All(ctx, repoPrefix)
	if err != nil {
		return err
	}
	statuses, err := w.Table.All(ctx, StatusPrefix)
	if err != nil {
		return err
	}
	for _, a := range h.list() {
		value, known := records[repoKey(a.Name)]
		if !known {
			value = []byte("{}")
		}
		if err := w.learn(a, value); err != nil {
			return err
		}
		if err := a.recallStatus(statuses[StatusKey(a.Name)]); err != nil {
			return err
		}
	}
	return nil
}

func (h *hosted) list() []*watched {
	h.mu.Lock()
	defer h.mu.Unlock()
	apps := make([]*watched, 0, len(h.apps))
	for a := range h.apps {
		apps = append(apps, a)
	}
	return apps
}

// sweeps sweeps over a host again and again until ctx ends.
func (w *Watcher) sweeps(ctx context.Context, h *hosted) error {
	if err := w.restore(ctx, h); err != nil {
		return err
	}
	h.begin()
	defer h.end()
	var sweeps sync.WaitGroup
	defer sweeps.Wait()
	for {
		due, whole, pause := h.due(w.Interval)
		if len(due) > 0 || whole {
			sweeps.Go(func() { w.sweep(ctx, h, due, whole) })
		}
		select {
		case <-time.After(pause):
		case <-h.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// begin makes every app due.
func (h *hosted) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leading, h.next = true, time.Time{}
	for a := range h.apps {
		a.plan = plan{kept: a.plan.kept}
	}
}

// end forgets the sweeps: another replica leads.
func (h *hosted) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leading = false
	h.status = HostStatus{Host: h.Name(), Error: h.status.Error, ErrorSince: h.status.ErrorSince}
}

// due returns the apps to ask for now, whether that is a sweep over all that are
// well, and how long nothing more is to be done. What is due at about the same
// time is asked for together.
func (h *hosted) due(interval time.Duration) (apps []*watched, whole bool, pause time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if whole = !now.Before(h.next); whole {
		h.pause = h.Pause(interval)
		h.next = now.Add(h.pause)
		h.status.Next = h.next.UTC()
	}
	soonest := h.next
	for a := range h.apps {
		switch {
		case a.plan.asking:
		case !a.plan.due.After(now):
			a.plan.asking = true
			apps = append(apps, a)
		case a.plan.due.Before(soonest):
			soonest = a.plan.due
		}
	}
	pause = max(soonest.Sub(now), interval/10)
	h.sleeps = now.Add(pause)
	return apps, whole, pause
}

// done plans the next look at an app.
func (w *Watcher) done(ctx context.Context, a *watched, err error) {
	h := a.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, watched := h.apps[a]; !watched {
		return // it was removed meanwhile
	}
	a.plan.asking = false
	var (
		limit *LimitError
		host  *HostError
	)
	switch {
	case ctx.Err() != nil: // a shutdown says nothing of the repository
	case err == nil:
		a.plan.failing, a.plan.due = nil, h.next
		h.keep(&a.plan.kept, nil)
	case errors.As(err, &limit):
		a.plan.due = limit.Until
	default:
		first := a.plan.failing == nil
		news := first || a.plan.kept // else it is the same trouble again
		_ = errors.As(err, &host)
		h.keep(&a.plan.kept, host)
		if first {
			a.plan.failing = w.backOff()
		}
		pause := a.plan.failing.NextBackOff()
		a.plan.due = time.Now().Add(pause)
		if news && host == nil {
			w.logger(a).Warn("look failed", zap.Error(err), zap.Duration("again_in", pause))
		}
	}
	if a.plan.due.Before(h.sleeps) {
		h.stir()
	}
}

// keep notes whether the host as a whole keeps an app or a group from being
// looked at, and tells of it once for them all. The caller holds the mutex.
func (h *hosted) keep(kept *bool, trouble *HostError) {
	switch {
	case trouble != nil && !*kept:
		h.kept++
	case trouble == nil && *kept:
		h.kept--
	}
	*kept = trouble != nil
	switch {
	case trouble != nil && h.status.Error == "":
		h.status.ErrorSince = time.Now().UTC().Truncate(time.Second)
		h.log.Warn("the host cannot be asked for its repositories", zap.Error(trouble))
	case trouble == nil && h.status.Error != "" && h.kept == 0:
		h.log.Info("the host can be asked for its repositories again", zap.Time("since", h.status.ErrorSince))
		h.status.Error, h.status.ErrorSince = "", time.Time{}
	}
	if trouble != nil {
		h.status.Error = trouble.Reason
	}
}

// backOff grows from the interval to the longest pause, and never ends.
func (w *Watcher) backOff() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(w.Interval),
		backoff.WithMultiplier(2),
		backoff.WithMaxInterval(max(longestPause, w.Interval)),
		backoff.WithMaxElapsedTime(0),
	)
}

// jitter spreads what many do: a tenth more or less.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}

// sweep asks for the tags of the repositories that are due, and settles what
// differs as it becomes known. It returns when all is settled.
func (w *Watcher) sweep(ctx context.Context, h *hosted, due []*watched, whole bool) {
	s := &sweep{w: w, h: h, began: time.Now(), places: make(chan struct{}, settling), failed: map[Repo]bool{}}
	asks := s.asks(ctx, due)
	spent := spentOf(h.Host)
	h.List(ctx, asks, func(i int, listing Listing, err error) { s.found(ctx, i, listing, err) })
	for i := range asks {
		s.found(ctx, i, Listing{}, errNoAnswer)
	}
	if whole && ctx.Err() == nil {
		s.tally.At, s.tally.Took = s.began.UTC(), events.Duration(time.Since(s.began).Round(time.Millisecond))
		s.tally.Repositories = len(asks)
		after := spentOf(h.Host)
		s.tally.Requests, s.tally.Points = after.Requests-spent.Requests, after.Spent-spent.Spent
		w.reportHost(ctx, h, s.tally, s.failed)
	}
	s.settles.Wait()
}

// sweep is one call of [Host.List] at work.
type sweep struct {
	w       *Watcher
	h       *hosted
	began   time.Time
	fans    [][]*watched // the apps that each ask is for, until it is answered
	places  chan struct{}
	settles sync.WaitGroup
	// tally, and the repositories that could not be listed. They are written by
	// found, which is never called twice at once.
	tally  Sweep
	failed map[Repo]bool
}

// errNoAnswer is what came of an ask that [Host.List] ended without answering.
var errNoAnswer = errors.New("the host gave no answer")

// asks makes one ask for each repository, however many apps watch it.
func (s *sweep) asks(ctx context.Context, due []*watched) []Ask {
	at := map[Repo]int{}
	var asks []Ask
	for _, a := range due {
		if err := s.w.recall(ctx, a); err != nil {
			s.w.done(ctx, a, err)
			continue
		}
		repo, mark := a.repo(), a.mark()
		failing := s.h.failing(a)
		i, known := at[repo]
		if !known {
			at[repo] = len(asks)
			asks = append(asks, Ask{Repo: repo, Mark: mark, Failing: failing})
			s.fans = append(s.fans, []*watched{a})
			continue
		}
		s.fans[i] = append(s.fans[i], a)
		if asks[i].Mark != mark {
			asks[i].Mark = "" // what one of them has settled, another has not
		}
		asks[i].Failing = asks[i].Failing || failing
	}
	return asks
}

func (h *hosted) failing(a *watched) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return a.plan.failing != nil
}

// found takes in one repository's listing. Only the first answer counts.
func (s *sweep) found(ctx context.Context, i int, listing Listing, err error) {
	apps := s.fans[i]
	if apps == nil {
		return
	}
	s.fans[i] = nil
	var limit *LimitError
	switch {
	case errors.As(err, &limit):
	case err != nil:
		s.failed[apps[0].repo()] = true
	case !listing.Unchanged:
		s.tally.Changed++
	}
	for _, a := range apps {
		if err == nil && a.pass(listing) {
			s.w.done(ctx, a, nil)
			continue
		}
		select {
		case s.places <- struct{}{}:
		case <-ctx.Done():
			s.w.done(ctx, a, context.Cause(ctx))
			continue
		}
		s.settles.Go(func() {
			defer func() { <-s.places }()
			_, err := s.w.receive(ctx, a, ask{}, reading{listing, err, s.began})
			s.w.done(ctx, a, err)
		})
	}
}
