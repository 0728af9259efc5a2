package marathon

import (
	"maps"
	"net"
	"net/http"
	"slices"
)

// Fault makes some requests go wrong: by the first of Reset, Hang and Status that is set.
type Fault struct {
	// Route is one of the routes, such as [RoutePutApp]; any if empty.
	Route string
	// App is the app that is asked for, such as /web; any if empty.
	App string
	// Skip is how many requests go well before, and Times how many go wrong then; all if 0.
	Skip, Times int
	// Applied makes the request do its work first, so that only the answer is lost.
	Applied bool

	Reset  bool   // the connection is reset without an answer
	Hang   bool   // there is no answer until the client gives up
	Status int    // the status, with Body, which is a page of HTML if empty
	Body   string // JSON if it begins with a brace

	sim  *Sim
	seen int
}

// Misbehave makes requests go wrong until [Fault.Stop].
func (s *Sim) Misbehave(fault Fault) *Fault {
	s.enter()
	defer s.leave()
	f := &fault
	f.sim = s
	s.faults = append(s.faults, f)
	return f
}

// Stop ends the fault.
func (f *Fault) Stop() {
	f.sim.enter()
	defer f.sim.leave()
	f.sim.faults = slices.DeleteFunc(f.sim.faults, func(x *Fault) bool { return x == f })
}

// fault counts a request, and finds what goes wrong with it; nil if nothing does.
func (s *Sim) fault(route, app string) *Fault {
	s.enter()
	defer s.leave()
	s.routes[route]++
	for _, f := range s.faults {
		if f.Route != "" && f.Route != route || f.App != "" && f.App != app || f.Times > 0 && f.seen >= f.Skip+f.Times {
			continue
		}
		f.seen++
		if f.seen > f.Skip {
			return f
		}
	}
	return nil
}

// strike answers as the fault wants it.
func (s *Sim) strike(f *Fault, w http.ResponseWriter, r *http.Request) {
	switch {
	case f.Reset:
		reset(w)
	case f.Hang:
		select {
		case <-r.Context().Done():
		case <-s.ctx.Done():
		}
	case f.Body == "":
		htmlPage(f.Status).write(w)
	default:
		a := answer{status: f.Status, raw: f.Body, kind: "text/plain"}
		if f.Body[0] == '{' {
			a.kind = "application/json"
		}
		a.write(w)
	}
}

// reset breaks a connection as a firewall does.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, is := conn.(*net.TCPConn); is {
		// Without it the rest would be sent in peace; if it fails, the close is good enough.
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close() // nobody is left to be told
}

// Requests is how many requests a route had, such as [RoutePutApp]; the empty route is all.
func (s *Sim) Requests(route string) int {
	s.enter()
	defer s.leave()
	if route != "" {
		return s.routes[route]
	}
	sum := 0
	for n := range maps.Values(s.routes) {
		sum += n
	}
	return sum
}

// Abdicate makes the other member the leader: streams of events end, deployments are resumed.
func (s *Sim) Abdicate() {
	s.enter()
	defer s.leave()
	s.elect(1 - max(0, s.leader))
}

// Elect makes a member the leader: 0 is that of [Sim.URL], 1 that of [Sim.Standby], -1 makes it none.
func (s *Sim) Elect(member int) {
	s.enter()
	defer s.leave()
	s.elect(member)
}

func (s *Sim) elect(member int) {
	s.leader = member
	s.disconnect()
	if member == noLeader {
		return
	}
	for _, d := range s.deployments {
		if d.step > 0 {
			s.prepare(d)
		}
	}
}

// Crash makes the other member the leader, and loses all deployments on the way.
func (s *Sim) Crash() {
	s.enter()
	defer s.leave()
	s.deployments = nil
	s.elect(1 - max(0, s.leader))
}
