package github

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

const (
	// silence is how long nothing of an answer may come, and answerTimeout how long
	// all of it may take. GitHub ends its own work on one after 10 s.
	silence       = 15 * time.Second
	answerTimeout = 30 * time.Second
	// maxAnswer is how long an answer may be, in bytes: some hundred thousand tags.
	maxAnswer = 64 << 20
	// maxConcurrent is how many requests are under way at once; GitHub allows 100.
	maxConcurrent = 20

	// longestPace is how long a request waits for its turn. One of GraphQL waits
	// longer: it is part of a sweep, which had better be late than half done.
	longestPace        = 5 * time.Second
	longestPaceGraphQL = time.Minute
	// moment is how long a request waits for its turn without anybody being told.
	moment = time.Second

	// firstBlock is how long no request is made if GitHub does not say how long;
	// it doubles up to longestGuess. Nothing that GitHub says makes it longer
	// than longestBlock, which is the length of its windows.
	firstBlock   = time.Minute
	longestGuess = 15 * time.Minute
	longestBlock = time.Hour
)

// resource is what a budget is for.
type resource int

const (
	resourceCore resource = iota
	resourceGraphQL
	resources
)

func (r resource) String() string {
	if r == resourceGraphQL {
		return "graphql"
	}
	return "core"
}

// limiter sends every request of one credential, and keeps to what GitHub says
// of its limits. Where GitHub wants no requests it makes none, and returns a
// [*watch.LimitError] at once; so it does instead of an answer that says so. Below
// the limits it spreads requests, such that they are not reached. It reads answers
// whole, so that nothing is held up by one that is not closed.
//
// What GitHub says of limits ends here: callers do not see the headers, lest
// go-github blocks by its own reading of them.
//
// An Enterprise server that says nothing of limits has none, as it is by default:
// there is no pace then, but still no more than maxConcurrent requests at once.
type limiter struct {
	credential  string
	graphqlPath string
	enterprise  bool // a server of somebody's own, which may have no limits
	next        http.RoundTripper
	log         *zap.Logger

	slots   chan struct{}
	points  *rate.Limiter // of REST: GitHub allows 900 in a minute
	writes  *rate.Limiter // 80 in a minute
	hourly  *rate.Limiter // writes, 500 in an hour
	queries *rate.Limiter // of GraphQL: 2,000 in a minute

	mu       sync.Mutex
	busy     computing
	limited  bool // some answer told of limits
	free     bool // the answers tell of none, and may
	accounts [resources]account
	whole    block // of every resource
	strikes  int   // refusals in a row that did not say how long
	struck   time.Time
}

// block is a time in which GitHub wants no requests.
type block struct {
	until  time.Time
	reason string
}

// extend makes the block last until at least a time. It tells whether it now lasts longer.
func (b *block) extend(until time.Time, reason string) bool {
	if !until.After(b.until) {
		return false
	}
	*b = block{until: until, reason: reason}
	return true
}

// limit is a [*watch.LimitError] until the block is over.
func (b block) limit() error {
	if !b.until.After(time.Now()) {
		return nil
	}
	return &watch.LimitError{Until: b.until, Reason: b.reason}
}

// newLimiter makes a limiter. In any minute (or hour) its paces let through the
// burst and what comes in that time, which together are what GitHub allows.
func newLimiter(credential, graphqlPath string, enterprise bool, next http.RoundTripper, log *zap.Logger) *limiter {
	perMinute := func(n, burst int) *rate.Limiter { return rate.NewLimiter(rate.Limit(float64(n-burst)/60), burst) }
	return &limiter{
		credential:  credential,
		graphqlPath: graphqlPath,
		enterprise:  enterprise,
		next:        next,
		log:         log.With(zap.String("credential", credential)),
		slots:       make(chan struct{}, maxConcurrent),
		points:      perMinute(900, 100),
		writes:      perMinute(80, 20),
		hourly:      rate.NewLimiter(rate.Limit(300.0/3600), 200),
		queries:     perMinute(2000, 100),
	}
}

// RoundTrip sends a request when it is its turn.
func (l *limiter) RoundTrip(req *http.Request) (*http.Response, error) {
	kind := l.resource(req)
	if err := l.admit(req, kind); err != nil {
		closeBody(req)
		return nil, err
	}
	defer func() { <-l.slots }()
	began := time.Now()
	var sent atomic.Bool
	resp, body, err := l.ask(traced(req, &sent))
	took := time.Since(began)
	if kind == resourceGraphQL && (err == nil || sent.Load()) {
		l.computed(took)
	}
	if err != nil {
		l.requested(kind)
		return nil, err
	}
	l.log.Debug("asked GitHub", zap.String("method", req.Method), zap.String("path", req.URL.Path), zap.Int("status", resp.StatusCode), zap.Duration("took", took))
	if err := l.settle(req.Context(), kind, began, resp, body); err != nil {
		return nil, err
	}
	if err := checkBody(req, resp, body); err != nil {
		return nil, err
	}
	for name := range resp.Header {
		if strings.HasPrefix(name, "X-Ratelimit-") {
			resp.Header.Del(name)
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

func (l *limiter) resource(req *http.Request) resource {
	if req.URL.Path == l.graphqlPath {
		return resourceGraphQL
	}
	return resourceCore
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // it was not sent, so there is nothing to lose
	}
}

// admit waits for a request's turn, and takes a slot for it.
func (l *limiter) admit(req *http.Request, kind resource) error {
	if err := l.blocked(kind); err != nil {
		return err
	}
	if err := l.pace(req, kind); err != nil {
		return err
	}
	select {
	case l.slots <- struct{}{}:
	case <-req.Context().Done():
		return req.Context().Err()
	}
	if err := l.blocked(kind); err != nil { // since it waited
		<-l.slots
		return err
	}
	return nil
}

// pace waits such that the limits of a minute, and of an hour, are not reached.
func (l *limiter) pace(req *http.Request, kind resource) error {
	ctx := req.Context()
	switch {
	case l.unlimited():
		return nil
	case kind == resourceGraphQL:
		return l.wait(ctx, kind, longestPaceGraphQL, share{l.queries, 1})
	case req.Method == http.MethodGet || req.Method == http.MethodHead:
		return l.wait(ctx, kind, longestPace, share{l.points, 1})
	case strings.HasSuffix(req.URL.Path, "/access_tokens"): // it makes nothing that people see
		return l.wait(ctx, kind, longestPace, share{l.points, 5})
	}
	return l.wait(ctx, kind, longestPace, share{l.hourly, 1}, share{l.writes, 1}, share{l.points, 5})
}

func (l *limiter) unlimited() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.free
}

// share is how much of a pace a request takes.
type share struct {
	pace *rate.Limiter
	n    int
}

// wait takes all shares, and waits until it may have them. Where that takes too
// long it takes none, since what is not sent must not count as sent.
func (l *limiter) wait(ctx context.Context, kind resource, longest time.Duration, shares ...share) error {
	now := time.Now()
	delay := l.reserve(kind, now, longest, shares)
	if delay > longest {
		return &watch.LimitError{Until: now.Add(delay), Reason: reasonPace}
	}
	if delay == 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reserve takes all shares if they can be had within a time, and tells when. The
// lock is needed because a share is given back as a whole only while no other was
// taken after it.
func (l *limiter) reserve(kind resource, now time.Time, longest time.Duration, shares []share) (delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if kind == resourceGraphQL {
		delay = l.busy.delay(now)
	}
	turns := make([]*rate.Reservation, len(shares))
	for i, s := range shares {
		turns[i] = s.pace.ReserveN(now, s.n)
		delay = max(delay, turns[i].DelayFrom(now))
	}
	if delay > longest {
		for _, turn := range turns {
			turn.CancelAt(now)
		}
		return delay
	}
	if delay > moment {
		l.accounts[kind].paced.extend(now.Add(delay), reasonPace)
	}
	return delay
}

// traced makes a request tell that it was sent: one that GitHub never saw costs it nothing.
func traced(req *http.Request, sent *atomic.Bool) *http.Request {
	return req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				sent.Store(true)
			}
		},
	}))
}

// computed counts how long GitHub worked on a query.
func (l *limiter) computed(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy.add(time.Now(), took)
}

// ask sends a request, and reads the answer.
func (l *limiter) ask(req *http.Request) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(req.Context(), answerTimeout)
	defer cancel()
	began := time.Now()
	silent := time.AfterFunc(silence, cancel)
	defer silent.Stop()
	resp, err := l.next.RoundTrip(req.WithContext(ctx))
	silent.Stop()
	var body []byte
	if err == nil {
		body, err = readAnswer(resp.Body)
	}
	switch {
	case err == nil:
		return resp, body, nil
	case ctx.Err() != nil && req.Context().Err() == nil:
		return nil, nil, &heavyError{reason: fmt.Sprintf("there was no answer to %s %s within %s", req.Method, req.URL.Path, time.Since(began).Round(time.Second))}
	}
	return nil, nil, err
}

func readAnswer(body io.ReadCloser) ([]byte, error) {
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer: %w", err)
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return text, nil
}

// checkBody refuses what only looks like an answer: a page of something between
// here and GitHub, and JSON that was cut off.
func checkBody(req *http.Request, resp *http.Response, body []byte) error {
	if resp.StatusCode/100 != 2 || len(body) == 0 {
		return nil
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")) // what cannot be read is neither of these
	switch {
	case media == "text/html":
		return &heavyError{reason: fmt.Sprintf("the answer to %s %s is a web page, not one of GitHub's API: if that stays so, check api, and what stands before it", req.Method, req.URL.Path)}
	case strings.HasSuffix(media, "json") && !json.Valid(body):
		return &heavyError{reason: fmt.Sprintf("the answer to %s %s is cut off", req.Method, req.URL.Path)}
	}
	return nil
}

// settle accounts for an answer. The error is a [*watch.LimitError] if it is a refusal.
func (l *limiter) settle(ctx context.Context, kind resource, began time.Time, resp *http.Response, body []byte) error {
	now := time.Now()
	no, refused := classify(kind, resp.StatusCode, resp.Header, body, now)
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &l.accounts[kind]
	a.requests++
	a.update(kind, resp.Header, now)
	l.limited = l.limited || resp.Header.Get("X-Ratelimit-Limit") != ""
	l.free = l.enterprise && !l.limited
	if !refused {
		if began.After(l.struck) {
			l.strikes = 0
		}
		if resp.StatusCode != http.StatusNotModified {
			a.spent++
			spend(ctx, l, kind, 1)
		}
		return nil
	}
	until := now.Add(no.wait)
	if no.wait == 0 {
		if began.After(l.struck) || l.strikes == 0 { // else one of several that were under way together
			l.strikes++
			l.struck = now
		}
		until = now.Add(min(firstBlock<<min(l.strikes-1, 10), longestGuess))
	}
	held := &l.whole
	if !no.whole {
		held = &a.block
	}
	if held.extend(until, no.reason) {
		l.log.Warn("GitHub wants no requests for a while", zap.Int("status", resp.StatusCode), zap.Stringer("resource", kind), zap.Time("until", until), zap.String("reason", no.reason))
	}
	return &watch.LimitError{Until: held.until, Reason: held.reason}
}

// blocked is a [*watch.LimitError] while GitHub wants no requests.
func (l *limiter) blocked(kind resource) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held(kind).limit()
}

// held is the longer of the two blocks that hold for a resource.
func (l *limiter) held(kind resource) block {
	if own := l.accounts[kind].block; own.until.After(l.whole.until) {
		return own
	}
	return l.whole
}

// requested counts a request without an answer.
func (l *limiter) requested(kind resource) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts[kind].requests++
}

// cost accounts for a query of GraphQL beyond the one point that each is taken to cost.
func (l *limiter) cost(ctx context.Context, points int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts[resourceGraphQL].spent += points - 1
	spend(ctx, l, resourceGraphQL, points-1)
}
