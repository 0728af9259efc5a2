package github

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"go.uber.org/zap"
)

// served is a transport to a handler, in memory, so that its time may be that of a bubble.
type served struct{ http.Handler }

func (s served) RoundTrip(req *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	received := req.Clone(req.Context())
	if received.Body == nil {
		received.Body = http.NoBody
	}
	if trace := httptrace.ContextClientTrace(req.Context()); trace != nil && trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
	s.ServeHTTP(recorder, received)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	resp := recorder.Result()
	resp.Request = req
	return resp, nil
}

// hostOver is a github.com that a handler serves.
func hostOver(t testing.TB, s Settings, handler http.HandlerFunc) *Host {
	t.Helper()
	if s.Name == "" {
		s.Name = "github.com"
	}
	host, err := open(s, served{handler}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return host
}

// tokenClient is the client of a host with a token.
func tokenClient(t testing.TB, handler http.HandlerFunc) *client {
	t.Helper()
	c, err := hostOver(t, Settings{Token: "t0ken"}, handler).client(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// get asks for a repository.
func get(ctx context.Context, c *client) error {
	_, _, err := c.rest.Repositories.Get(ctx, "acme", "web")
	return c.explain("acme/web", err)
}

// post states a commit's status.
func post(ctx context.Context, c *client) error {
	_, _, err := c.rest.Repositories.CreateStatus(ctx, "acme", "web", "c0ffee", nil)
	return c.explain("acme/web", err)
}

// query asks by GraphQL.
func query(ctx context.Context, c *client) error {
	_, err := c.graphql(ctx, "query{viewer{login}}", nil, &struct{}{})
	return err
}

// limitedUntil checks that an error is a limit until a time.
func limitedUntil(t testing.TB, err error, until time.Time) {
	t.Helper()
	var limit *watch.LimitError
	if !errors.As(err, &limit) {
		t.Fatalf("got %v, want a limit", err)
	}
	if !limit.Until.Equal(until) {
		t.Fatalf("got a limit until %s, want %s: %s", limit.Until, until, limit.Reason)
	}
}

// script answers requests one after another.
type script struct {
	t       testing.TB
	mu      sync.Mutex
	answers []func(w http.ResponseWriter)
	asked   int
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if len(s.answers) == 0 {
		s.t.Errorf("a request that nobody expects: %s %s", r.Method, r.URL.Path)
		return
	}
	s.answers[0](w)
	s.answers = s.answers[1:]
}

// says is an answer: a status, headers one after another, and a body.
func says(status int, body string, headers ...string) func(w http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		if w.Header().Get("Content-Type") == "" {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const ok = `{"data":{}}`

func unix(at time.Time) string { return fmt.Sprint(at.Unix()) }

func TestNothingIsAskedWhileBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reset := time.Now().Add(30 * time.Minute)
		used := []string{"X-RateLimit-Limit", "5000", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", unix(reset)}
		s := &script{t: t, answers: []func(http.ResponseWriter){
			says(http.StatusForbidden, `{"message":"API rate limit exceeded"}`, used...),
			says(http.StatusOK, ok),
			says(http.StatusOK, ok),
			says(http.StatusTooManyRequests, `{}`, "Retry-After", "90"),
			says(http.StatusOK, ok),
		}}
		c, ctx := tokenClient(t, s.ServeHTTP), t.Context()
		limitedUntil(t, get(ctx, c), reset)
		limitedUntil(t, get(ctx, c), reset)
		if err := query(ctx, c); err != nil {
			t.Errorf("the limit of core holds for GraphQL: %v", err)
		}
		b := c.limiter.budget(resourceCore, time.Now())
		if b.Blocked != reset || b.Reason != reasonCore || b.Remaining != 0 || b.Requests != 1 || b.Spent != 0 {
			t.Errorf("budget %+v", b)
		}
		time.Sleep(30 * time.Minute) // of the bubble
		if err := get(ctx, c); err != nil {
			t.Errorf("after the limit: %v", err)
		}
		secondary := time.Now().Add(90 * time.Second)
		limitedUntil(t, get(ctx, c), secondary)
		limitedUntil(t, query(ctx, c), secondary)
		if s.asked != 4 {
			t.Errorf("asked %d times, want 4", s.asked)
		}
		time.Sleep(90 * time.Second) // of the bubble
		if err := get(ctx, c); err != nil {
			t.Errorf("after the second limit: %v", err)
		}
	})
}

func TestLastRequestOfABudgetBlocksTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reset := time.Now().Add(time.Minute)
		used := []string{"X-RateLimit-Limit", "60", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", unix(reset)}
		s := &script{t: t, answers: []func(http.ResponseWriter){says(http.StatusOK, ok, used...)}}
		c := tokenClient(t, s.ServeHTTP)
		if err := get(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		limitedUntil(t, get(t.Context(), c), reset)
	})
}

func TestRefusalsWithoutATimeGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		no := says(http.StatusForbidden, `{"message":"You have exceeded a secondary rate limit."}`, "X-RateLimit-Limit", "5000", "X-RateLimit-Remaining", "4000", "X-RateLimit-Reset", unix(time.Now().Add(time.Hour)))
		s := &script{t: t, answers: []func(http.ResponseWriter){no, no, no, no, no, no, says(http.StatusOK, ok), no}}
		c := tokenClient(t, s.ServeHTTP)
		for _, minutes := range []int{1, 2, 4, 8, 15, 15, 0, 1} {
			pause := time.Duration(minutes) * time.Minute
			err := get(t.Context(), c)
			if minutes == 0 && err == nil {
				continue
			}
			limitedUntil(t, err, time.Now().Add(pause))
			time.Sleep(pause) // of the bubble
		}
	})
}

func TestRefusalsTogetherAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := tokenClient(t, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second) // of the bubble
			says(http.StatusTooManyRequests, `{}`)(w)
		})
		until := time.Now().Add(time.Second + time.Minute)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { limitedUntil(t, get(t.Context(), c), until) })
		}
		all.Wait()
	})
}

func TestNotModifiedIsFree(t *testing.T) {
	s := &script{t: t, answers: []func(http.ResponseWriter){says(http.StatusOK, ok), says(http.StatusNotModified, "")}}
	c := tokenClient(t, s.ServeHTTP)
	if err := get(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.rest.Repositories.Get(t.Context(), "acme", "web")
	if statusOf(err) != http.StatusNotModified {
		t.Errorf("got %v, want a 304", err)
	}
	if b := c.limiter.budget(resourceCore, time.Now()); b.Spent != 1 || b.Requests != 2 {
		t.Errorf("budget %+v, want 2 requests of which 1 was paid", b)
	}
}

func TestCallersSeeNoLimits(t *testing.T) {
	c := tokenClient(t, func(w http.ResponseWriter, r *http.Request) {
		says(http.StatusOK, ok, "X-RateLimit-Limit", "5000", "X-RateLimit-Remaining", "4999", "X-RateLimit-Reset", unix(time.Now().Add(time.Hour)), "ETag", `"e"`)(w)
	})
	_, resp, err := c.rest.Repositories.Get(t.Context(), "acme", "web")
	if err != nil || resp.Rate.Limit != 0 || resp.Header.Get("ETag") == "" {
		t.Errorf("got %v, %+v with %v, want an ETag and no rates", err, resp.Rate, resp.Header)
	}
}

// most is how many of the times are within one length of time.
func most(times []time.Time, length time.Duration) int {
	n := 0
	for i, first := 0, 0; i < len(times); i++ {
		for times[i].Sub(times[first]) >= length {
			first++
		}
		n = max(n, i-first+1)
	}
	return n
}

func TestRequestsStayBelowTheLimitsOfAMinute(t *testing.T) {
	for name, test := range map[string]struct {
		ask       func(context.Context, *client) error
		requests  int
		took      time.Duration
		perMinute int
		least     int // of them are made in the first minute: it does not crawl
		perHour   int
	}{
		"GET":     {ask: get, requests: 3000, perMinute: 900, least: 800, perHour: 5000},
		"POST":    {ask: post, requests: 600, perMinute: 80, least: 70, perHour: 500},
		"GraphQL": {ask: query, requests: 300, took: 2 * time.Second, perMinute: 30, least: 20, perHour: 5000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var times []time.Time
				c := tokenClient(t, func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					times = append(times, time.Now())
					mu.Unlock()
					time.Sleep(test.took) // of the bubble
					says(http.StatusOK, ok)(w)
				})
				var left atomic.Int64
				left.Store(int64(test.requests))
				var all sync.WaitGroup
				for range 4 {
					all.Go(func() {
						for left.Add(-1) >= 0 {
							var limit *watch.LimitError
							err := test.ask(t.Context(), c)
							for errors.As(err, &limit) {
								time.Sleep(time.Until(limit.Until)) // of the bubble
								err = test.ask(t.Context(), c)
							}
							if err != nil {
								t.Error(err)
							}
						}
					})
				}
				all.Wait()
				if n := most(times, time.Minute); n > test.perMinute || n < test.least {
					t.Errorf("%d requests within a minute, want %d to %d", n, test.least, test.perMinute)
				}
				if n := most(times, time.Hour); n > test.perHour {
					t.Errorf("%d requests within an hour, want at most %d", n, test.perHour)
				}
				if len(times) != test.requests {
					t.Errorf("%d requests, want %d", len(times), test.requests)
				}
			})
		})
	}
}

// TestWhatIsNotSentDoesNotCount makes far more reports at once than may be made.
// Those that are turned away leave the hour's budget to those that come later.
func TestWhatIsNotSentDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int64
		c := tokenClient(t, func(w http.ResponseWriter, r *http.Request) {
			sent.Add(1)
			says(http.StatusOK, ok)(w)
		})
		var all sync.WaitGroup
		for range 400 {
			all.Go(func() {
				if err := post(t.Context(), c); err != nil && !errors.As(err, new(*watch.LimitError)) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := sent.Load(); n < 20 || n > 30 {
			t.Errorf("sent %d of 400 at once, want the burst and little more", n)
		}
		time.Sleep(time.Minute) // of the bubble
		for range 20 {
			if err := post(t.Context(), c); err != nil {
				t.Fatalf("a minute later: %v", err)
			}
		}
	})
}

func TestFewRequestsAreUnderWayAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		c := tokenClient(t, func(w http.ResponseWriter, r *http.Request) {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second) // of the bubble
			now.Add(-1)
			says(http.StatusOK, ok)(w)
		})
		began := time.Now()
		var all sync.WaitGroup
		for range 90 {
			all.Go(func() {
				if err := get(t.Context(), c); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if most.Load() != maxConcurrent || time.Since(began) != 5*time.Second {
			t.Errorf("up to %d at once, in %s; want %d, in 5s", most.Load(), time.Since(began), maxConcurrent)
		}
	})
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := tokenClient(t, func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		})
		others, end := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range maxConcurrent {
			all.Go(func() { _ = get(others, c) })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := get(ctx, c); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("got %v after %s, want the context's error after 1s", err, time.Since(began))
		}
		end()
		all.Wait()
	})
}

func TestSilenceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := tokenClient(t, func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		})
		began := time.Now()
		var heavy *heavyError
		if err := get(t.Context(), c); !errors.As(err, &heavy) || time.Since(began) != silence {
			t.Errorf("got %v after %s, want a heavyError after %s", err, time.Since(began), silence)
		}
		if b := c.limiter.budget(resourceCore, time.Now()); b.Requests != 1 || b.Spent != 0 {
			t.Errorf("budget %+v, want one request without an answer", b)
		}
	})
}

func TestWhatOnlyLooksLikeAnAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter)
		want   string
	}{
		"a page":  {says(http.StatusOK, "<html>sign in", "Content-Type", "text/html; charset=utf-8"), "web page"},
		"cut off": {says(http.StatusOK, `{"data":{"viewer"`), "cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			c := tokenClient(t, func(w http.ResponseWriter, r *http.Request) { test.answer(w) })
			for _, ask := range []func(context.Context, *client) error{get, query} {
				var heavy *heavyError
				if err := ask(t.Context(), c); !errors.As(err, &heavy) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want a heavyError about %q", err, test.want)
				}
			}
		})
	}
}
