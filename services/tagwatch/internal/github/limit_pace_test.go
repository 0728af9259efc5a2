package github

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-github/v57/github"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"go.uber.org/zap"
)

// TestSilenceHoldsUpNothingElse has as many queries hang at once as a sweep has
// under way: GitHub computed them for 40 s of the 60 s that it allows.
func TestSilenceHoldsUpNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		hangs.Store(true)
		c := tokenClient(t, func(w http.ResponseWriter, r *http.Request) {
			if hangs.Load() {
				<-r.Context().Done()
				return
			}
			says(http.StatusOK, ok)(w)
		})
		var all sync.WaitGroup
		for range queriesAtOnce {
			all.Go(func() {
				if err := query(t.Context(), c); !errors.As(err, new(*heavyError)) {
					t.Errorf("got %v, want a heavyError", err)
				}
			})
		}
		all.Wait()
		hangs.Store(false)
		began := time.Now()
		if err := query(t.Context(), c); err != nil || time.Since(began) != 0 {
			t.Errorf("the next query: %v, after %s", err, time.Since(began))
		}
	})
}

// TestSweepKeepsToComputeTime asks 200 queries of half a second, and once more:
// 100 s, of which GitHub allows 60 in a minute.
func TestSweepKeepsToComputeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var ended []time.Time
		c := tokenClient(t, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(500 * time.Millisecond) // of the bubble
			mu.Lock()
			ended = append(ended, time.Now())
			mu.Unlock()
			says(http.StatusOK, ok)(w)
		})
		began := time.Now()
		var left atomic.Int64
		left.Store(200)
		var all sync.WaitGroup
		for range queriesAtOnce {
			all.Go(func() {
				for left.Add(-1) >= 0 {
					if err := query(t.Context(), c); err != nil {
						t.Error(err)
					}
				}
			})
		}
		time.Sleep(30 * time.Second) // of the bubble
		if b := c.limiter.budget(resourceGraphQL, time.Now()); b.Reason != reasonPace || time.Until(b.Blocked) < 20*time.Second {
			t.Errorf("while it waits the budget is %+v, want that it is paced", b)
		}
		all.Wait()
		if n := most(ended, time.Minute); n > 120 {
			t.Errorf("%d queries within a minute, want at most 120", n)
		}
		if took := time.Since(began); took > 90*time.Second {
			t.Errorf("took %s, want at most 90s", took)
		}
		began = time.Now()
		if err := query(t.Context(), c); err != nil || time.Since(began) > 5*time.Second {
			t.Errorf("the next sweep: %v, after %s", err, time.Since(began))
		}
		if b := c.limiter.budget(resourceGraphQL, time.Now().Add(time.Minute)); !b.Blocked.IsZero() {
			t.Errorf("later the budget is %+v, want no pace", b)
		}
	})
}

// refusing is a network where GitHub cannot be reached.
type refusing struct{ reachable bool }

func (r *refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.reachable {
		return served{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { says(http.StatusOK, ok)(w) })}.RoundTrip(req)
	}
	time.Sleep(8 * time.Second) // of the bubble
	return nil, errors.New("connection refused")
}

func TestWhatNeverReachedGitHubCostsNoComputeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &refusing{}
		host, err := open(Settings{Name: "github.com", Token: "t0ken"}, network, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		c, err := host.client(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if err := query(t.Context(), c); err == nil || !strings.Contains(err.Error(), "refused") {
					t.Errorf("got %v, want that the connection was refused", err)
				}
			})
		}
		all.Wait()
		network.reachable = true
		began := time.Now()
		if err := query(t.Context(), c); err != nil || time.Since(began) != 0 {
			t.Errorf("the next query: %v, after %s", err, time.Since(began))
		}
	})
}

// paced asks n times at once, and tells how many were turned away and how long the others took.
func paced(t testing.TB, n int, ask func() error) (limited int64, took time.Duration) {
	t.Helper()
	var turned atomic.Int64
	began := time.Now()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			err := ask()
			switch {
			case errors.As(err, new(*watch.LimitError)):
				turned.Add(1)
			case err != nil:
				t.Error(err)
			}
		})
	}
	all.Wait()
	return turned.Load(), time.Since(began)
}

// TestTokensAreNoReports gets as many tokens as an App that is installed at many
// owners needs, more than reports may be made in a minute.
func TestTokensAreNoReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := tokenClient(t, func(w http.ResponseWriter, r *http.Request) { says(http.StatusCreated, `{"token":"x"}`)(w) })
		token := func() error {
			_, _, err := c.rest.Apps.CreateInstallationToken(t.Context(), 7, &github.InstallationTokenOptions{})
			return c.explain("", err)
		}
		began := time.Now()
		for range 600 {
			if err := token(); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 3*time.Minute || took > 4*time.Minute {
			t.Errorf("600 tokens of 5 points took %s, want what 900 points a minute demand", took)
		}
		if limited, _ := paced(t, 10, func() error { return post(t.Context(), c) }); limited != 0 {
			t.Errorf("%d of 10 reports were turned away after that", limited)
		}
	})
}

func TestServerWithoutLimitsIsNotPaced(t *testing.T) {
	limits := []string{"X-RateLimit-Limit", "100000", "X-RateLimit-Remaining", "90000", "X-RateLimit-Reset", "4102444800"}
	for name, test := range map[string]struct {
		host  string
		heads []string
		want  bool // paced
	}{
		"a server without limits":   {"ghe.example.org", nil, false},
		"a server with limits":      {"ghe.example.org", limits, true},
		"github.com":                {"github.com", nil, true},
		"GitHub with data of yours": {"acme.ghe.com", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := hostOver(t, Settings{Name: test.host, Token: "t0ken"}, func(w http.ResponseWriter, r *http.Request) { says(http.StatusOK, ok, test.heads...)(w) })
				c, err := host.client(t.Context(), "acme")
				if err != nil {
					t.Fatal(err)
				}
				for _, ask := range []func(context.Context, *client) error{get, post} {
					if err := ask(t.Context(), c); err != nil {
						t.Fatal(err)
					}
					if limited, took := paced(t, 1000, func() error { return ask(t.Context(), c) }); (limited > 0 || took > 0) != test.want {
						t.Errorf("%d were turned away, the others took %s; want a pace: %v", limited, took, test.want)
					}
				}
			})
		})
	}
}

// TestLimitsThatAppearAreKept has a server whose administrator turns limits on.
func TestLimitsThatAppearAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var on atomic.Bool
		host := hostOver(t, Settings{Name: "ghe.example.org", Token: "t0ken"}, func(w http.ResponseWriter, r *http.Request) {
			if on.Load() {
				w.Header().Set("X-RateLimit-Limit", "5000")
			}
			says(http.StatusOK, ok)(w)
		})
		c, err := host.client(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		asks := func() error { return get(t.Context(), c) }
		if err := asks(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []bool{false, true} {
			on.Store(want)
			if err := asks(); err != nil {
				t.Fatal(err)
			}
			if limited, _ := paced(t, 1000, asks); (limited > 0) != want {
				t.Errorf("limits are on: %v; %d were turned away", want, limited)
			}
		}
	})
}
