package github

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v4"
	"github.com/google/go-github/v57/github"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// apps is a GitHub with the App 12. It is installed where owners says.
type apps struct {
	t      testing.TB
	key    *rsa.PrivateKey
	owners map[string]int64 // by "orgs/acme" or "users/jane"
	// refuse answers in place of a token, if it is set.
	refuse func(w http.ResponseWriter)
	// suspended says so of every installation.
	suspended bool

	mu      sync.Mutex
	lookups int
	made    int // tokens
	tokens  map[string]grant
	bodies  []string // of accepted requests
	asked   int      // requests with a token
}

// grant is what a token may do.
type grant struct {
	installation int64
	until        time.Time
}

// appKey is the key of every App here: making one takes a while.
var appKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newApps(t testing.TB) *apps {
	t.Helper()
	key, err := appKey()
	if err != nil {
		t.Fatal(err)
	}
	return &apps{
		t:      t,
		key:    key,
		owners: map[string]int64{"orgs/acme": 7, "users/jane": 8},
		tokens: map[string]grant{},
	}
}

func (a *apps) settings() Settings {
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(a.key)})
	return Settings{Name: "github.com", App: &App{ID: 12, PrivateKey: text}}
}

func (a *apps) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	path := strings.TrimPrefix(r.URL.Path, "/")
	var id int64
	switch {
	case strings.HasSuffix(path, "/installation"):
		a.checkSigned(token)
		a.lookups++
		id = a.owners[strings.TrimSuffix(path, "/installation")]
		if id == 0 {
			says(http.StatusNotFound, `{"message":"Not Found"}`)(w)
			return
		}
		found := map[string]any{"id": id}
		if a.suspended {
			found["suspended_at"] = "2026-01-01T00:00:00Z"
		}
		a.write(w, http.StatusOK, found)
	case scanned(path, "app/installations/%d/access_tokens", &id):
		a.checkSigned(token)
		if a.refuse != nil {
			a.refuse(w)
			return
		}
		a.made++
		name := fmt.Sprintf("ghs_%d", a.made)
		a.tokens[name] = grant{installation: id, until: time.Now().Add(time.Hour)}
		a.write(w, http.StatusCreated, map[string]any{"token": name, "expires_at": time.Now().Add(time.Hour)})
	default:
		a.asked++
		if !time.Now().Before(a.tokens[token].until) {
			says(http.StatusUnauthorized, `{"message":"Bad credentials"}`)(w)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			a.t.Error(err)
		}
		a.bodies = append(a.bodies, string(body))
		a.write(w, http.StatusOK, map[string]any{"id": a.tokens[token].installation, "data": map[string]any{}})
	}
}

func scanned(text, format string, into any) bool {
	n, err := fmt.Sscanf(text, format, into)
	return n == 1 && err == nil
}

// checkSigned checks that a token is the App's own.
func (a *apps) checkSigned(token string) {
	claims := &jwt.RegisteredClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return &a.key.PublicKey, nil }, jwt.WithoutClaimsValidation())
	if err != nil || claims.Issuer != "12" {
		a.t.Errorf("signed by %q: %v", claims.Issuer, err)
	}
	if now := time.Now(); !claims.IssuedAt.Before(now) || claims.ExpiresAt.Sub(now) <= 0 || claims.ExpiresAt.Sub(claims.IssuedAt.Time) > 10*time.Minute {
		a.t.Errorf("signed from %s until %s, at %s", claims.IssuedAt, claims.ExpiresAt, now)
	}
}

func (a *apps) write(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		a.t.Error(err)
	}
	says(status, string(text))(w)
}

// revoke ends every token.
func (a *apps) revoke() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.tokens)
}

// as asks for a repository of an owner, and returns the installation it was asked as.
func as(ctx context.Context, h *Host, owner string) (int64, error) {
	c, err := h.client(ctx, owner)
	if err != nil {
		return 0, err
	}
	repository, _, err := c.rest.Repositories.Get(ctx, owner, "web")
	return repository.GetID(), c.explain(owner+"/web", err)
}

func TestAppAsksAsTheInstallationOfTheOwner(t *testing.T) {
	a := newApps(t)
	h := hostOver(t, a.settings(), a.ServeHTTP)
	var all sync.WaitGroup
	for range 5 {
		for owner, want := range map[string]int64{"acme": 7, "Acme": 7, "jane": 8} {
			all.Go(func() {
				if got, err := as(t.Context(), h, owner); got != want || err != nil {
					t.Errorf("%s: got installation %d, %v; want %d", owner, got, err, want)
				}
			})
		}
	}
	all.Wait()
	if a.made != 2 {
		t.Errorf("made %d tokens, want one per installation", a.made)
	}
	names := []string{}
	for _, b := range h.Budgets() {
		names = append(names, fmt.Sprintf("%s %s %d", b.Credential, b.Resource, b.Spent))
	}
	if got, want := strings.Join(names[1:], "; "), "app 12 acme core 10; app 12 jane core 5"; got != want {
		t.Errorf("budgets %s, want %s", got, want)
	}
	lookups := a.lookups
	if _, err := as(t.Context(), h, "acme"); err != nil || a.lookups != lookups {
		t.Errorf("looked up again what is known: %v", err)
	}
}

func TestAppIsNotInstalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApps(t)
		h := hostOver(t, a.settings(), a.ServeHTTP)
		for range 3 {
			var gone *watch.GoneError
			if _, err := as(t.Context(), h, "nobody"); !errors.As(err, &gone) || !strings.Contains(err.Error(), "not installed at nobody") {
				t.Fatalf("got %v, want that it is not installed", err)
			}
		}
		if a.lookups != 2 { // as an organisation, and as a user
			t.Errorf("looked it up %d times, want 2", a.lookups)
		}
		a.owners["users/nobody"] = 9
		time.Sleep(absence) // of the bubble
		if got, err := as(t.Context(), h, "nobody"); got != 9 || err != nil {
			t.Errorf("after it was installed: got %d, %v", got, err)
		}
		a.suspended = true
		var gone *watch.GoneError
		a.owners["orgs/idle"] = 10
		if _, err := as(t.Context(), h, "idle"); !errors.As(err, &gone) || !strings.Contains(err.Error(), "suspended") {
			t.Errorf("got %v, want that it is suspended", err)
		}
	})
}

func TestTokenIsRenewedBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApps(t)
		h := hostOver(t, a.settings(), a.ServeHTTP)
		for hour := 1; hour <= 3; hour++ {
			for range 2 {
				if _, err := as(t.Context(), h, "acme"); err != nil {
					t.Fatal(err)
				}
				if a.made != hour {
					t.Errorf("made %d tokens, want %d", a.made, hour)
				}
				time.Sleep(29*time.Minute + 45*time.Second) // of the bubble
			}
		}
		if a.asked != 6 {
			t.Errorf("asked %d times, want 6: no token was refused", a.asked)
		}
	})
}

func TestTokenIsRenewedWhenRefused(t *testing.T) {
	a := newApps(t)
	h := hostOver(t, a.settings(), a.ServeHTTP)
	c, err := h.client(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	if err := get(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	a.revoke()
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			_, _, err := c.rest.Repositories.CreateStatus(t.Context(), "acme", "web", "c0ffee", &github.RepoStatus{State: github.String("pending")})
			if err != nil {
				t.Error(c.explain("acme/web", err))
			}
		})
	}
	all.Wait()
	if a.made != 2 {
		t.Errorf("made %d tokens, want 2", a.made)
	}
	for _, body := range a.bodies[1:] {
		if !strings.Contains(body, "pending") {
			t.Errorf("sent again with the body %q", body)
		}
	}
	if len(a.bodies) != 6 {
		t.Errorf("%d requests came through, want 6", len(a.bodies))
	}
}

func TestTokenThatIsRefusedAlways(t *testing.T) {
	a := newApps(t)
	h := hostOver(t, a.settings(), func(w http.ResponseWriter, r *http.Request) {
		a.ServeHTTP(w, r)
		a.revoke()
	})
	var denied *credentialsError
	if _, err := as(t.Context(), h, "acme"); !errors.As(err, &denied) {
		t.Errorf("got %v, want that the credentials are not accepted", err)
	}
	if a.asked != 2 {
		t.Errorf("asked %d times, want 2", a.asked)
	}
}

func TestNoTokenIsGiven(t *testing.T) {
	until := time.Now().Add(time.Hour)
	for name, test := range map[string]struct {
		answer func(w http.ResponseWriter)
		check  func(t *testing.T, err error)
	}{
		"the key is another": {says(http.StatusUnauthorized, `{"message":"A JSON web token could not be decoded"}`), func(t *testing.T, err error) {
			var denied *watch.HostError
			if !errors.As(err, &denied) || !strings.Contains(err.Error(), "private key") {
				t.Errorf("got %v, want that the key is not accepted", err)
			}
		}},
		"suspended meanwhile": {says(http.StatusForbidden, `{"message":"This installation has been suspended"}`), wantGone},
		"uninstalled":         {says(http.StatusNotFound, `{"message":"Not Found"}`), wantGone},
		"limited": {says(http.StatusForbidden, `{}`, "X-RateLimit-Limit", "5000", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", unix(until)), func(t *testing.T, err error) {
			var limit *watch.LimitError
			if !errors.As(err, &limit) {
				t.Errorf("got %v, want a limit", err)
			}
		}},
		"down": {says(http.StatusBadGateway, "<html>"), func(t *testing.T, err error) {
			if !strings.Contains(err.Error(), "answered 502") {
				t.Errorf("got %v, want a 502", err)
			}
		}},
		"garbled": {says(http.StatusCreated, "{", "Content-Type", "text/plain"), func(t *testing.T, err error) {
			if !strings.Contains(err.Error(), "token for acme") {
				t.Errorf("got %v, want what was attempted", err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApps(t)
			a.refuse = test.answer
			h := hostOver(t, a.settings(), a.ServeHTTP)
			_, err := as(t.Context(), h, "acme")
			if err == nil {
				t.Fatal("got no error")
			}
			test.check(t, err)
			if a.asked != 0 {
				t.Errorf("asked %d times without a token", a.asked)
			}
		})
	}
}

func wantGone(t *testing.T, err error) {
	t.Helper()
	var gone *watch.GoneError
	if !errors.As(err, &gone) {
		t.Errorf("got %v, want that it is gone", err)
	}
}

func TestAppIsInstalledAnew(t *testing.T) {
	a := newApps(t)
	h := hostOver(t, a.settings(), a.ServeHTTP)
	if got, err := as(t.Context(), h, "acme"); got != 7 || err != nil {
		t.Fatalf("got installation %d, %v", got, err)
	}
	a.revoke()
	a.refuse = says(http.StatusNotFound, `{"message":"Not Found"}`)
	a.owners["orgs/acme"] = 70
	if _, err := as(t.Context(), h, "acme"); err == nil {
		t.Fatal("got no error from an installation that is gone")
	}
	a.refuse = nil
	if got, err := as(t.Context(), h, "acme"); got != 70 || err != nil {
		t.Errorf("got installation %d, %v; want the new one, 70", got, err)
	}
}

func TestAnonymousAsksByREST(t *testing.T) {
	h := hostOver(t, Settings{List: ListGraphQL}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("has credentials")
		}
		says(http.StatusOK, `{"id":1}`)(w)
	})
	if got, err := as(t.Context(), h, "acme"); got != 1 || err != nil || h.graphqlLists() {
		t.Errorf("got %d, %v; by GraphQL: %v", got, err, h.graphqlLists())
	}
}
