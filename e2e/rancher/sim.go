// Package rancher is a Rancher 1.6 for tests: the v2-beta API of projects, stacks,
// services and instances, the upgrade of a service with its states and containers,
// and what is unpleasant about it on demand. It knows nothing of the services that
// are tested with it; they are pointed at its URL.
//
//	sim, err := rancher.Start(rancher.Options{})
//	web := sim.Project("prod").Stack("shop").Service("web", rancher.Config{
//		Scale: 2, LaunchConfig: map[string]any{"imageUuid": "docker:acme/web:v1"}})
//	sim.Image("docker:acme/web:v2", rancher.Image{Crashes: true})
//	sim.Misbehave(rancher.Fault{Route: "POST /services/{id}?action=upgrade", Lost: true, Times: 1})
//
// Time passes by the computer's clock, or only by [Sim.Advance] if it is [Options.Frozen].
// All methods may be called concurrently.
package rancher

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Options say how fast it is and what it allows. The zero value does for most tests.
type Options struct {
	// Frozen stops the clock: only [Sim.Advance] moves it.
	Frozen bool
	// Step is how long a change of state takes that waits for nothing else, and how
	// long containers take to start and to stop: 50 ms by default.
	Step time.Duration
	// Probe is how long the first health check takes: 50 ms by default.
	Probe time.Duration
	// Hosts is how many containers a global service has: 1 by default.
	Hosts int
	// Registry is put before images that name none, such as registry.acme.io; none if empty.
	Registry string
	// Whitelist are the registries that images may come from; any if empty.
	Whitelist []string
}

// Sim is a running Rancher.
type Sim struct {
	opts    Options
	address string
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex // guards what follows, and all that hangs from it
	server   *http.Server
	now      time.Time // how far the services have come
	shift    time.Duration
	lastID   int
	projects []*Project
	account  Key
	images   map[string]Image
	faults   []*Fault
	counts   map[string]int
}

// Key is what a client authenticates with: the user and password of basic auth.
type Key struct{ Access, Secret string }

// Image says how containers of an image fare. The zero value runs, and is healthy.
type Image struct {
	// Missing is why it cannot be started, such as "image not found"; it can if empty.
	Missing string
	// Crashes makes its containers exit ten times [Options.Probe] after they started,
	// again and again; no health check passes before.
	Crashes bool
	// Unhealthy makes health checks fail.
	Unhealthy bool
}

// Start starts a Rancher on a port of this computer. [Sim.Close] ends it.
func Start(opts Options) (*Sim, error) {
	if opts.Step == 0 {
		opts.Step = 50 * time.Millisecond
	}
	if opts.Probe == 0 {
		opts.Probe = 50 * time.Millisecond
	}
	opts.Hosts = max(1, opts.Hosts)
	s := &Sim{
		opts: opts, address: "127.0.0.1:0", now: time.Now(),
		account: Key{Access: "account", Secret: "account-secret"},
		images:  map[string]Image{}, counts: map[string]int{},
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	if err := s.Up(); err != nil {
		return nil, err
	}
	return s, nil
}

// Up makes it reachable, at the address that it had before.
func (s *Sim) Up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	if s.server == nil {
		s.address = listener.Addr().String() // from now on
	}
	server := &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: time.Minute}
	s.server = server
	s.running.Go(func() {
		// It ends with ErrServerClosed, or tests find nobody there.
		_ = server.Serve(listener)
	})
	return nil
}

// Down refuses connections until [Sim.Up]; containers live on.
func (s *Sim) Down() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.server.Close(); err != nil {
		return fmt.Errorf("close the API: %w", err)
	}
	return nil
}

// Close ends it, with all requests under way.
func (s *Sim) Close() error {
	s.stop()
	err := s.Down()
	s.running.Wait()
	return err
}

// URL is the address of the API, without a slash at the end.
func (s *Sim) URL() string { return "http://" + s.address + "/v2-beta" }

// AccountKey is the key of an account that may see all projects. Services are found
// below a project's path with it, and nowhere else.
func (s *Sim) AccountKey() Key { return s.account }

// Advance moves the clock forward, and all that happens in the meantime happens.
func (s *Sim) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts.Frozen {
		s.run(s.now.Add(d))
		return
	}
	s.shift += d
	s.settle()
}

// Image says how containers of an image fare from now on; those that run as well.
func (s *Sim) Image(imageUUID string, image Image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	s.images[imageUUID] = image
}

// Requests is how many requests a route had, such as "GET /services/{id}" or
// "POST /services/{id}?action=upgrade", whether below a project or not; the empty route is all.
func (s *Sim) Requests(route string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if route != "" {
		return s.counts[route]
	}
	sum := 0
	for _, n := range s.counts {
		sum += n
	}
	return sum
}

// ResetCounts begins to count anew.
func (s *Sim) ResetCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.counts)
}

// tick is the smallest time that is looked at.
const tick = 10 * time.Millisecond

// settle lets everything happen that is due by now.
func (s *Sim) settle() {
	if !s.opts.Frozen {
		s.run(time.Now().Add(s.shift))
	}
}

// run lets everything happen until a time.
func (s *Sim) run(until time.Time) {
	for next := s.now.Add(tick); !next.After(until); next = s.now.Add(tick) {
		s.now = next
		for _, p := range s.projects {
			for _, v := range p.services {
				v.tick()
			}
		}
	}
}

// id is an id that nothing else has, such as 1s12.
func (s *Sim) id(kind string) string {
	s.lastID++
	return fmt.Sprintf("1%s%d", kind, s.lastID)
}

// uuid looks like one, and is the same in every run.
func (s *Sim) uuid() string {
	s.lastID++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", s.lastID)
}
