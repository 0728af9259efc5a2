package github

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// LimitForm is how a limit says so. The zero value is a 403 with Retry-After where
// that is usual: for secondary limits.
type LimitForm struct {
	Status       int           // 403 or 429; 403 if 0
	RetryAfter   time.Duration // a minute if 0
	NoRetryAfter bool
	BodyOnly     bool // only the text of the message tells what it is
}

// limits counts what everybody uses.
type limits struct {
	on        bool
	window    time.Duration
	budgets   map[string]int // by resource; the usual if absent
	primary   LimitForm
	secondary LimitForm
	buckets   map[string]*bucket // by who and resource
	minutes   map[string]*minute // by who and resource
	running   map[string]int     // requests under way, by who
}

// bucket is the primary limit of one resource.
type bucket struct {
	resource    string
	limit, used int
	reset       time.Time
}

// minute is what was used in one minute, and in one hour.
type minute struct {
	ends             time.Time
	points, contents int
	hourEnds         time.Time
	hourContents     int
}

func newLimits(on bool) limits {
	return limits{
		on: on, window: time.Hour, budgets: map[string]int{},
		buckets: map[string]*bucket{}, minutes: map[string]*minute{}, running: map[string]int{},
	}
}

// Budget sets the primary limit of everybody for a resource, core or graphql, and
// its window, and fills it up. Without it, limits are those of github.com.
func (s *Sim) Budget(resource string, limit int, window time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits.on, s.limits.window = true, window
	s.limits.budgets[resource] = limit
	s.limits.buckets = map[string]*bucket{}
}

// SayLimits sets how the primary and the secondary limits say so.
func (s *Sim) SayLimits(primary, secondary LimitForm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits.primary, s.limits.secondary = primary, secondary
}

// budgetOf names whose budget a request uses.
func budgetOf(t *Token) string {
	if t == nil {
		return "127.0.0.1"
	}
	return t.who
}

// bucket is the primary limit of who makes a request, in the current window.
func (s *Sim) bucket(t *Token, resource string) *bucket {
	key := budgetOf(t) + "/" + resource
	b := s.limits.buckets[key]
	if b == nil || !s.now().Before(b.reset) {
		b = &bucket{resource: resource, limit: s.limitOf(t, resource), reset: s.now().Add(s.limits.window)}
		s.limits.buckets[key] = b
	}
	return b
}

// limitOf is how much somebody may use in a window.
func (s *Sim) limitOf(t *Token, resource string) int {
	if limit, set := s.limits.budgets[resource]; set {
		return limit
	}
	switch {
	case t == nil && resource == "graphql":
		return 0
	case t == nil:
		return 60
	case t.installation != nil:
		n := 0
		for _, r := range s.ids {
			if t.installation.covers(r) {
				n++
			}
		}
		return min(12_500, 5_000+50*max(0, n-20))
	default:
		return 5_000
	}
}

// left is how much of the limit is left.
func (b *bucket) left() int { return max(0, b.limit-b.used) }

// header says how much is left.
func (b *bucket) header(h http.Header, skew time.Duration) {
	for name, value := range map[string]int{
		"X-RateLimit-Limit": b.limit, "X-RateLimit-Remaining": b.left(), "X-RateLimit-Used": min(b.used, b.limit),
		"X-RateLimit-Reset": int(b.reset.Add(skew).Unix()),
	} {
		h.Set(name, strconv.Itoa(value))
	}
	h.Set("X-RateLimit-Resource", b.resource)
}

func (b *bucket) json(skew time.Duration) fields {
	return fields{"limit": b.limit, "used": b.used, "remaining": b.left(), "reset": b.reset.Add(skew).Unix(), "resource": b.resource}
}

// The bounds of the secondary limits.
const (
	maxRunning      = 100
	maxPoints       = 900  // of REST per minute
	maxQueryPoints  = 2000 // of GraphQL per minute
	maxContents     = 80   // per minute
	maxHourContents = 500
)

// admit counts a request for the secondary limits, and says no with an answer. The
// caller calls done when an admitted request has ended.
func (s *Sim) admit(t *Token, method, resource string) (refusal *answer, done func()) {
	if !s.opts.Secondary {
		return nil, func() {}
	}
	who := budgetOf(t)
	m := s.limits.minutes[who+"/"+resource]
	if m == nil {
		m = &minute{}
		s.limits.minutes[who+"/"+resource] = m
	}
	if now := s.now(); !now.Before(m.ends) {
		m.ends, m.points, m.contents = now.Add(time.Minute), 0, 0
		if !now.Before(m.hourEnds) {
			m.hourEnds, m.hourContents = now.Add(time.Hour), 0
		}
	}
	most := maxPoints
	switch {
	case resource == "graphql":
		// A query is a POST that changes nothing.
		m.points++
		most = maxQueryPoints
	case method == http.MethodGet || method == http.MethodHead:
		m.points++
	default:
		m.points += 5
		m.contents++
		m.hourContents++
	}
	if s.limits.running[who] >= maxRunning || m.points > most || m.contents > maxContents || m.hourContents > maxHourContents {
		a := s.limits.secondary.secondaryAnswer()
		return &a, func() {}
	}
	s.limits.running[who]++
	return nil, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.limits.running[who]--
	}
}

func (f LimitForm) status() int {
	if f.Status == 0 {
		return http.StatusForbidden
	}
	return f.Status
}

// secondaryAnswer is a secondary limit.
func (f LimitForm) secondaryAnswer() answer {
	a := problem(f.status(), "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")
	if f.BodyOnly {
		return a
	}
	a.body.(fields)["documentation_url"] = "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits"
	if !f.NoRetryAfter {
		wait := f.RetryAfter
		if wait == 0 {
			wait = time.Minute
		}
		a.header.Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
	}
	return a
}

// primaryAnswer is the primary limit.
func (f LimitForm) primaryAnswer(who string) answer {
	a := problem(f.status(), fmt.Sprintf("API rate limit exceeded for %s.", who))
	a.body.(fields)["documentation_url"] = "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api"
	if f.RetryAfter > 0 {
		a.header.Set("Retry-After", strconv.Itoa(int(f.RetryAfter.Seconds())))
	}
	return a
}
