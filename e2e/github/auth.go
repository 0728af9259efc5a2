package github

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Token is a secret that authenticates: a person's, an installation's, or an App's own JWT.
type Token struct {
	sim   *Sim
	value string
	who   string // names the budget of requests
	login string // of a person

	installation *Installation // nil for a person's
	app          *App          // only of a JWT

	// What follows is guarded by the mutex of sim.
	expires     time.Time // zero for never
	permissions map[string]string
	repos       map[int64]bool // nil for all
}

// App is a GitHub App.
type App struct {
	sim *Sim
	id  int64
	key *rsa.PrivateKey
}

// Installation is an App at an owner.
type Installation struct {
	sim   *Sim
	id    int64
	app   *App
	owner *Owner

	// What follows is guarded by the mutex of sim.
	repos       map[*Repo]bool // nil for all
	permissions map[string]string
	suspended   bool
	issued      []*Token
}

// PersonalToken makes a token of a person that may do everything.
func (s *Sim) PersonalToken(login string) *Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	value := fmt.Sprintf("ghp_%016x%016x", s.random.Uint64(), s.random.Uint64())
	t := &Token{sim: s, value: value, login: login, who: fmt.Sprintf("user ID %d", s.owner(login).ID)}
	s.tokens[value] = t
	return t
}

// Value is the secret.
func (t *Token) Value() string { return t.value }

// Permit sets what the token may do: permissions such as contents and statuses,
// with read or write. What is not named is forbidden.
func (t *Token) Permit(permissions map[string]string) {
	t.sim.mu.Lock()
	defer t.sim.mu.Unlock()
	t.permissions = permissions
}

// Only restricts the token to repositories; of others it sees the public ones.
func (t *Token) Only(repos ...*Repo) {
	t.sim.mu.Lock()
	defer t.sim.mu.Unlock()
	t.repos = map[int64]bool{}
	for _, r := range repos {
		t.repos[r.id] = true
	}
}

// Expire ends the token.
func (t *Token) Expire() {
	t.sim.mu.Lock()
	defer t.sim.mu.Unlock()
	t.expires = t.sim.now()
}

// App makes an App with a new key.
func (s *Sim) App() (*App, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make the key of an App: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &App{sim: s, id: s.id(), key: key}
	s.apps[a.id] = a
	return a, nil
}

// ID is the App's number, which its JWTs are issued by.
func (a *App) ID() int64 { return a.id }

// PrivateKey is the App's key in PEM, as GitHub hands it out.
func (a *App) PrivateKey() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(a.key)})
}

// Install installs the App at an owner, for all repositories if none is named. It
// may read contents and write statuses and deployments.
func (a *App) Install(login string, repos ...*Repo) *Installation {
	s := a.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	i := &Installation{
		sim: s, id: s.id(), app: a, owner: s.owner(login),
		permissions: map[string]string{"metadata": "read", "contents": "read", "statuses": "write", "deployments": "write"},
	}
	if len(repos) > 0 {
		i.repos = map[*Repo]bool{}
		for _, r := range repos {
			i.repos[r] = true
		}
	}
	s.installs[i.id] = i
	return i
}

// ID is the installation's number.
func (i *Installation) ID() int64 { return i.id }

// Permit sets what tokens of the installation may do from now on.
func (i *Installation) Permit(permissions map[string]string) {
	i.sim.mu.Lock()
	defer i.sim.mu.Unlock()
	i.permissions = permissions
}

// Suspend makes the installation's tokens useless, or no longer.
func (i *Installation) Suspend(on bool) {
	i.sim.mu.Lock()
	defer i.sim.mu.Unlock()
	i.suspended = on
}

// Uninstall removes the installation.
func (i *Installation) Uninstall() {
	i.sim.mu.Lock()
	defer i.sim.mu.Unlock()
	delete(i.sim.installs, i.id)
	for _, t := range i.issued {
		delete(i.sim.tokens, t.value)
	}
}

// Tokens is how many tokens were issued.
func (i *Installation) Tokens() int {
	i.sim.mu.Lock()
	defer i.sim.mu.Unlock()
	return len(i.issued)
}

// Expire ends all tokens of the installation.
func (i *Installation) Expire() {
	i.sim.mu.Lock()
	defer i.sim.mu.Unlock()
	for _, t := range i.issued {
		t.expires = i.sim.now()
	}
}

// covers tells whether the installation was given the repository.
func (i *Installation) covers(r *Repo) bool {
	return i.owner == r.owner && !i.suspended && (i.repos == nil || i.repos[r])
}

// installation is where an App meets a repository; nil if it does not.
func (s *Sim) installation(a *App, r *Repo) *Installation {
	if a == nil {
		return nil
	}
	for _, i := range s.installs {
		if i.app == a && i.covers(r) {
			return i
		}
	}
	return nil
}

// issue makes a token of the installation, for fewer repositories and permissions if wanted.
func (i *Installation) issue(repos map[int64]bool, permissions map[string]string) *Token {
	s := i.sim
	t := &Token{
		sim: s, value: fmt.Sprintf("ghs_%016x%016x", s.random.Uint64(), s.random.Uint64()), installation: i,
		who: fmt.Sprintf("installation ID %d", i.id), expires: s.now().Add(s.opts.TokenLife), repos: repos, permissions: permissions,
	}
	s.tokens[t.value] = t
	i.issued = append(i.issued, t)
	return t
}

// errBadCredentials is what a secret is that nobody knows, or that expired.
var errBadCredentials = errors.New("Bad credentials")

// authenticate finds who makes a request: nil if nobody says so. It counts the
// secret for the host.
func (s *Sim) authenticate(r *http.Request, host string) (*Token, error) {
	secret := ""
	header := r.Header.Get("Authorization")
	if _, password, basic := r.BasicAuth(); basic {
		secret = password
	} else if kind, rest, found := strings.Cut(header, " "); found && (strings.EqualFold(kind, "bearer") || strings.EqualFold(kind, "token")) {
		secret = rest
	}
	if secret == "" {
		if header != "" {
			return nil, errBadCredentials
		}
		return nil, nil
	}
	s.counts.tokens[host][secret]++
	if strings.Count(secret, ".") == 2 {
		return s.verifyJWT(secret)
	}
	t := s.tokens[secret]
	if t == nil || !t.expires.IsZero() && !s.now().Before(t.expires) {
		return nil, errBadCredentials
	}
	return t, nil
}

// verifyJWT checks what an App says about itself.
func (s *Sim) verifyJWT(text string) (*Token, error) {
	undecodable := errors.New("A JSON web token could not be decoded")
	signed := text[:strings.LastIndex(text, ".")]
	head, body, _ := strings.Cut(signed, ".")
	var header struct{ Alg string }
	var claims struct {
		Iss any
		Iat int64
		Exp int64
	}
	signature, err := base64.RawURLEncoding.DecodeString(text[len(signed)+1:])
	if err != nil || decodePart(head, &header) != nil || decodePart(body, &claims) != nil || header.Alg != "RS256" {
		return nil, undecodable
	}
	id, err := strconv.ParseInt(fmt.Sprint(claims.Iss), 10, 64)
	if number, is := claims.Iss.(float64); is {
		id, err = int64(number), nil
	}
	app := s.apps[id]
	if err != nil || app == nil {
		return nil, errors.New("'Issuer' claim ('iss') must be an Integer")
	}
	sum := sha256.Sum256([]byte(signed))
	if rsa.VerifyPKCS1v15(&app.key.PublicKey, crypto.SHA256, sum[:], signature) != nil {
		return nil, undecodable
	}
	now := time.Now().Add(s.opts.Skew)
	switch expires, issued := time.Unix(claims.Exp, 0), time.Unix(claims.Iat, 0); {
	case !now.Before(expires):
		return nil, errors.New("'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires")
	case expires.Sub(now) > 10*time.Minute:
		return nil, errors.New("'Expiration time' claim ('exp') is too far in the future")
	case issued.After(now.Add(time.Second)):
		return nil, errors.New("'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued")
	}
	return &Token{sim: s, app: app, who: fmt.Sprintf("app ID %d", app.id)}, nil
}

func decodePart(part string, into any) error {
	body, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// sees tells whether the bearer knows that a repository is there, and belongs to it.
func (t *Token) sees(r *Repo) (visible, member bool) {
	switch {
	case t == nil:
		return !r.private, false
	case r.lostTo[t]:
		return false, false
	case t.installation != nil:
		member = t.installation.covers(r)
	default:
		member = t.app == nil
	}
	member = member && (t.repos == nil || t.repos[r.id])
	return member || !r.private, member
}

// may tells whether the bearer has a permission, with read or write.
func (t *Token) may(permission, level string) bool {
	var given map[string]string
	switch {
	case t == nil:
		return false
	case t.permissions != nil:
		given = t.permissions
	case t.installation != nil:
		given = t.installation.permissions
	default:
		return t.app == nil
	}
	return permission == "metadata" || given[permission] == "write" || level == "read" && given[permission] == "read"
}

// json is the installation as the API shows it.
func (i *Installation) json() fields {
	selection := "all"
	if i.repos != nil {
		selection = "selected"
	}
	var suspended any
	if i.suspended {
		suspended = iso(i.sim.now())
	}
	return fields{
		"id": i.id, "app_id": i.app.id, "app_slug": fmt.Sprintf("app-%d", i.app.id), "account": i.owner.json(i.sim),
		"target_id": i.owner.ID, "target_type": i.owner.json(i.sim)["type"], "repository_selection": selection,
		"permissions": maps.Clone(i.permissions), "events": []string{"create", "push", "delete", "release"}, "suspended_at": suspended,
		"access_tokens_url": fmt.Sprintf("%sapp/installations/%d/access_tokens", i.sim.API(), i.id),
		"created_at":        iso(i.sim.now()), "updated_at": iso(i.sim.now()),
	}
}

// installedApps are an App's installations, oldest first.
func (s *Sim) installedApps(a *App) []*Installation {
	var list []*Installation
	for _, id := range slices.Sorted(maps.Keys(s.installs)) {
		if i := s.installs[id]; i.app == a {
			list = append(list, i)
		}
	}
	return list
}
