// Package marathon is a Marathon for tests: apps, rolling deployments, tasks, the
// launch queue and events of one state, in the versions 1.1 to 1.10, and what is
// unpleasant about them on demand. It knows nothing of the services that are
// tested with it; they are pointed at its URL.
//
// A test says how tasks live, and then looks at what its service makes of it:
//
//	sim, err := marathon.Start(marathon.Options{Version: "1.8"})
//	sim.Play("/web", "acme/web:2", marathon.Life{CrashAfter: 5 * time.Second})
//	sim.Misbehave(marathon.Fault{Route: marathon.RoutePutApp, Applied: true, Reset: true, Times: 1})
//	sim.Edit("/web", marathon.Fields{"instances": 5}, false) // somebody else
//	sim.Advance(time.Minute)
//
// All methods may be called concurrently.
package marathon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options say what kind of Marathon it is. The zero value is a 1.10 whose clock is the computer's.
type Options struct {
	// Version is the profile, from "1.1" to "1.10", which it is if empty.
	Version string
	// Frozen makes time pass only by [Sim.Advance].
	Frozen bool
	// Speed is how many seconds pass in one; 1 if 0.
	Speed float64
	// Lag is how long the parts of a deployment's start take: to be listed (where it is
	// not at once) and to begin. 20 ms if 0.
	Lag time.Duration
	// User and Password are asked for by basic authentication if set.
	User, Password string
	// DCOS puts everything below /marathon, for tokens of [Sim.Token] only.
	DCOS bool
	// MaxDeployments is how many deployments may run at once from 1.6 on: 100 if 0.
	MaxDeployments int
	// Future adds fields that no client knows.
	Future bool
	// Heartbeat is how often idle streams of events get an empty line, by the computer's clock: 10 s if 0.
	Heartbeat time.Duration
}

// Sim is a running Marathon of two members.
type Sim struct {
	opts    Options
	minor   int // of the version
	members [2]*http.Server
	urls    [2]string
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // tells the clock to look again

	mu          sync.Mutex // guards what follows, and all that hangs from it
	begun       time.Time
	shift       time.Duration
	time        time.Time // how far the world is played
	agenda      []appointment
	lastVersion time.Time
	serial      int
	apps        map[string]*app
	deployments []*deployment
	lives       []rule
	leader      int // member, or noLeader
	tokens      map[string]time.Time
	streams     map[*stream]bool
	eventFaults []*EventFault
	faults      []*Fault
	routes      map[string]int
}

const noLeader = -1

// appointment is what happens at a time.
type appointment struct {
	at time.Time
	do func()
}

// Start starts a Marathon on two ports of this computer. [Sim.Close] ends it.
func Start(opts Options) (*Sim, error) {
	opts.Version = cmp.Or(opts.Version, "1.10")
	opts.Speed = cmp.Or(opts.Speed, 1)
	opts.Lag = cmp.Or(opts.Lag, 20*time.Millisecond)
	opts.MaxDeployments = cmp.Or(opts.MaxDeployments, 100)
	opts.Heartbeat = cmp.Or(opts.Heartbeat, 10*time.Second)
	minor, err := strconv.Atoi(strings.TrimPrefix(opts.Version, "1."))
	if err != nil || minor < 1 || minor > 10 {
		return nil, fmt.Errorf("version %q: only 1.1 to 1.10 are known", opts.Version)
	}
	now := time.Now()
	s := &Sim{
		opts: opts, minor: minor, wake: make(chan struct{}, 1), begun: now, time: now,
		apps: map[string]*app{}, tokens: map[string]time.Time{}, streams: map[*stream]bool{}, routes: map[string]int{},
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for i := range s.members {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen for the API: %w", err), s.Close())
		}
		s.urls[i] = "http://" + listener.Addr().String()
		server := &http.Server{
			Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(i, w, r) }),
			ReadHeaderTimeout: time.Minute,
		}
		s.members[i] = server
		s.running.Go(func() {
			// It ends with ErrServerClosed, or tests find nobody there.
			_ = server.Serve(listener)
		})
	}
	if !opts.Frozen {
		s.running.Go(s.run)
	}
	return s, nil
}

// Close ends it, with all that is under way.
func (s *Sim) Close() error {
	s.stop()
	var errs []error
	for _, server := range s.members {
		if server != nil {
			errs = append(errs, server.Close())
		}
	}
	s.running.Wait()
	return errors.Join(errs...)
}

// URL is the address of the member that led at first, without the /marathon of DC/OS.
func (s *Sim) URL() string { return s.urls[0] }

// Standby is the address of the other member.
func (s *Sim) Standby() string { return s.urls[1] }

// Now is the time here.
func (s *Sim) Now() time.Time {
	s.enter()
	defer s.leave()
	return s.time
}

// Advance moves the clock forward; everything in between happens at its time.
func (s *Sim) Advance(d time.Duration) {
	s.enter()
	defer s.leave()
	s.shift += d
	s.tick()
}

// clock is the time that the world should be played to.
func (s *Sim) clock() time.Time {
	if s.opts.Frozen {
		return s.begun.Add(s.shift)
	}
	return s.begun.Add(s.shift + time.Duration(float64(time.Since(s.begun))*s.opts.Speed))
}

// enter locks the world and brings it up to date; leave must follow.
func (s *Sim) enter() {
	s.mu.Lock()
	s.tick()
}

// leave lets consequences follow, and unlocks.
func (s *Sim) leave() {
	s.settle()
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// tick plays what is due, in order.
func (s *Sim) tick() {
	until := s.clock()
	for s.settle(); len(s.agenda) > 0 && !s.agenda[0].at.After(until); s.settle() {
		next := s.agenda[0]
		s.agenda = s.agenda[1:]
		if next.at.After(s.time) {
			s.time = next.at
		}
		next.do()
	}
	s.time = until
}

// after makes something happen later.
func (s *Sim) after(d time.Duration, do func()) {
	at := s.time.Add(d)
	i := len(s.agenda)
	for i > 0 && s.agenda[i-1].at.After(at) {
		i--
	}
	s.agenda = slices.Insert(s.agenda, i, appointment{at, do})
}

// run plays the world as time passes.
func (s *Sim) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		s.mu.Lock()
		s.tick()
		wait := time.Hour
		if len(s.agenda) > 0 {
			wait = time.Duration(float64(s.agenda[0].at.Sub(s.time))/s.opts.Speed) + time.Microsecond
		}
		s.mu.Unlock()
		timer.Reset(wait)
	}
}

// newID is a uuid that nothing else has.
func (s *Sim) newID() string {
	s.serial++
	return fmt.Sprintf("5d1f0c8e-7a42-4b6d-9e30-%012x", s.serial)
}

// newVersion is a time that no other version has.
func (s *Sim) newVersion() time.Time {
	v := s.time.Truncate(time.Millisecond)
	if !v.After(s.lastVersion) {
		v = s.lastVersion.Add(time.Millisecond)
	}
	s.lastVersion = v
	return v
}

// stamp writes a time as the API does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
