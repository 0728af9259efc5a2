package github

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// window is how long GitHub's budgets last.
const window = time.Hour

// account is a credential's budget for a resource, as far as answers told. The
// limiter that it belongs to guards it.
type account struct {
	limit, remaining int
	reset            time.Time // by our clock
	resetThere       time.Time // by GitHub's, which tells windows apart
	block            block
	paced            block // until when requests wait for their turn
	spent, requests  int   // since the process started
}

// update reads what an answer says. Answers come in any order: of one window the
// least remaining is the newest, and those of earlier windows say nothing.
func (a *account) update(kind resource, header http.Header, now time.Time) {
	if named := header.Get("X-Ratelimit-Resource"); named != "" && named != kind.String() {
		return
	}
	limit, err := strconv.Atoi(header.Get("X-Ratelimit-Limit"))
	if err != nil || limit <= 0 {
		return // an Enterprise server without limits
	}
	remaining, err := strconv.Atoi(header.Get("X-Ratelimit-Remaining"))
	if err != nil || remaining < 0 {
		return
	}
	reset, ok := unixTime(header.Get("X-Ratelimit-Reset"))
	left := reset.Sub(serverTime(header, now))
	if !ok || left > 2*window { // no window of GitHub's; believed, it would outlast the true ones
		return
	}
	const jitter = time.Minute // the same window may be told a second apart
	switch {
	case a.resetThere.IsZero() || reset.After(a.resetThere.Add(jitter)):
		a.limit, a.remaining, a.resetThere, a.reset = limit, remaining, reset, now.Add(bounded(left))
	case reset.After(a.resetThere.Add(-jitter)):
		a.limit, a.remaining = limit, min(a.remaining, remaining)
	}
	if a.remaining == 0 {
		a.block.extend(a.reset, reasonUsedUp(kind))
	}
}

// budget tells what a credential may still do with a resource.
func (l *limiter) budget(kind resource, now time.Time) watch.Budget {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &l.accounts[kind]
	b := watch.Budget{
		Credential: l.credential,
		Resource:   kind.String(),
		Limit:      a.limit,
		Remaining:  a.remaining,
		Reset:      a.reset,
		Spent:      a.spent,
		Requests:   a.requests,
	}
	if !a.reset.After(now) {
		b.Remaining, b.Reset = a.limit, time.Time{}
	}
	if held := l.held(kind); held.until.After(now) {
		b.Blocked, b.Reason = held.until, held.reason
	} else if a.paced.until.After(now) {
		b.Blocked, b.Reason = a.paced.until, a.paced.reason
	}
	return b
}

// Budgets tells what each credential may still do, as far as it was used.
func (h *Host) Budgets() []watch.Budget {
	now := time.Now()
	var budgets []watch.Budget
	for _, l := range h.credentials.limiters() {
		for kind := range resources {
			if b := l.budget(kind, now); b.Requests > 0 {
				budgets = append(budgets, b)
			}
		}
	}
	return budgets
}

// Pause is the time between two sweeps, such that they and the lists of what
// owners have use a quarter of what a credential has in an hour, and never its
// last tenth.
func (h *Host) Pause(interval time.Duration) time.Duration {
	now := time.Now()
	longest := interval
	for of, points := range h.sweeps.take() {
		longest = max(longest, pause(interval, points, of.limiter.budget(of.kind, now), now))
	}
	return longest
}

// pause is the time between two sweeps that cost some points of a budget each.
func pause(interval time.Duration, points int, b watch.Budget, now time.Time) time.Duration {
	if b.Limit <= 0 || points <= 0 {
		return interval
	}
	cost, longest := float64(points), window.Seconds()
	seconds := longest * cost / (float64(b.Limit) / 4)
	if left := b.Reset.Sub(now).Seconds(); left > 0 { // so long the rest must last
		usable := float64(b.Remaining) - float64(b.Limit)/10
		seconds = max(seconds, left*min(1, cost/max(1, usable)))
	}
	return max(interval, time.Duration(min(seconds, longest)*float64(time.Second)))
}

// purse names a budget.
type purse struct {
	limiter *limiter
	kind    resource
}

// sweeps keeps what the most expensive listing cost, by budget. A listing of one
// repository that somebody asked for is no sweep, and costs less than one.
type sweeps struct {
	mu     sync.Mutex
	costs  map[purse]int
	owners map[string]map[purse]int // what it cost last to list what an owner has
}

// take returns the costs since it was called before, with each owner's share.
func (s *sweeps) take() map[purse]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	costs := map[purse]int{}
	maps.Copy(costs, s.costs)
	for _, owner := range s.owners {
		for of, points := range owner {
			costs[of] += (points + watch.SweepsPerDiscovery - 1) / watch.SweepsPerDiscovery
		}
	}
	s.costs = nil
	return costs
}

func (s *sweeps) add(listing map[purse]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.costs == nil {
		s.costs = map[purse]int{}
	}
	for of, points := range listing {
		s.costs[of] = max(s.costs[of], points)
	}
}

func (s *sweeps) addOwner(owner string, costs map[purse]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owners == nil {
		s.owners = map[string]map[purse]int{}
	}
	s.owners[owner] = costs
}

// tallyKey is where a context has its tally.
type tallyKey struct{}

// tally counts what the requests of one listing cost.
type tally struct {
	mu     sync.Mutex
	points map[purse]int
}

// tally makes the requests by a context be counted as one listing's, until done
// is called. The most expensive listing since the last [Host.Pause] is the sweep
// that it goes by.
func (h *Host) tally(ctx context.Context) (counted context.Context, done func()) {
	t := &tally{points: map[purse]int{}}
	return context.WithValue(ctx, tallyKey{}, t), func() { h.sweeps.add(t.sum()) }
}

// tallyOwner is [Host.tally] for a list of what an owner has.
func (h *Host) tallyOwner(ctx context.Context, owner string) (counted context.Context, done func()) {
	t := &tally{points: map[purse]int{}}
	return context.WithValue(ctx, tallyKey{}, t), func() { h.sweeps.addOwner(owner, t.sum()) }
}

func (t *tally) sum() map[purse]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.points)
}

// spend counts points in the context's tally, if it has one.
func spend(ctx context.Context, l *limiter, kind resource, points int) {
	t, ok := ctx.Value(tallyKey{}).(*tally)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.points[purse{limiter: l, kind: kind}] += points
}
