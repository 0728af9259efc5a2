package github

import (
	"cmp"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v4"
	"github.com/google/go-github/v57/github"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// credentials are what GitHub knows this program by.
type credentials interface {
	// client gives the client for the repositories of an owner.
	client(ctx context.Context, owner string) (*client, error)
	// limiters are those of the credentials used so far, in a stable order.
	limiters() []*limiter
}

// single is one client for everything: with a personal token, or without any.
type single struct{ only *client }

func (s single) client(context.Context, string) (*client, error) { return s.only, nil }

func (s single) limiters() []*limiter { return []*limiter{s.only.limiter} }

// authorized puts a token into requests. It is an [http.RoundTripper] below
// redirects, so it sees where each request goes; see [confined].
type authorized struct {
	tokens tokens
	next   http.RoundTripper
}

// tokens gives the token of a credential.
type tokens interface {
	token(ctx context.Context) (string, error)
	// renewable says that there is a newer token than the one that GitHub did not accept.
	renewable(refused string) bool
}

// RoundTrip sends the request with a token, and once more with a new one if
// GitHub does not accept the first.
func (a *authorized) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := a.tokens.token(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := a.send(req, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !a.tokens.renewable(token) {
		return resp, err
	}
	again, ok := rewound(req)
	if !ok {
		return resp, nil
	}
	closeAnswer(resp)
	if token, err = a.tokens.token(req.Context()); err != nil {
		closeBody(again)
		return nil, err
	}
	return a.send(again, token)
}

// send sends a request with a token. The answer's request is the one without.
func (a *authorized) send(req *http.Request, token string) (*http.Response, error) {
	sent := req.Clone(req.Context())
	sent.Header.Set("Authorization", "Bearer "+token)
	resp, err := a.next.RoundTrip(sent)
	if err != nil {
		return nil, err
	}
	resp.Request = req
	return resp, nil
}

// rewound is a request that was sent, to be sent again; false if its body cannot be.
func rewound(req *http.Request) (*http.Request, bool) {
	again := req.Clone(req.Context())
	if req.Body == nil || req.Body == http.NoBody {
		return again, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, false
	}
	again.Body = body
	return again, true
}

func closeAnswer(resp *http.Response) {
	_ = resp.Body.Close() // it was read whole, see limiter
}

// personal is a token that stays as it is.
type personal string

func (p personal) token(context.Context) (string, error) { return string(p), nil }

func (p personal) renewable(string) bool { return false }

// absence is how long an owner where the App is not installed is not looked up again.
const absence = time.Minute

// app is a GitHub App. Each account that it is installed at has a client of its
// own, since it has a token and a budget of its own.
type app struct {
	id   int64
	key  *rsa.PrivateKey
	host *Host
	self *client // as the App itself, to look for its installations

	mu            sync.Mutex
	owners        map[string]*client
	absent        map[string]time.Time // until when
	installations map[int64]*client
}

// CheckPrivateKey says what is wrong with the private key of an App.
func CheckPrivateKey(pem []byte) error {
	_, err := parsePrivateKey(pem)
	return err
}

func parsePrivateKey(pem []byte) (*rsa.PrivateKey, error) {
	key, err := jwt.ParseRSAPrivateKeyFromPEM(pem)
	if err != nil { // the cause could quote the key
		return nil, errors.New("is no RSA key in PEM, expected the file that GitHub gave when the key was made: -----BEGIN RSA PRIVATE KEY-----")
	}
	return key, nil
}

func newApp(h *Host, settings *App) (*app, error) {
	key, err := parsePrivateKey(settings.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("app.private_key %w", err)
	}
	a := &app{
		id:            settings.ID,
		key:           key,
		host:          h,
		owners:        map[string]*client{},
		absent:        map[string]time.Time{},
		installations: map[int64]*client{},
	}
	a.self = h.newClient(fmt.Sprintf("app %d", a.id), credentialApp, func(l *limiter) http.RoundTripper { return a.signed(l) })
	return a, nil
}

// signed signs requests as the App. Each caller gets one of its own, because
// ghinstallation writes to it.
func (a *app) signed(next http.RoundTripper) *ghinstallation.AppsTransport {
	t := ghinstallation.NewAppsTransportFromPrivateKey(next, a.id, a.key)
	t.BaseURL = strings.TrimRight(a.host.api.String(), "/")
	return t
}

func (a *app) limiters() []*limiter {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := []*limiter{a.self.limiter}
	for _, c := range a.installations {
		all = append(all, c.limiter)
	}
	slices.SortFunc(all, func(x, y *limiter) int { return cmp.Compare(x.credential, y.credential) })
	return all
}

// client gives the client of the installation at an owner.
func (a *app) client(ctx context.Context, owner string) (*client, error) {
	owner = strings.ToLower(owner)
	if c, absent := a.known(owner); c != nil {
		return c, nil
	} else if absent {
		return nil, a.notInstalled(owner)
	}
	found, err := a.find(ctx, owner)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if found == nil {
		a.absent[owner] = time.Now().Add(absence)
		return nil, a.notInstalled(owner)
	}
	id := found.GetID()
	c := a.installations[id] // which another call may just have made
	if c == nil {
		c = a.install(id, owner)
		a.installations[id] = c
	}
	delete(a.absent, owner)
	a.owners[owner] = c
	return c, nil
}

// known is what is known of an owner without asking.
func (a *app) known(owner string) (c *client, absent bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.owners[owner], time.Now().Before(a.absent[owner])
}

func (a *app) notInstalled(owner string) error {
	return &watch.GoneError{Reason: fmt.Sprintf("the GitHub App %d is not installed at %s on %s: install it there, or check the owner's name", a.id, owner, a.host.settings.Name)}
}

// find looks for the installation at an owner; nil if there is none.
func (a *app) find(ctx context.Context, owner string) (*github.Installation, error) {
	found, _, err := a.self.rest.Apps.FindOrganizationInstallation(ctx, owner)
	if statusOf(err) == http.StatusNotFound {
		found, _, err = a.self.rest.Apps.FindUserInstallation(ctx, owner)
	}
	switch {
	case statusOf(err) == http.StatusNotFound:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for the App's installation at %s: %w", owner, a.self.explain("", err))
	case found.SuspendedAt != nil:
		return nil, &watch.GoneError{Reason: fmt.Sprintf("the GitHub App %d is suspended at %s: unsuspend it in the settings of %s", a.id, owner, owner)}
	}
	return found, nil
}

// install makes the client of an installation.
func (a *app) install(id int64, owner string) *client {
	tokens := &installation{app: a, id: id, owner: owner}
	tokens.current = tokens.fresh()
	return a.host.newClient(fmt.Sprintf("%s %s", a.self.name, owner), credentialInstallation, func(l *limiter) http.RoundTripper {
		return &authorized{tokens: tokens, next: l}
	})
}

// forget makes the installation be looked for again.
func (a *app) forget(id int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for owner, c := range a.owners {
		if c == a.installations[id] {
			delete(a.owners, owner)
		}
	}
	delete(a.installations, id)
}

// installation gives the tokens of one installation, which live for an hour.
type installation struct {
	app   *app
	id    int64
	owner string

	mu      sync.Mutex
	current *ghinstallation.Transport // renews its token a minute before that ends
	last    string                    // the token it gave last
}

// fresh has no token yet. It asks for one with the App's own budget.
func (i *installation) fresh() *ghinstallation.Transport {
	signed := i.app.signed(i.app.self.limiter)
	return ghinstallation.NewFromAppsTransport(signed, i.id)
}

func (i *installation) token(ctx context.Context) (string, error) {
	i.mu.Lock()
	current := i.current
	i.mu.Unlock()
	token, err := current.Token(ctx)
	if err != nil {
		return "", i.explain(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.current == current {
		i.last = token
	}
	return token, nil
}

// renewable drops the token that GitHub did not accept, unless another call has.
func (i *installation) renewable(refused string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.last == refused {
		i.current, i.last = i.fresh(), ""
	}
	return true
}

// explain says why there is no token.
func (i *installation) explain(err error) error {
	var failed *ghinstallation.HTTPError
	if !errors.As(err, &failed) || failed.Response == nil {
		return fmt.Errorf("get a token for %s: %w", i.owner, i.app.self.explain("", err))
	}
	closeAnswer(failed.Response)
	switch status := failed.Response.StatusCode; status {
	case http.StatusUnauthorized:
		return i.app.self.unaccepted()
	case http.StatusForbidden, http.StatusNotFound:
		i.app.forget(i.id) // it may have been installed anew, with another number
		return &watch.GoneError{Reason: fmt.Sprintf("the GitHub App %d has no access to %s any more: it was suspended or uninstalled there", i.app.id, i.owner)}
	default:
		return fmt.Errorf("get a token for %s: %s answered %d", i.owner, i.app.host.settings.Name, status)
	}
}
