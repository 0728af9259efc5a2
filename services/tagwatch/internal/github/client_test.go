package github

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-github/v57/github"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestGraphQL(t *testing.T) {
	type data struct {
		R0 *struct{ ID int } `json:"r0"`
	}
	for name, test := range map[string]struct {
		answer   func(http.ResponseWriter)
		want     int // the ID; 0 for none
		reported gqlErrors
		heavy    string // in the error
		spent    int
	}{
		"data": {answer: says(200, `{"data":{"rateLimit":{"cost":1},"r0":{"id":4}}}`), want: 4, spent: 1},
		"data that cost more": {
			answer: says(200, `{"data":{"rateLimit":{"cost":12},"r0":{"id":4}}}`), want: 4, spent: 12},
		"data in part": {
			answer:   says(200, `{"data":{"r0":{"id":4},"r1":null},"errors":[{"type":"NOT_FOUND","path":["r1","refs",3],"message":"Could not resolve"}]}`),
			want:     4,
			reported: gqlErrors{{Type: "NOT_FOUND", Path: []any{"r1", "refs", 3.0}, Message: "Could not resolve"}}, spent: 1},
		"no data, but a reason": {
			answer:   says(200, `{"data":null,"errors":[{"type":"FORBIDDEN","path":["r0"],"message":"no"}]}`),
			reported: gqlErrors{{Type: "FORBIDDEN", Path: []any{"r0"}, Message: "no"}}, spent: 1},
		"no data, it took too long": {
			answer: says(200, `{"data":null,"errors":[{"message":"Something went wrong while executing your query."}]}`), heavy: "Something went wrong", spent: 1},
		"nothing": {answer: says(200, `{}`), heavy: "neither data nor an error", spent: 1},
		"502":     {answer: says(502, `<html>Unicorn!`, "Content-Type", "text/html"), heavy: "POST /graphql: github.com answered 502", spent: 1},
		"504":     {answer: says(504, `{"message":"We couldn't respond in time."}`), heavy: "answered 504", spent: 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := tokenClient(t, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if want := `{"query":"query Q","variables":{"a":1}}`; string(body) != want || err != nil || r.URL.Path != "/graphql" || r.Method != http.MethodPost {
					t.Errorf("%s %s: %s, %v; want %s", r.Method, r.URL.Path, body, err, want)
				}
				test.answer(w)
			})
			var got data
			reported, err := c.graphql(t.Context(), "query Q", map[string]any{"a": 1}, &got)
			var heavy *heavyError
			switch {
			case test.heavy == "" && err != nil:
				t.Errorf("got %v", err)
			case test.heavy != "" && (!errors.As(err, &heavy) || !strings.Contains(err.Error(), test.heavy)):
				t.Errorf("got %v, want a heavyError about %q", err, test.heavy)
			case test.want != 0 && (got.R0 == nil || got.R0.ID != test.want):
				t.Errorf("got %+v, want %d", got.R0, test.want)
			}
			if diff := cmp.Diff(test.reported, reported); diff != "" {
				t.Errorf("reported (-want +got)\n%s", diff)
			}
			if b := c.limiter.budget(resourceGraphQL, time.Now()); b.Spent != test.spent {
				t.Errorf("spent %d, want %d", b.Spent, test.spent)
			}
		})
	}
}

func TestGraphQLLimitsBlockGraphQLAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reset := time.Now().Add(20 * time.Minute)
		s := &script{t: t, answers: []func(http.ResponseWriter){
			says(200, `{"errors":[{"type":"RATE_LIMITED","message":"API rate limit exceeded"}]}`, "X-RateLimit-Remaining", "0", "X-RateLimit-Limit", "5000", "X-RateLimit-Reset", unix(reset)),
			says(200, ok),
		}}
		c := tokenClient(t, s.ServeHTTP)
		limitedUntil(t, query(t.Context(), c), reset)
		limitedUntil(t, query(t.Context(), c), reset)
		if err := get(t.Context(), c); err != nil {
			t.Errorf("REST: %v", err)
		}
	})
}

func TestSweepIsTheMostExpensiveListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hostOver(t, Settings{Token: "t0ken"}, func(w http.ResponseWriter, r *http.Request) {
			says(200, `{"data":{"rateLimit":{"cost":50}}}`, "X-RateLimit-Limit", "5000", "X-RateLimit-Remaining", "4000", "X-RateLimit-Reset", unix(time.Now().Add(time.Hour)))(w)
		})
		c, err := h.client(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		listing := func(queries int) {
			ctx, done := h.tally(t.Context())
			defer done()
			for range queries {
				if err := query(ctx, c); err != nil {
					t.Error(err)
				}
			}
		}
		listing(1)
		listing(4)
		listing(1)
		for range 30 { // these are no listings
			if err := query(t.Context(), c); err != nil {
				t.Error(err)
			}
		}
		if got := h.Pause(time.Minute); got != 576*time.Second {
			t.Errorf("got a pause of %s after a sweep of 200 points, want 9m36s", got)
		}
		listing(1)
		if got := h.Pause(time.Minute); got != 144*time.Second {
			t.Errorf("got a pause of %s after a sweep of 50 points, want 2m24s", got)
		}
		if got := h.Pause(time.Minute); got != time.Minute {
			t.Errorf("got a pause of %s after none, want the interval", got)
		}
	})
}

func TestRenamedRepositoriesAreFollowed(t *testing.T) {
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			var got []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = append(got, fmt.Sprintf("%s %s %s %s %s", r.Method, r.URL.Path, strings.TrimSpace(string(body)), r.Header.Get("Content-Type"), r.Header.Get("Authorization")))
				if to, found := strings.CutPrefix(r.URL.Path, "/repos/acme/web"); found {
					w.Header().Set("Location", "http://"+r.Host+"/repositories/4"+to)
					w.WriteHeader(status)
					return
				}
				says(200, `{"id":4}`)(w)
			}))
			defer server.Close()
			h, err := Open(Settings{Name: "ghe.example.org", API: server.URL, Token: "t0ken", Spool: t.TempDir()}, zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			c, err := h.client(t.Context(), "acme")
			if err != nil {
				t.Fatal(err)
			}
			repository, _, err := c.rest.Repositories.Get(t.Context(), "acme", "web")
			if err != nil || repository.GetID() != 4 {
				t.Errorf("got %v, %v", repository, err)
			}
			_, _, err = c.rest.Repositories.CreateStatus(t.Context(), "acme", "web", "c0ffee", &github.RepoStatus{State: github.String("success")})
			if err != nil {
				t.Error(err)
			}
			want := []string{
				"GET /repos/acme/web   Bearer t0ken",
				"GET /repositories/4   Bearer t0ken",
				`POST /repos/acme/web/statuses/c0ffee {"state":"success"} application/json Bearer t0ken`,
				`POST /repositories/4/statuses/c0ffee {"state":"success"} application/json Bearer t0ken`,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// canary is a token that must be seen by the API only.
const canary = "ghp_canary0123456789"

func TestTokenGoesToTheAPIOnly(t *testing.T) {
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s with %q reached another host", r.Method, r.URL, r.Header)
	}))
	defer stranger.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.RedirectHandler(stranger.URL+"/"+canary, status))
		defer server.Close()
		h, err := Open(Settings{Name: "ghe.example.org", API: server.URL + "/api/v3/", Token: canary, Spool: t.TempDir()}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		c, err := h.client(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		for _, ask := range []func(context.Context, *client) error{get, post, query} {
			if err := ask(t.Context(), c); err == nil || !strings.Contains(err.Error(), "gets no credentials") || !strings.Contains(err.Error(), "api") {
				t.Errorf("%d: got %v, want that it goes to another host, and what to configure", status, err)
			}
		}
		// This follows by itself, below net/http.
		if _, _, err := c.rest.Repositories.GetArchiveLink(t.Context(), "acme", "web", github.Tarball, nil, 3); status == 301 && err == nil {
			t.Error("an archive's link was followed to another host")
		}
	}
}

// TestTokenIsNowhere goes through what may go wrong, and looks for the token in
// everything that is said about it.
func TestTokenIsNowhere(t *testing.T) {
	misbehaviours := map[string]http.HandlerFunc{
		"elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example.org/", http.StatusFound)
		},
		"hung up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	for _, status := range []int{200, 202, 304, 400, 401, 403, 404, 409, 422, 429, 451, 500, 502} {
		for name, body := range map[string]string{"JSON": `{"message":"no"}`, "page": "<html>", "cut": "{"} {
			misbehaviours[fmt.Sprintf("%d %s", status, name)] = func(w http.ResponseWriter, r *http.Request) { says(status, body)(w) }
		}
	}
	a := newApps(t)
	secrets := []string{canary, "ghs_", "eyJ", "PRIVATE KEY"}
	for name, misbehave := range misbehaviours {
		// The App gets a token first, and then is refused one.
		installed := func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "installation") {
				a.ServeHTTP(w, r)
				return
			}
			misbehave(w, r)
		}
		unsigned := func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/installation") {
				a.ServeHTTP(w, r)
				return
			}
			misbehave(w, r)
		}
		for _, trial := range []struct {
			settings Settings
			handler  http.HandlerFunc
		}{
			{Settings{Token: canary}, misbehave},
			{a.settings(), installed},
			{a.settings(), unsigned},
		} {
			server := httptest.NewServer(trial.handler)
			core, logs := observer.New(zapcore.DebugLevel)
			s := trial.settings
			s.Name, s.API, s.Spool = "ghe.example.org", server.URL, t.TempDir()
			h, err := Open(s, zap.New(core))
			if err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			for _, ask := range []func(context.Context, *client) error{get, post, query} {
				c, err := h.client(t.Context(), "acme")
				if err == nil {
					err = ask(t.Context(), c)
				}
				fmt.Fprintf(&said, "%v\n%+v\n%#v\n", err, err, err)
			}
			if c, err := h.client(t.Context(), "acme"); err == nil {
				_, _, err := c.rest.Repositories.Get(t.Context(), "acme", "web") // before it is explained
				fmt.Fprintf(&said, "%v\n%+v\n%#v\n", err, err, err)
				if answered := new(github.ErrorResponse); errors.As(err, &answered) {
					fmt.Fprintf(&said, "%v\n", answered.Response.Request.Header)
				}
			}
			server.Close()
			for _, entry := range logs.All() {
				fmt.Fprintf(&said, "%s %v\n", entry.Message, entry.ContextMap())
			}
			for _, secret := range secrets {
				if strings.Contains(said.String(), secret) {
					t.Errorf("%s: %q is in\n%s", name, secret, said.String())
				}
			}
		}
	}
}
