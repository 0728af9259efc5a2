// Package github is a GitHub for tests: repositories with real git objects, REST,
// GraphQL, smart HTTP, archives on a host of their own, webhooks, Apps and rate
// limits, and everything that is unpleasant about them on demand. It knows
// nothing of the services that are tested with it; they are pointed at its URL.
//
// REST, GraphQL, git and webhooks tell of one state, so that a test states what
// happens (a tag is pushed, a repository renamed) and then looks at what its
// service made of it:
//
//	sim, err := github.Start(github.Options{})
//	token := sim.PersonalToken("alice").Value() // for the service, with sim.API()
//	sim.Hook(github.HookConfig{URL: webhooks, Secret: secret, Org: "acme"})
//
//	web := sim.Repo("acme/web")
//	commit := web.Commit(github.Files{".tagship.yaml": recipe})
//	web.TagAnnotated("v1.0.0", commit)
//	sim.Misbehave(github.Fault{Repo: "acme/web", Status: 502, Times: 3})
//	web.MoveTag("v1.0.0", web.Commit(github.Files{"other": "thing"}))
//
// All methods may be called concurrently.
package github

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Options say what kind of GitHub it is. The zero value is github.com as it is on a good day.
type Options struct {
	// Enterprise makes it a GitHub Enterprise Server: the API is below /api/v3/, there
	// are no rate limits until [Sim.Budget] sets some, and hooks have 30 s.
	Enterprise bool
	// TLS makes all hosts speak HTTPS with a certificate of [Sim.CA].
	TLS bool
	// Dir is where git finds repositories; a temporary folder if empty.
	Dir string
	// Seed makes what is random repeatable.
	Seed uint64
	// Secondary turns on the secondary limits: 100 requests at once, 900 points of
	// REST, 2,000 of GraphQL and 80 new contents per minute, 500 new contents per hour.
	Secondary bool
	// Skew is how far its clock is ahead of everybody's.
	Skew time.Duration
	// LowerCase writes the names of headers in lower case, as HTTP/2 does.
	LowerCase bool
	// TokenLife is how long an installation's token lives, an hour by default, and
	// LinkLife how long the link to a private archive, 5 minutes by default.
	TokenLife, LinkLife time.Duration
	// HookTimeout is how long a hook may take to answer: 10 s by default.
	HookTimeout time.Duration
	// Lag is how long a pushed ref stays invisible after its hooks were sent.
	Lag time.Duration
	// ProtocolV0 makes git servers ignore version 2 of the protocol.
	ProtocolV0 bool
	// Unordered makes TAG_COMMIT_DATE as unreliable as it has been seen.
	Unordered bool
	// Heavy is how many connections a GraphQL query may ask for before it takes
	// longer than 10 s, which ends in a 502 and costs extra; 0 for any number.
	Heavy int
}

// Sim is a running GitHub.
type Sim struct {
	opts     Options
	scheme   string
	ca       []byte
	api      *http.Server
	archives *http.Server
	apiURL   string
	codeload string // base address of the archive host
	ctx      context.Context
	stop     context.CancelFunc
	running  sync.WaitGroup
	sending  chan struct{} // a slot for each webhook on its way
	wake     chan struct{} // tells the sender of delayed webhooks to look again
	client   *http.Client  // which delivers webhooks
	temp     string        // to be removed in the end
	schema   *querySchema

	mu       sync.Mutex // guards what follows, and all that hangs from it
	random   *rand.Rand
	shift    time.Duration // how far the clock was moved
	lag      time.Duration
	latency  time.Duration
	nextID   int64
	owners   map[string]*Owner
	names    map[string]*Repo // by owner/name in lower case
	former   map[string]*Repo // by the names that repositories had
	ids      map[int64]*Repo
	tokens   map[string]*Token
	apps     map[int64]*App
	installs map[int64]*Installation
	hooks    []*Hook
	delayed  []*parcel
	faults   []*Fault
	limits   limits
	counts   counts
}

// Start starts a GitHub on two ports of this computer. [Sim.Close] ends it.
func Start(opts Options) (*Sim, error) {
	s := &Sim{
		opts: opts, scheme: "http",
		sending: make(chan struct{}, 32), wake: make(chan struct{}, 1),
		client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		random: rand.New(rand.NewPCG(opts.Seed, 20)),
		lag:    opts.Lag, nextID: 1000,
		owners: map[string]*Owner{}, names: map[string]*Repo{}, former: map[string]*Repo{}, ids: map[int64]*Repo{},
		tokens: map[string]*Token{}, apps: map[int64]*App{}, installs: map[int64]*Installation{},
		limits: newLimits(!opts.Enterprise), counts: newCounts(),
	}
	if s.opts.TokenLife == 0 {
		s.opts.TokenLife = time.Hour
	}
	if s.opts.LinkLife == 0 {
		s.opts.LinkLife = 5 * time.Minute
	}
	if s.opts.HookTimeout == 0 {
		s.opts.HookTimeout = 10 * time.Second
		if opts.Enterprise {
			s.opts.HookTimeout = 30 * time.Second
		}
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	var err error
	if s.schema, err = loadSchema(); err != nil {
		return nil, err
	}
	if s.opts.Dir == "" {
		if s.temp, err = os.MkdirTemp("", "github-"); err != nil {
			return nil, fmt.Errorf("make a folder for repositories: %w", err)
		}
		s.opts.Dir = s.temp
	}
	if err := s.listen(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.running.Go(s.sendDelayed)
	return s, nil
}

// listen opens both hosts.
func (s *Sim) listen() error {
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	archives, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(fmt.Errorf("listen for archives: %w", err), api.Close())
	}
	if s.opts.TLS {
		s.scheme = "https"
		secured, err := s.secure(api, archives)
		if err != nil {
			return errors.Join(err, api.Close(), archives.Close())
		}
		api, archives = secured[0], secured[1]
	}
	s.apiURL = s.scheme + "://" + api.Addr().String()
	s.codeload = s.scheme + "://" + archives.Addr().String()
	s.api = &http.Server{Handler: s.apiHandler(), ReadHeaderTimeout: time.Minute}
	s.archives = &http.Server{Handler: http.HandlerFunc(s.serveArchive), ReadHeaderTimeout: time.Minute}
	for server, listener := range map[*http.Server]net.Listener{s.api: api, s.archives: archives} {
		s.running.Go(func() {
			// It ends with ErrServerClosed, or tests find nobody there.
			_ = server.Serve(listener)
		})
	}
	return nil
}

// Close ends it, with all that is under way, and removes the repositories.
func (s *Sim) Close() error {
	s.mu.Lock()
	s.stop() // with the mutex, so that nothing begins while the rest is waited for
	s.mu.Unlock()
	var errs []error
	for _, server := range []*http.Server{s.api, s.archives} {
		if server != nil {
			errs = append(errs, server.Close())
		}
	}
	s.running.Wait()
	if s.temp != "" {
		errs = append(errs, os.RemoveAll(s.temp))
	}
	return errors.Join(errs...)
}

// API is the base address of REST, with a slash at the end.
func (s *Sim) API() string {
	if s.opts.Enterprise {
		return s.apiURL + "/api/v3/"
	}
	return s.apiURL + "/"
}

// GraphQL is the address of GraphQL.
func (s *Sim) GraphQL() string {
	if s.opts.Enterprise {
		return s.apiURL + "/api/graphql"
	}
	return s.apiURL + "/graphql"
}

// Git is the base address of repositories, for git and for people, with a slash at the end.
func (s *Sim) Git() string { return s.apiURL + "/" }

// Host is the name of the host of the API and of git, with its port.
func (s *Sim) Host() string { return strings.TrimPrefix(s.apiURL, s.scheme+"://") }

// Archives is the name of the host of archives, with its port.
func (s *Sim) Archives() string { return strings.TrimPrefix(s.codeload, s.scheme+"://") }

// Now is the time here.
func (s *Sim) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

func (s *Sim) now() time.Time { return time.Now().Add(s.shift) }

// Advance moves the clock forward: windows of limits end, tokens and links expire,
// delayed webhooks are sent. The times in an App's own JWT are still compared
// with the computer's clock, which is the one that it was signed by.
func (s *Sim) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shift += d
	s.awake()
}

// Lag makes refs pushed from now on invisible for so long after their hooks were sent.
func (s *Sim) Lag(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = d
}

// id is a number that nothing else has.
func (s *Sim) id() int64 {
	s.nextID++
	return s.nextID
}
